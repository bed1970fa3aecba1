/** A compiled language model as a page sees it. The work is done in a worker. */
import { PywasmError } from "../error.ts";
import { findPlan, folderOf, startOpened, startRemote } from "../inference/find.ts";
import { closed, Lasting } from "../inference/lasting.ts";
import type { Remote, Script } from "../inference/remote.ts";
import { checkedPrompt, checkedRequest, checkedSegments } from "./arguments.ts";
import { Conversation } from "./conversation.ts";
import { Generation } from "./generation.ts";
import type { Method, OpenRequest } from "./protocol.ts";
import type { ConversationOptions, GenerateOptions, GenerationEnd, GenerationStats, GeneratorInfo, GeneratorOptions, GeneratorStatus, Message, Prompt, StepTiming, TextSegment } from "./types.ts";

export type * from "./types.ts";
export { Conversation } from "./conversation.ts";
export { Generation } from "./generation.ts";

/** Where a site carries its generator. */
const CARRIED = "generator/";

const SCRIPT: Script = {
  name: "generator",
  worker: () => new Worker(new URL("./generator-worker.js", import.meta.url), { type: "module", name: "pywasm-generator" }),
  inline: async () => (await import("./worker.ts")).serveGenerator,
};

export class Generator {
  readonly info: GeneratorInfo;
  readonly #remote: Lasting;

  /** Opens the model at `where`: a folder that `pywasm compile` wrote, its plan.json, or a site that carries a generator. */
  static async open(where: string | URL, options: GeneratorOptions = {}): Promise<Generator> {
    const { threads, memory, storage, marks, shipped } = options;
    if (threads !== undefined && (!Number.isInteger(threads) || threads < 1)) throw new PywasmError("argument", `threads: a whole number of at least 1 expected, not ${threads}`);
    if (memory !== undefined && memory !== "auto" && !(memory > 0)) throw new PywasmError("argument", `memory: "auto" or bytes expected, not ${String(memory)}`);
    const data = {
      ...(threads !== undefined && { threads }), ...(memory !== undefined && { memory }),
      ...(storage !== undefined && { storage }), ...(marks !== undefined && { marks }),
      ...(shipped && { shipped: { site: new URL(shipped.site).href, kv: shipped.kv } }),
    };
    // Both at once: the worker's script and the plan.
    const finding = findPlan(where, CARRIED, options.signal).then((found): OpenRequest => ({ ...found, options: data }));
    const [remote, info] = await start(finding, options);
    return new Generator(remote, await finding, options, info);
  }

  /** Removes what this browser stores of the model at `where`, its KV and conversations, without opening it. */
  static async remove(where: string | URL, options: Pick<GeneratorOptions, "workerUrl" | "thread"> = {}): Promise<void> {
    const folder = folderOf(where);
    const remote = await startRemote(SCRIPT, options);
    try {
      await Promise.all([folder, new URL(CARRIED, folder)].map(({ href }) => remote.ask("remove", [href])));
    } finally {
      remote.close(closed(SCRIPT.name));
    }
  }

  private constructor(remote: Remote, request: OpenRequest, { signal: _, ...options }: GeneratorOptions, info: GeneratorInfo) {
    this.info = info;
    // For starting again: without open()'s signal, which is over.
    this.#remote = new Lasting("generator", remote, () => start(Promise.resolve(request), options).then(([started]) => started));
  }

  /** Begins to answer at once; several answers take turns. */
  generate(prompt: Prompt, options: GenerateOptions = {}): Generation {
    const { signal, onStart } = options;
    const request = checkedRequest(prompt, options);
    return new Generation((stop, hear) => this.#remote.ask<GenerationStats>("generate", [request], { signal: stop, hear, patient: true }), signal, onStart);
  }

  /** How the model rates each token of its vocabulary as the next one. */
  logits(prompt: Prompt, { signal }: { signal?: AbortSignal } = {}): Promise<Float32Array> {
    return this.#ask("logits", [checkedPrompt(prompt)], signal);
  }

  /** Computes a prompt's KV ahead of time, while nothing else is to be done. Answers how many tokens were new. */
  prefetch(segments: readonly TextSegment[], { signal }: { signal?: AbortSignal } = {}): Promise<number> {
    return this.#ask("prefetch", [checkedSegments(segments)], signal);
  }

  /**
   * In which order documents are best put behind `system`: as they were before, so that their KV is
   * there. Their indices; where nothing is known, the order in which they are given.
   */
  order(system: readonly TextSegment[], documents: readonly TextSegment[]): Promise<number[]> {
    return this.#ask("order", [checkedSegments(system), checkedSegments(documents)]);
  }

  /** Begins a conversation, or goes on with one: what was said, in another visit too, is not read again. */
  async conversation({ system, id = newId(), private: isPrivate = false, sliding = false }: ConversationOptions = {}): Promise<Conversation> {
    if (typeof id !== "string" || id === "") throw new PywasmError("argument", "id: a text expected");
    const said = isPrivate ? [] : await this.#ask<Message[]>("conversation", [id]);
    const messages = system === undefined ? said : [{ role: "system", content: system }, ...said.filter(({ role }) => role !== "system")];
    return new Conversation(id, { private: isPrivate, sliding }, messages, {
      send: (request, signal, hear) => this.#remote.ask<GenerationEnd>("send", [request], { signal, hear, patient: true }),
      forget: (all) => this.#ask("forget", [id, all]),
    });
  }

  /** Ids of the conversations that are stored. */
  conversations(): Promise<string[]> {
    return this.#ask("conversations");
  }

  /** Tokens of each of the prompt's segments. */
  tokenize(prompt: Prompt): Promise<Int32Array[]> {
    return this.#ask("tokenize", [checkedPrompt(prompt)]);
  }

  /** How many tokens each of the segments has. */
  async count(segments: readonly TextSegment[]): Promise<number[]> {
    return (await this.tokenize({ segments })).map(({ length }) => length);
  }

  status(): Promise<GeneratorStatus> {
    return this.#ask("status");
  }

  /** ms of each step of a run of `rows` tokens behind `start` others: means of the faster half of `repeat` runs. */
  timings({ rows, start: behind = 0, repeat = 5, signal }: { rows: number; start?: number; repeat?: number; signal?: AbortSignal }): Promise<StepTiming[]> {
    return this.#ask("timings", [rows, behind, repeat], signal);
  }

  /** Removes what this browser stores of the model and of its conversations, and closes it. */
  async clear(): Promise<void> {
    await this.#ask("clear");
    await this.close();
  }

  /** Gives the memory back; what is running is rejected with code "closed". What is stored stays. */
  close(): Promise<void> {
    return this.#remote.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #ask<T>(method: Method, args: unknown[] = [], signal?: AbortSignal): Promise<T> {
    return this.#remote.ask<T>(method, args, { signal });
  }
}

function start(finding: Promise<OpenRequest>, { workerUrl, thread, signal, onProgress }: GeneratorOptions): Promise<[Remote, GeneratorInfo]> {
  return startOpened<GeneratorInfo>(SCRIPT, finding, { workerUrl, thread }, { signal, hear: onProgress });
}

/** crypto.randomUUID is for secure contexts alone. */
function newId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
