/** Answers of a site that carries a language model: search, prompt, generation, and what comes from where. */
import { fitDocuments, promptSegments, type Fitted } from "./ask_prompt.ts";
import type { Answer, AnswerStats, AskOptions, Citation, PrepareOptions } from "./ask_types.ts";
import { findCitations } from "./citations.ts";
import { PywasmError, throwIfAborted } from "./error.ts";
import type { Answers } from "./generated/manifest.ts";
import type { Generation, GenerationStats, Generator } from "./generation/generator.ts";
import { SiteGenerator } from "./site_generator.ts";
import type { Hit, OpenOptions, Results, SearchOptions } from "./types.ts";

/** Searches the index. */
export type Search = (question: string, options: SearchOptions) => Promise<Results>;

/** Tokens of an answer, where nobody says. */
const MAX_TOKENS = 192;
/** Sources whose scores are at least this share of the best one's may be read in any order. */
const CLOSE = 0.8;
/** The speed of reading is taken from prompts of which so many tokens were computed. */
const MEASURED_TOKENS = 64;

/** The search for an answer's sources. */
interface Found {
  sources: Hit[];
  searchMs: number;
}

/** An answer that is being generated; `order[i]` is the source that the model read as its i-th document. */
interface Begun {
  generation: Generation;
  order: number[];
  loadMs: number;
  /** From ask() to the call of generate(), ms. */
  beforeMs: number;
}

export class SiteAnswers {
  readonly generator: SiteGenerator;
  readonly #info: Answers;
  readonly #search: Search;
  #preparing: AbortController | null = null;
  /** Measured here: ms to read a token. */
  #readMs: number | null = null;

  /** `site`: its folder; `info`: of its manifest. */
  constructor(site: URL, info: Answers, options: OpenOptions, search: Search) {
    this.generator = new SiteGenerator(site, info, options);
    this.#info = info;
    this.#search = search;
  }

  /** Begins to answer at once. */
  ask(question: string, options: AskOptions = {}): Answer {
    if (typeof question !== "string" || question.trim() === "") throw new PywasmError("argument", "question: a text expected");
    const began = performance.now();
    const asked = question.trim();
    // What it has computed is kept; the rest is the answer's own to compute.
    this.#preparing?.abort();
    const finding = this.#find(asked, options).then((sources): Found => {
      if (sources.length > 0) options.onSources?.(sources);
      return { sources, searchMs: performance.now() - began };
    });
    const beginning = finding.then(({ sources }) => (sources.length > 0 ? this.#begin(asked, sources, options, began) : null));
    return new SiteAnswer(asked, finding, beginning, (stats) => this.#saved(stats));
  }

  /**
   * Reads what a question would need ahead of time, when nothing else is to be done: searches, and
   * computes or fetches the KV of what is found. Does nothing while the model is not loaded. A newer
   * call, or a question, ends it. Answers how many tokens were new.
   */
  async prepare(question: string, options: PrepareOptions = {}): Promise<number> {
    this.#preparing?.abort();
    const { signal } = options;
    throwIfAborted(signal);
    const asked = question.trim();
    if (this.generator.state.state !== "ready" || asked === "") return 0;
    const own = (this.#preparing = new AbortController());
    const abort = (): void => own.abort();
    signal?.addEventListener("abort", abort, { once: true });
    try {
      const sources = await this.#find(asked, { ...options, signal: own.signal });
      if (sources.length === 0) return 0;
      const generator = await this.generator.load({ signal: own.signal });
      const { documents } = await this.#arrange(generator, asked, sources, MAX_TOKENS);
      return await generator.prefetch([{ kind: "system", text: this.#info.prompt.system }, ...documents], { signal: own.signal });
    } finally {
      signal?.removeEventListener("abort", abort);
      if (this.#preparing === own) this.#preparing = null;
    }
  }

  close(): void {
    this.#preparing?.abort();
    this.generator.close();
  }

  async #find(question: string, { k = this.#info.prompt.documents, filter, mode, hits, signal }: PrepareOptions): Promise<Hit[]> {
    if (hits) return [...hits];
    return (await this.#search(question, { k, ...(filter && { filter }), ...(mode && { mode }), ...(signal && { signal }) })).hits;
  }

  async #begin(question: string, sources: Hit[], options: AskOptions, began: number): Promise<Begun> {
    const { maxTokens = MAX_TOKENS, temperature, topK, topP, minP, repetitionPenalty, seed, stop, signal, onStart, onProgress } = options;
    const from = performance.now();
    const generator = await this.generator.load({ ...(signal && { signal }), ...(onProgress && { onProgress }) });
    const loadMs = performance.now() - from;
    const { documents, order } = await this.#arrange(generator, question, sources, maxTokens);
    throwIfAborted(signal);
    const beforeMs = performance.now() - began;
    const generation = generator.generate({ segments: promptSegments(this.#info.prompt, documents, question) }, {
      maxTokens,
      ...(temperature !== undefined && { temperature }), ...(topK !== undefined && { topK }), ...(topP !== undefined && { topP }),
      ...(minP !== undefined && { minP }), ...(repetitionPenalty !== undefined && { repetitionPenalty }), ...(seed !== undefined && { seed }),
      ...(stop !== undefined && { stop }), ...(signal && { signal }), ...(onStart && { onStart }),
    });
    return { generation, order, loadMs, beforeMs };
  }

  /** Documents that fit, in the order of which most is known; the ranking's where that tells them apart. */
  async #arrange(generator: Generator, question: string, sources: readonly Hit[], maxTokens: number): Promise<Fitted> {
    const fitted = await fitDocuments(generator, this.#info.prompt, question, sources, maxTokens);
    const best = sources[0]!.score;
    const close = fitted.order.findIndex((source) => !(sources[source]!.score >= CLOSE * best));
    const free = close < 0 ? fitted.order.length : close;
    if (free < 2) return fitted;
    const known = await generator.order([{ kind: "system", text: this.#info.prompt.system }], fitted.documents.slice(0, free));
    const places = [...known, ...[...fitted.order.keys()].slice(free)];
    return { documents: places.map((place) => fitted.documents[place]!), order: places.map((place) => fitted.order[place]!) };
  }

  /** What reading the cached tokens would have taken, ms. */
  #saved({ promptTokens, cachedTokens, ttftMs }: GenerationStats): number | null {
    const computed = promptTokens - cachedTokens;
    if (computed >= MEASURED_TOKENS) this.#readMs = ttftMs / computed;
    return this.#readMs === null ? null : this.#readMs * cachedTokens;
  }
}

class SiteAnswer implements Answer {
  readonly sources: Promise<Hit[]>;
  readonly citations: Promise<Citation[]>;
  readonly stats: Promise<AnswerStats>;
  /** Null: nothing was found. */
  readonly #beginning: Promise<Begun | null>;

  constructor(question: string, finding: Promise<Found>, beginning: Promise<Begun | null>, saved: (stats: GenerationStats) => number | null) {
    this.#beginning = beginning;
    this.sources = finding.then(({ sources }) => sources);
    this.citations = Promise.all([finding, beginning]).then(([{ sources }, begun]) => (begun ? cite(question, sources, begun) : []));
    this.stats = Promise.all([finding, beginning]).then(async ([{ searchMs }, begun]): Promise<AnswerStats> => {
      if (!begun) return { ...NOTHING, searchMs };
      const stats = await begun.generation.stats;
      return { ...stats, searchMs, loadMs: begun.loadMs, firstMs: stats.tokens > 0 ? begun.beforeMs + stats.ttftMs : null, savedMs: saved(stats) };
    });
    // Who only iterates hears of a failure there.
    for (const part of [this.sources, this.citations, this.stats]) part.catch(() => undefined);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string, void, undefined> {
    const begun = await this.#beginning;
    if (begun) yield* begun.generation;
  }

  async text(): Promise<string> {
    let text = "";
    for await (const piece of this) text += piece;
    return text;
  }
}

const NOTHING: AnswerStats = {
  reason: "nothing", promptTokens: 0, cachedTokens: 0, sources: { memory: 0, storage: 0, shipped: 0 }, ttftMs: 0, tokens: 0, tokensPerSecond: 0,
  searchMs: 0, loadMs: 0, firstMs: null, savedMs: null,
};

/** Of as much of the answer as there was. */
async function cite(question: string, sources: readonly Hit[], { generation, order }: Begun): Promise<Citation[]> {
  let text = "";
  try {
    for await (const piece of generation) text += piece;
  } catch (error) {
    if (!(error instanceof PywasmError && error.code === "aborted")) throw error;
  }
  return findCitations(text, order.map((source) => sources[source]!), question).map((citation) => ({ ...citation, source: order[citation.source]! }));
}
