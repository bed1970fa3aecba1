/** Compiled models as a page sees them: Encoder (texts to vectors) and Session (any inputs). The work is done in a worker. */
import { PywasmError, throwIfAborted } from "../error.ts";
import type { TuneWork } from "../tuning/tasks.ts";
import type { Adoption, Tensors } from "./backend.ts";
import { findPlan, startOpened } from "./find.ts";
import { Lasting } from "./lasting.ts";
import type { Method, ModelInfo, OpenRequest } from "./protocol.ts";
import type { AskOptions, Remote, Script } from "./remote.ts";
import type { EncodeOptions, EncoderOptions, EncoderStatus, StepTiming } from "./types.ts";

export type * from "./types.ts";
export type { Adoption, Tensor, Tensors } from "./backend.ts";

/** Where a site carries its encoder. */
const CARRIED = "encoder/";

const SCRIPT: Script = {
  name: "encoder",
  worker: () => new Worker(new URL("./encoder-worker.js", import.meta.url), { type: "module", name: "pywasm-encoder" }),
  inline: async () => (await import("./worker.ts")).serveEncoder,
};

/** A compiled model. */
export class Session {
  readonly name: string;
  readonly licence: string;
  /** SHA-256 of the weights, configuration and tokenizer that it was compiled from. */
  readonly source: string;
  readonly #remote: Lasting;

  /** Opens the model at `where`: a folder that `pywasm compile` wrote, its plan.json, or a site that carries an encoder. */
  static async open(where: string | URL, options: EncoderOptions = {}): Promise<Session> {
    return new Session(await connect(where, options));
  }

  protected constructor({ remote, request, options: { signal: _, ...options }, info }: Opened) {
    this.name = info.name;
    this.licence = info.licence;
    this.source = info.source;
    // For starting again: without open()'s signal, which is over.
    this.#remote = new Lasting("encoder", remote, () => start(Promise.resolve(request), options).then(([started]) => started));
  }

  /** Runs the plan with the given sizes of its symbols, e.g. { batch: 1, seq: 16 }. */
  run(inputs: Tensors, symbols: Record<string, number>, { signal }: { signal?: AbortSignal } = {}): Promise<Tensors> {
    return this.ask("run", [inputs, symbols], { signal });
  }

  status(): Promise<EncoderStatus> {
    return this.ask("status");
  }

  /** How long each step takes on `texts` run together, ms: medians of `repeat` runs. */
  timings(texts: readonly string[], { repeat = 5, signal }: { repeat?: number; signal?: AbortSignal } = {}): Promise<StepTiming[]> {
    return this.ask("timings", [texts, repeat], { signal });
  }

  /** Has all threads use other functions for some of the kernels, from the next run on. */
  adopt(adoption: Adoption): Promise<void> {
    return this.ask("adopt", [adoption]);
  }

  /** Its kernels as tune() (tuning.js) wants them. */
  tuneWork(): Promise<TuneWork> {
    return this.ask("tuneWork");
  }

  /** Removes what this browser stores of the model, and closes it. */
  async clear(): Promise<void> {
    await this.ask("clear");
    await this.close();
  }

  /** Gives the memory back; what is running is rejected with code "closed". What is stored stays. */
  close(): Promise<void> {
    return this.#remote.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  protected ask<T>(method: Method, args: unknown[] = [], options: AskOptions = {}): Promise<T> {
    return this.#remote.ask<T>(method, args, options);
  }
}

/** A sentence encoder. */
export class Encoder extends Session {
  /** Of the vectors. */
  readonly dim: number;
  /** Longer texts are cut. */
  readonly maxTokens: number;

  static override async open(where: string | URL, options: EncoderOptions = {}): Promise<Encoder> {
    return new Encoder(await connect(where, options));
  }

  protected constructor(opened: Opened) {
    super(opened);
    this.dim = opened.info.dim;
    this.maxTokens = opened.info.maxTokens;
  }

  /** A vector for each text, in their order. */
  async encode(texts: string | readonly string[], { kind = "document", signal, onProgress }: EncodeOptions = {}): Promise<Float32Array[]> {
    const all = typeof texts === "string" ? [texts] : texts;
    if (!Array.isArray(all) || all.some((text) => typeof text !== "string")) throw new PywasmError("argument", "texts: a string or an array of strings expected");
    if (kind !== "query" && kind !== "document") throw new PywasmError("argument", `kind: "query" or "document" expected, not ${JSON.stringify(kind)}`);
    const vectors = await this.ask<Float32Array>("encode", [all, kind], { signal, hear: onProgress });
    return all.map((_, index) => vectors.slice(index * this.dim, (index + 1) * this.dim));
  }
}

interface Opened {
  remote: Remote;
  request: OpenRequest;
  options: EncoderOptions;
  info: ModelInfo;
}

async function connect(where: string | URL, options: EncoderOptions): Promise<Opened> {
  throwIfAborted(options.signal);
  const { threads, backend, storage, rows, marks } = options;
  for (const [name, value] of [["threads", threads], ["rows", rows]] as const) {
    if (value !== undefined && (!Number.isInteger(value) || value < 1)) throw new PywasmError("argument", `${name}: a whole number of at least 1 expected, not ${value}`);
  }
  const data = {
    ...(threads !== undefined && { threads }), ...(backend !== undefined && { backend }), ...(storage !== undefined && { storage }),
    ...(rows !== undefined && { rows }), ...(marks !== undefined && { marks }),
  };
  // Both at once: the worker's script and the plan.
  const finding = findPlan(where, CARRIED, options.signal).then((found): OpenRequest => ({ ...found, options: data }));
  const [remote, info] = await start(finding, options);
  return { remote, request: await finding, options, info };
}

function start(finding: Promise<OpenRequest>, { workerUrl, thread, signal, onProgress }: EncoderOptions): Promise<[Remote, ModelInfo]> {
  return startOpened<ModelInfo>(SCRIPT, finding, { workerUrl, thread }, { signal, hear: onProgress });
}
