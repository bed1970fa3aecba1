/** Compiled models as a page sees them: Encoder (texts to vectors) and Session (any inputs). The work is done in a worker. */
import { PywasmError, throwIfAborted } from "../error.ts";
import type { TuneWork } from "../tuning/tasks.ts";
import type { Adoption, Tensors } from "./backend.ts";
import type { ModelInfo, OpenRequest } from "./protocol.ts";
import { Remote, type AskOptions } from "./remote.ts";
import type { EncodeOptions, EncoderOptions, EncoderStatus, StepTiming } from "./types.ts";

export type * from "./types.ts";
export type { Adoption, Tensor, Tensors } from "./backend.ts";

const PLAN_FILE = "plan.json";

/** A compiled model. */
export class Session {
  readonly name: string;
  readonly licence: string;
  /** SHA-256 of the weights, configuration and tokenizer that it was compiled from. */
  readonly source: string;
  /** For starting again: without open()'s signal, which is over. */
  readonly #options: Omit<EncoderOptions, "signal">;
  readonly #request: OpenRequest;
  #remote: Promise<Remote>;
  #closed = false;

  /** Opens the model at `where`: a folder that `pywasm compile` wrote, its plan.json, or a site that carries an encoder. */
  static async open(where: string | URL, options: EncoderOptions = {}): Promise<Session> {
    return new Session(await connect(where, options));
  }

  protected constructor({ remote, request, options: { signal: _, ...options }, info }: Opened) {
    this.name = info.name;
    this.licence = info.licence;
    this.source = info.source;
    this.#remote = Promise.resolve(remote);
    this.#request = request;
    this.#options = options;
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
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    (await this.#remote.catch(() => null))?.close(closed());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  protected async ask<T>(method: "encode" | "run" | "status" | "timings" | "tuneWork" | "adopt" | "clear", args: unknown[] = [], options: AskOptions = {}): Promise<T> {
    throwIfAborted(options.signal);
    if (this.#closed) throw closed();
    const remote = await this.#running();
    if (this.#closed) throw closed();
    return remote.ask<T>(method, args, options);
  }

  /** The worker; after it died, a new one with the model loaded again: one for all that call meanwhile. */
  async #running(): Promise<Remote> {
    const known = this.#remote;
    const remote = await known.catch(() => null);
    if (remote && !remote.ended) return remote;
    if (this.#closed) throw closed();
    if (this.#remote === known) this.#remote = start(Promise.resolve(this.#request), this.#options).then(([started]) => started);
    return this.#remote;
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
  const finding = fetchPlan(where, options.signal).then((found): OpenRequest => ({ ...found, options: data }));
  const [remote, info] = await start(finding, options);
  return { remote, request: await finding, options, info };
}

async function start(finding: Promise<OpenRequest>, { workerUrl, thread = "worker", signal, onProgress }: EncoderOptions): Promise<[Remote, ModelInfo]> {
  finding.catch(() => undefined);
  const remote = await Remote.start(workerUrl === undefined ? null : new URL(workerUrl, location.href), thread);
  try {
    return [remote, await remote.ask<ModelInfo>("open", [await finding], { signal, hear: onProgress })];
  } catch (error) {
    remote.close(closed());
    throw error;
  }
}

/** The plan of the model at `where`, or of the encoder of the site there. */
async function fetchPlan(where: string | URL, signal: AbortSignal | undefined): Promise<Pick<OpenRequest, "address" | "plan">> {
  const base = new URL(where, location.href);
  base.hash = "";
  base.search = "";
  base.pathname = base.pathname.replace(/(plan\.json|manifest\.json|index\.html)$/, "");
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  for (const folder of [base, new URL("encoder/", base)]) {
    let response: Response;
    try {
      response = await fetch(new URL(PLAN_FILE, folder), { cache: "no-cache", ...(signal && { signal }) });
    } catch {
      throwIfAborted(signal);
      return { address: base.href, plan: null };
    }
    if (response.ok) return { address: folder.href, plan: await response.text() };
    if (response.status >= 500) return { address: folder.href, plan: null };
  }
  const file = new URL(PLAN_FILE, base).href;
  throw new PywasmError("network", `${file} is not there, nor is encoder/${PLAN_FILE}: is this the address of a model that \`pywasm compile\` wrote?`, { file });
}

function closed(): PywasmError {
  return new PywasmError("closed", "the encoder is closed");
}
