/** The library as a page sees it: `open` and class `Index`. The work is done in the worker. */
import { compileEngine } from "./compile.ts";
import { Connection } from "./connection.ts";
import { aborted, fromPlain, PywasmError, throwIfAborted } from "./error.ts";
import { fetchManifest } from "./network.ts";
import { forgetOffline, keepStored, registerOffline } from "./offline.ts";
import { packRows } from "./pack.ts";
import { readHint } from "./stored.ts";
import type { Answer as Reply, HostEvent, Method, OpenRequest } from "./protocol.ts";
import { transfer } from "./rpc.ts";
import type { SiteAnswers } from "./ask.ts";
import type { Answer, AskOptions, GeneratorState, PrepareOptions } from "./ask_types.ts";
import type { SiteEncoder } from "./site_encoder.ts";
import type { SiteGenerator } from "./site_generator.ts";
import type {
  CreateOptions, EncoderState, ExportedFile, NewRow, OpenOptions, Query, Results, Row, SearchOptions, Site, Status,
} from "./types.ts";

/** Indexes of this page by what their worker is started from. */
const connections = new Map<string, { connection: Promise<Connection>; users: number }>();
/** By index number: ends what its open() listens to. */
const listening = new Map<number, () => void>();
let lastNumber = 0;
/** With the index stored here the site's manifest is asked for when it is open, at the latest after this time, ms. */
const ASK_MS = 150;

/** Opens the site at `siteUrl`: its address, with or without "manifest.json" at the end. */
export function open(siteUrl: string | URL, options: OpenOptions = {}): Promise<Index> {
  return Index.open(siteUrl, options);
}

/** What open asks for; what is stored is looked up each time. */
type Request = Omit<OpenRequest, "hint">;

/** What a call needs beside its arguments. */
interface CallOptions {
  signal?: AbortSignal | undefined;
  onPartial?: ((results: Results) => void) | undefined;
}

/** The encoder that a site carries. Its code is loaded with the first typed query, or by a method here. */
export interface IndexEncoder extends Pick<SiteEncoder, "load" | "tune" | "tuner"> {
  readonly state: EncoderState;
}

/** The language model that a site carries. Its code is loaded with the first question, or by a method here. */
export interface IndexGenerator extends Pick<SiteGenerator, "load" | "unload"> {
  readonly state: GeneratorState;
}

export class Index {
  /** What the site's builder said of it. */
  site: Site;
  readonly #number: number;
  readonly #request: Request;
  readonly #options: OpenOptions;
  #connection: Promise<Connection> | null;
  #closed = false;
  #typing: Promise<SiteEncoder> | null = null;
  #typed: SiteEncoder | null = null;
  #asking: Promise<SiteAnswers> | null = null;
  #asked: SiteAnswers | null = null;

  private constructor(number: number, request: Request, options: OpenOptions, connection: Promise<Connection>, site: Site) {
    this.#number = number;
    this.#request = request;
    this.#options = options;
    this.#connection = connection;
    this.site = site;
    void this.#watch(connection);
  }

  /** Opens a site by its address, or an index that Index.create made by "name:NAME". */
  static async open(where: string | URL, options: OpenOptions = {}): Promise<Index> {
    const name = String(where).startsWith("name:") ? String(where) : siteAddress(where).href;
    return Index.#open({ name, options: coreOptions(options), create: null, network: !name.startsWith("name:"), ...addresses(options) }, options);
  }

  /** Opens the index NAME of this browser, making it where there is none. */
  static async create(name: string, options: CreateOptions): Promise<Index> {
    const { dim, metric, dtype, columns } = options;
    if (!Number.isInteger(dim) || dim < 1) throw new PywasmError("argument", `dim: a whole number of at least 1 expected, not ${dim}`);
    const create = { dim, ...(metric && { metric }), ...(dtype && { dtype }), ...(columns && { columns }) };
    return Index.#open({ name: `name:${name}`, options: coreOptions(options), create, network: false, ...addresses(options) }, options);
  }

  static async #open(request: Request, options: OpenOptions): Promise<Index> {
    throwIfAborted(options.signal);
    const number = ++lastNumber;
    const connection = connect(options);
    try {
      const site = await openIn(connection, number, request, options);
      if (options.offline && request.network) void registerOffline(request.name);
      const index = new Index(number, request, options, connection, site);
      // Its few KB, so that the first typed query need not wait for them.
      if (index.encoder) void index.#loadTyping().catch(() => undefined);
      return index;
    } catch (error) {
      await release(connection, number);
      throw error;
    }
  }

  /** Null where the site carries none, or the page wants none. */
  get encoder(): IndexEncoder | null {
    const { compiled } = this.site.encoder ?? {};
    if (!compiled || this.#options.encoder === false) return null;
    return {
      state: this.#typed?.state ?? { state: "idle", loaded: 0, total: compiled.visit_bytes, error: null },
      tuner: this.#typed?.tuner ?? null,
      load: async () => (await this.#loadTyping()).load(),
      tune: async (mode) => (await this.#loadTyping()).tune(mode),
    };
  }

  /** Null where the site carries none, or the page wants none. */
  get generator(): IndexGenerator | null {
    const { answers } = this.site;
    if (!answers || this.#options.generator === false) return null;
    return {
      state: this.#asked?.generator.state ?? { state: "idle", loaded: 0, total: answers.visit_bytes, error: null },
      load: async (options) => (await this.#loadAnswers()).generator.load(options),
      unload: async () => this.#asked?.generator.unload(),
    };
  }

  /** Answers a question from what is found for it, by the site's language model. It is searched, loaded and generated at once. */
  ask(question: string, options: AskOptions = {}): Answer {
    const answer = this.#loadAnswers().then((answers) => answers.ask(question, options));
    const part = <P extends "sources" | "citations" | "stats">(name: P): Answer[P] => {
      const promise = answer.then((begun) => begun[name] as never);
      (promise as Promise<never>).catch(() => undefined);
      return promise;
    };
    return {
      sources: part("sources"), citations: part("citations"), stats: part("stats"),
      text: async () => (await answer).text(),
      async *[Symbol.asyncIterator]() {
        yield* await answer;
      },
    };
  }

  /** Reads what a question would need while nothing else is to be done, once the model is loaded. Answers how many tokens were new. */
  async prepare(question: string, options: PrepareOptions = {}): Promise<number> {
    return this.#asked?.prepare(question, options) ?? 0;
  }

  #loadAnswers(): Promise<SiteAnswers> {
    const { answers } = this.site;
    if (!this.generator || !answers) return Promise.reject(new PywasmError("unsupported", "there are no answers: the site carries no language model (pywasm build --generator), or open() was told `generator: false`"));
    return (this.#asking ??= import("./generator.ts").then(
      ({ SiteAnswers }) => (this.#asked = new SiteAnswers(new URL(this.#request.name), answers, this.#options, (question, options) => this.search(question, options))),
      (error: unknown) => {
        this.#asking = null;
        throw error;
      },
    ));
  }

  /** The k best rows for words, a vector, or both. A text alone gets its vector here if the site carries its encoder. */
  async search(query: Query, options: SearchOptions = {}): Promise<Results> {
    const run = (query: Query, { signal, onPartial, ...rest }: SearchOptions): Promise<Results> =>
      this.#call("search", [query, rest, onPartial !== undefined], { signal, onPartial });
    const text = typeof query === "string" ? query : query instanceof Float32Array || query.vector ? null : query.text;
    if (!text || options.mode === "keyword" || !this.encoder) return run(query, options);
    // Words need not wait for the encoder's code.
    const { onPartial, ...plain } = options;
    const words = onPartial && options.mode !== "vector" ? run(text, { ...plain, mode: "keyword" }) : null;
    words?.catch(() => undefined);
    const typed = await this.#loadTyping().catch(String);
    return typeof typed === "string" ? { ...(await (words ?? run(text, { ...plain, mode: "keyword" }))), note: typed } : typed.search(text, options, run, words);
  }

  #loadTyping(): Promise<SiteEncoder> {
    return (this.#typing ??= import("./encoder.ts").then(
      ({ SiteEncoder }) => (this.#typed = new SiteEncoder(new URL(this.#request.name), this.site.encoder!, this.#options, (signal) => this.#call("hold", [], { signal }))),
      (error: unknown) => {
        this.#typing = null;
        throw error;
      },
    ));
  }

  /** The rows nearest to row `id`, without it. */
  async similar(id: string, options: SearchOptions = {}): Promise<Results> {
    const { signal, onPartial, ...rest } = options;
    return this.#call("similar", [id, rest, onPartial !== undefined], { signal, onPartial });
  }

  /** Searches with the vector of suggestion `i` of `site.suggestions`. */
  async suggest(i: number, options: SearchOptions = {}): Promise<Results> {
    const { signal, onPartial, ...rest } = options;
    return this.#call("suggest", [i, rest, onPartial !== undefined], { signal, onPartial });
  }

  /** Adds rows, all or none; an id that exists is an error ("duplicate") unless `replace`. */
  async insert(rows: readonly NewRow[], options: { replace?: boolean; signal?: AbortSignal } = {}): Promise<void> {
    const packed = packRows(rows, this.site.dim, this.site.columns);
    await this.#call("insert", transfer([packed, options.replace === true], [packed.vectors.buffer]), { signal: options.signal });
  }

  /** Adds rows or puts them in place of the ones with the same ids. */
  async update(rows: readonly NewRow[], options: { signal?: AbortSignal } = {}): Promise<void> {
    await this.insert(rows, { ...options, replace: true });
  }

  /** Removes rows; the answer is how many there were. */
  async delete(ids: readonly string[], options: { signal?: AbortSignal } = {}): Promise<number> {
    return this.#call("delete", [ids], { signal: options.signal });
  }

  /** Rows by id, in that order; null where there is none. */
  async get(ids: readonly string[], options: { vectors?: boolean; signal?: AbortSignal } = {}): Promise<(Row | null)[]> {
    return this.#call("get", [ids, options.vectors === true], { signal: options.signal });
  }

  /** All rows, in the index's order. */
  async *rows(options: { vectors?: boolean; signal?: AbortSignal } = {}): AsyncGenerator<Row, void, undefined> {
    let from = 0;
    for (;;) {
      const batch: Row[] = await this.#call("rowsFrom", [from, 256, options.vectors === true], { signal: options.signal });
      yield* batch;
      const last = batch.at(-1);
      if (!last) return;
      from = last.row + 1;
    }
  }

  /** Changes what the engine may hold: bytes, or "auto". */
  async setMemory(memory: "auto" | number): Promise<void> {
    await this.#call("setMemory", [memory], {});
  }

  async status(): Promise<Status> {
    return { ...(await this.#call<Omit<Status, "encoder">>("status", [], {})), encoder: this.encoder?.state ?? null };
  }

  /** Writes inserted and deleted rows into the index itself. It also happens by itself as they grow. */
  async compact(options: { signal?: AbortSignal } = {}): Promise<void> {
    await this.#call("compact", [], { signal: options.signal });
  }

  /** The files of a site with all changes in it, as `pywasm serve` or any static host takes them. */
  async export(options: { signal?: AbortSignal } = {}): Promise<ExportedFile[]> {
    return this.#call("export", [], { signal: options.signal });
  }

  /** Removes everything this browser stores of the index, local changes included, and closes it. */
  async clear(): Promise<void> {
    await this.#call("clear", [], {});
    if (this.encoder) await (await this.#loadTyping()).clear();
    if (this.generator) await (await this.#loadAnswers()).generator.clear();
    if (this.#request.network) await forgetOffline(this.#request.name);
    await this.close();
  }

  /** Returns its memory; stored data stays. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#typed?.close();
    this.#asked?.close();
    if (this.#connection) await release(this.#connection, this.#number);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #call<T>(method: Method, args: unknown[], { signal, onPartial }: CallOptions): Promise<T> {
    throwIfAborted(signal);
    if (this.#closed) throw new PywasmError("closed", "the index is closed");
    const connection = await this.#connected();
    throwIfAborted(signal);
    const call = ++lastNumber;
    const stopListening = onPartial && connection.listen((event: HostEvent) => {
      if (event.kind === "partial" && event.call === call) onPartial(event.results);
    });
    try {
      return await settle<T>(connection, call, signal, connection.host.call(this.#number, call, method, args) as Promise<Reply<T>>);
    } finally {
      stopListening?.();
    }
  }

  /** The running worker; after one died, a new one with the index opened again. */
  #connected(): Promise<Connection> {
    this.#connection ??= (async () => {
      const connection = connect(this.#options);
      const ready = openIn(connection, this.#number, this.#request, this.#options).then((site) => {
        this.site = site;
        return connection;
      });
      void this.#watch(connection);
      return ready;
    })();
    return this.#connection;
  }

  async #watch(connection: Promise<Connection>): Promise<void> {
    (await connection).onDeath(() => (this.#connection = null));
  }
}

async function openIn(connecting: Promise<Connection>, number: number, request: Request, options: OpenOptions): Promise<Site> {
  const wasmUrl = new URL(options.wasmUrl ?? new URL("./engine.wasm", import.meta.url), location.href);
  // All at once: the worker's script, the engine, what is stored here.
  const compiling = compileEngine(wasmUrl);
  compiling.catch(() => undefined);
  const reading = options.storage === "memory" ? null : readHint(request.name);
  const connection = await connecting;
  const { onProgress } = options;
  const call = ++lastNumber;
  if (onProgress || options.offline) {
    connection.listen((event) => {
      if (event.kind !== "progress" || event.index !== number) return;
      onProgress?.(event.event);
      if (options.offline && event.event.status === "ready") void keepStored();
    });
  }
  const hint = await reading;
  const deliver = (): void => void fetchManifest(new URL(request.name), "default", options.signal).then((delivery) => connection.host.manifest(number, delivery));
  // What is stored is used at once; whether the site has changed is asked out of its way, but for a device on which that takes long.
  const asking = request.network ? once(deliver) : () => undefined;
  if (hint) setTimeout(asking, ASK_MS);
  else asking();
  const module = await compiling;
  try {
    return await settle(connection, call, options.signal, connection.host.open(number, { ...request, hint }, module, call));
  } finally {
    asking();
  }
}

function once(work: () => void): () => void {
  let done = false;
  return () => {
    if (!done) work();
    done = true;
  };
}

/** Waits for an answer, its abort or the worker's death, whichever comes first. */
function settle<T>(connection: Connection, call: number, signal: AbortSignal | undefined, answer: Promise<Reply<T>>): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const onAbort = (): void => {
      void connection.host.cancel(call);
      done();
      reject(aborted());
    };
    const stopMourning = connection.onDeath((reason) => {
      done();
      reject(reason);
    });
    const done = (): void => {
      stopMourning();
      signal?.removeEventListener("abort", onAbort);
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    answer.then(
      (value) => {
        done();
        if ("ok" in value) resolve(value.ok);
        else reject(fromPlain(value.error));
      },
      (error: unknown) => {
        done();
        reject(error);
      },
    );
  });
}

function connectionKey(options: OpenOptions): string {
  return options.thread === "inline" ? "inline" : String(options.workerUrl ?? "");
}

function connect(options: OpenOptions): Promise<Connection> {
  const key = connectionKey(options);
  let entry = connections.get(key);
  if (!entry) {
    const url = options.workerUrl === undefined ? null : new URL(options.workerUrl, location.href);
    const connection = Connection.start(url, options.thread ?? "worker");
    entry = { connection, users: 0 };
    connections.set(key, entry);
    const forget = (): void => {
      if (connections.get(key)?.connection === connection) connections.delete(key);
    };
    connection.then((started) => started.onDeath(forget), forget);
  }
  entry.users++;
  return entry.connection;
}

/** Closes index `number`; ends the worker with its last index. */
async function release(connection: Promise<Connection>, number: number): Promise<void> {
  listening.get(number)?.();
  listening.delete(number);
  const [key, entry] = [...connections].find(([, { connection: known }]) => known === connection) ?? [];
  if (!entry || key === undefined) return;  // the worker died or never started
  const started = await connection.catch(() => null);
  if (started) {
    await Promise.race([started.host.close(number), new Promise<void>((resolve) => started.onDeath(() => resolve()))]);
  }
  if (--entry.users > 0) return;
  connections.delete(key);
  started?.end();
}

/** The directory of the site, ending in "/". */
function siteAddress(where: string | URL): URL {
  const url = new URL(where, location.href);
  url.hash = "";
  url.search = "";
  url.pathname = url.pathname.replace(/(manifest\.json|index\.html)$/, "");
  if (!url.pathname.endsWith("/")) url.pathname += "/";
  return url;
}

/** builder.wasm lies beside engine.wasm, wherever that is; writer.js beside worker.js, which knows where that is. */
function addresses({ builderUrl, wasmUrl, writerUrl }: OpenOptions): Pick<OpenRequest, "builderUrl" | "writerUrl"> {
  const absolute = (url: string | URL): string => new URL(url, location.href).href;
  return {
    builderUrl: builderUrl ? absolute(builderUrl) : wasmUrl ? new URL("builder.wasm", absolute(wasmUrl)).href : null,
    writerUrl: writerUrl ? absolute(writerUrl) : null,
  };
}

function coreOptions({ memory, latencyTarget, storage, fill, marks }: OpenOptions): OpenRequest["options"] {
  return { memory, latencyTarget, storage, fill, marks } as OpenRequest["options"];
}
