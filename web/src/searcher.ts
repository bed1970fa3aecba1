/** A search from the question to the hits: both rankings, their fusion, the rows' records, highlights. */
import type { Base } from "./base.ts";
import { PywasmError } from "./error.ts";
import { compileFilter } from "./filter.ts";
import { fuse, ranked, type FusedHit } from "./fuse.ts";
import { NO_ROW, PwOperation } from "./generated/abi.ts";
import { Matcher, snippet } from "./highlight.ts";
import {
  decodeF32, decodeHits, decodeRows, decodeTokens, encodeRows, encodeStrings, encodeTextSearch, encodeVectorSearch, type RawHits,
} from "./messages.ts";
import type { Wait } from "./operation.ts";
import { checkVector } from "./pack.ts";
import { decodeRecords } from "./records.ts";
import { Recorder } from "./recorder.ts";
import type { Counters, Hit, Mode, Query, Results, SearchOptions, TierName } from "./types.ts";

export type PlainSearchOptions = Omit<SearchOptions, "signal" | "onPartial">;

/** How the base's vectors can be had at this moment. */
export interface VectorAccess {
  /** Settles when the codes that a vector search scans are in memory. */
  ready(): Promise<void>;
  /** Vector pages a search may ask for; 0: as many as it likes (they are at hand). */
  maxPages(): number;
}

export interface SearchContext {
  base: Base;
  vectors: VectorAccess;
  marks: boolean;
  signal: AbortSignal;
  partial: (results: Results) => void;
  /** The page takes partial answers: estimates may be shown first and made exact then. */
  refine: boolean;
  /** Told how long the search waited for local pages. */
  waited: (wait: Wait) => void;
}

interface Question {
  text: string | null;
  vector: Float32Array | null;
  excludeRow: number;
}

/** Ranks deeper than k that fusion looks at: a row found by both rankings may be low in each. */
const FUSION_DEPTH = 3;
const FUSION_LEAST = 30;
const LARGEST_K = 10_000;

export async function search(query: Query, options: PlainSearchOptions, context: SearchContext): Promise<Results> {
  const { text, vector } = questionOf(query, context.base.manifest.dim);
  const excludeRow = options.exclude === undefined ? NO_ROW : await rowOf(options.exclude, context);
  return answer({ text, vector, excludeRow }, options, context);
}

/** The neighbours of a row, without it. */
export async function similar(id: string, options: PlainSearchOptions, context: SearchContext): Promise<Results> {
  const row = await rowOf(id, context);
  if (row === NO_ROW) throw new PywasmError("argument", `id: the index has no row ${JSON.stringify(id)}`);
  const vector = decodeF32(await context.base.run(PwOperation.Vectors, encodeRows([row]), context.signal));
  return answer({ text: null, vector, excludeRow: row }, options, context);
}

async function answer(question: Question, options: PlainSearchOptions, context: SearchContext): Promise<Results> {
  const { base, signal, partial } = context;
  const k = options.k ?? 10;
  if (!Number.isInteger(k) || k < 1 || k > LARGEST_K) throw new PywasmError("argument", `k: a whole number from 1 to ${LARGEST_K} expected, not ${k}`);
  const { recall } = options;
  if (recall !== undefined && !(recall > 0 && recall <= 1)) throw new PywasmError("argument", `recall: a number above 0 and at most 1 expected, not ${recall}`);
  const mode = modeOf(question, options.mode);
  const filter = compileFilter(options.filter, base.columns);
  const recorder = new Recorder(context.marks);
  const wait: Wait = { ms: 0, pages: 0 };
  const before = { ...base.pager.tally.pages };
  const depth = mode === "hybrid" ? Math.max(k * FUSION_DEPTH, FUSION_LEAST) : k;

  const ranking = {
    keyword: async (): Promise<RawHits> => decodeHits(await recorder.stage("keyword", () =>
      base.run(PwOperation.SearchText, encodeTextSearch({ k: depth + 1, prefix: options.prefix === true, filter, text: question.text ?? "" }), signal, wait))),
    vector: async (maxPages = context.vectors.maxPages()): Promise<RawHits> => {
      await recorder.stage("codes", () => context.vectors.ready());
      const message = encodeVectorSearch({
        k: depth, filter, query: question.vector!, exclude: question.excludeRow, maxPages,
        ...(recall !== undefined && { recall }), ...(options.nprobe !== undefined && { nprobe: options.nprobe }),
        ...(options.efSearch !== undefined && { efSearch: options.efSearch }), ...(options.rerank !== undefined && { rerank: options.rerank }),
      });
      return decodeHits(await recorder.stage("vector", () => base.run(PwOperation.SearchVector, message, signal, wait)));
    },
  };
  const finish = async (fused: FusedHit[], raws: RawHits[]): Promise<Results> => {
    const wanted = fused.filter(({ row }) => row !== question.excludeRow).slice(0, k);
    const hits = await recorder.stage("records", () => hitsOf(wanted, question.text, options, context, wait));
    return { hits, mode, passing: raws[0]?.passing ?? null, stages: [...recorder.stages], counters: count(raws, before, base) };
  };

  const estimated = ({ hits }: RawHits): boolean => context.refine && hits.some(({ exact }) => !exact);
  let results: Results;
  if (mode === "keyword") {
    const raw = await ranking.keyword();
    results = await finish(ranked(raw.hits, "keyword"), [raw]);
  } else if (mode === "vector") {
    let raw = await ranking.vector();
    if (estimated(raw)) {
      partial(await finish(ranked(raw.hits, "vector"), [raw]));
      raw = await ranking.vector(0);
    }
    results = await finish(ranked(raw.hits, "vector"), [raw]);
  } else {
    const vectors = ranking.vector();
    vectors.catch(() => undefined);
    const keyword = await ranking.keyword();
    const early = await Promise.race([vectors, soon()]);
    if (!early) partial(await finish(ranked(keyword.hits, "keyword"), [keyword]));
    let vector = early ?? (await vectors);
    const both = (): Promise<Results> => finish(fuse(keyword.hits, vector.hits, k + 1), [vector, keyword]);
    if (estimated(vector)) {
      partial(await both());
      vector = await ranking.vector(0);
    }
    results = await both();
  }
  context.waited(wait);
  return results;
}

/** Null after a moment: vectors that aren't there by then are worth an answer without them. */
async function soon(): Promise<null> {
  await new Promise((resolve) => setTimeout(resolve, 5));
  return null;
}

async function hitsOf(fused: readonly FusedHit[], text: string | null, options: PlainSearchOptions, context: SearchContext, wait: Wait): Promise<Hit[]> {
  if (fused.length === 0) return [];
  const { base, signal } = context;
  const records = decodeRecords(await base.run(PwOperation.Records, encodeRows(fused.map(({ row }) => row)), signal, wait));
  const matcher = text === null ? null : new Matcher(text, options.prefix === true, (utf8) => decodeTokens(base.engine.tokenize(utf8)));
  return fused.map(({ row, score, exact, ranks }, index) => {
    const record = records[index]!;
    const highlights = matcher?.highlights(record.text) ?? [];
    const shown = options.snippets === undefined ? { text: record.text, highlights } : snippet(record.text, highlights, options.snippets);
    return { ...record, row, score, exact, ranks, ...shown };
  });
}

/** The row with this id, or NO_ROW. */
async function rowOf(id: string, { base, signal }: SearchContext): Promise<number> {
  const { rows } = decodeRows(await base.run(PwOperation.RowsOfIds, encodeStrings([id]), signal));
  return rows[0] ?? NO_ROW;
}

function questionOf(query: Query, dim: number): { text: string | null; vector: Float32Array | null } {
  const given = typeof query === "string" ? { text: query } : query instanceof Float32Array ? { vector: query } : query;
  if (typeof given !== "object" || given === null) throw new PywasmError("argument", `query: a string, a Float32Array or { text, vector } expected, not ${JSON.stringify(query)}`);
  const { text = null, vector = null } = given as { text?: string; vector?: Float32Array | readonly number[] };
  if (text === null && vector === null) throw new PywasmError("argument", "query: text, vector or both expected");
  if (vector) checkVector(vector, dim, "query vector");
  return { text, vector: vector && Float32Array.from(vector) };
}

function modeOf({ text, vector }: Question, wanted: Mode | undefined): Mode {
  const mode = wanted ?? (text !== null && vector !== null ? "hybrid" : text !== null ? "keyword" : "vector");
  if (mode !== "vector" && text === null) throw new PywasmError("argument", `mode ${JSON.stringify(mode)} needs a query text`);
  if (mode !== "keyword" && vector === null) throw new PywasmError("argument", `mode ${JSON.stringify(mode)} needs a query vector`);
  if (mode !== "keyword" && mode !== "vector" && mode !== "hybrid") throw new PywasmError("argument", `mode: keyword, vector or hybrid expected, not ${JSON.stringify(mode)}`);
  return mode;
}

function count(raws: readonly RawHits[], before: Partial<Record<TierName, number>>, base: Base): Counters {
  const counters: Counters = { hops: 0, codes: 0, distances: 0, clusters: 0, pagesHit: 0, pagesMissed: 0, fetched: {}, bytes: 0 };
  for (const raw of raws) {
    counters.hops += raw.hops;
    counters.codes += raw.codes;
    counters.distances += raw.distances;
    counters.clusters += raw.clusters;
    counters.pagesHit += raw.pagesHit;
    counters.pagesMissed += raw.pagesMissed;
  }
  for (const [tier, pages] of Object.entries(base.pager.tally.pages) as [TierName, number][]) {
    const fetched = pages - (before[tier] ?? 0);
    if (fetched > 0) counters.fetched[tier] = fetched;
    counters.bytes += fetched * base.manifest.page_bytes;
  }
  return counters;
}
