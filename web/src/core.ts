/** One open index as the worker sees it: which generation is used, what calls do with it, what goes on in between. */
import type { Base } from "./base.ts";
import type { Changes } from "./changes.ts";
import { Database, type Meta } from "./database.ts";
import { Early } from "./early.ts";
import { Engine } from "./engine.ts";
import { fromPlain, PywasmError, throwIfAborted } from "./error.ts";
import { describeSite, parseManifest, type Opened } from "./manifest.ts";
import { GoneError } from "./pages/http.ts";
import { openLocalPages, removeAllPages, removeGenerations, type LocalPages } from "./pages/local.ts";
import { MemoryStore } from "./pages/memory.ts";
import type { PackedRows } from "./pack.ts";
import { fetchManifest } from "./network.ts";
import type { ManifestDelivery, OpenRequest } from "./protocol.ts";
import { getRows, rowsFrom } from "./rows.ts";
import { search, similar, type PlainSearchOptions, type SearchContext } from "./searcher.ts";
import { Session, storageKinds } from "./session.ts";
import { statusOf } from "./status.ts";
import type { ExportedFile, ProgressEvent, Query, Results, Row, Site, Status } from "./types.ts";
import type * as Writer from "./writer.ts";

/** How long a new deployment is waited for before the stored one is opened, ms. */
const UPDATE_PATIENCE_MS = 1500;
/** The storage of a site that is full is left alone for this long, ms. */
const FULL_MS = 24 * 3600 * 1000;
/** What need not be done at open is left for this long, ms. */
const SETTLE_MS = 100;
/** Inserted rows that make a compaction worth it: this many, and this share of the base. */
const COMPACT_ROWS = 4096;
const COMPACT_SHARE = 0.25;
/** Compaction waits until nothing has been inserted for this long, ms. */
const COMPACT_DELAY_MS = 2000;

type StoredMeta = Awaited<ReturnType<Database["start"]>>;
/** Takes earlier answers of the same search. */
type OnPartial = ((results: Results) => void) | undefined;
type Message = { type: "log" } | { type: "generation" } | { type: "cleared" };

/** What a visit loads: engine.wasm, which searches. The rest when it is needed. */
export interface Modules {
  search: WebAssembly.Module;
  /** builder.wasm, the whole engine: for changes, building, and an index of kind graph. */
  builder: () => Promise<WebAssembly.Module>;
  /** writer.js: what changes, builds and exports. */
  writer: () => Promise<typeof Writer>;
}

export class Core {
  site!: Site;
  readonly #request: OpenRequest;
  readonly #modules: Modules;
  readonly #notify: (event: ProgressEvent) => void;
  /** Null until it is open, and where there is none (denied, or not wanted). */
  #database: Database | null = null;
  readonly #channel: BroadcastChannel;
  /** The log as far as the session has it; null while there was nothing in it. */
  #changes: Changes | null = null;
  #session!: Session;
  /** How Index.create was called, for an index without a site. */
  #config: Meta["config"] | null = null;
  #local = false;
  /** The generation that is being opened was never stored here. */
  #fresh = false;
  #available: string | null = null;
  #cleared = false;
  #closed = false;
  #compactTimer: ReturnType<typeof setTimeout> | undefined;

  private constructor(request: OpenRequest, modules: Modules, notify: (event: ProgressEvent) => void) {
    this.#request = request;
    this.#modules = modules;
    this.#notify = notify;
    this.#channel = new BroadcastChannel(`pywasm ${request.name}`);
    this.#channel.addEventListener("message", ({ data }: MessageEvent<Message>) => void this.#hear(data).catch(() => undefined));
  }

  static async open(
    request: OpenRequest, modules: Modules, delivery: Promise<ManifestDelivery> | null,
    notify: (event: ProgressEvent) => void, signal: AbortSignal,
  ): Promise<Core> {
    // Without IndexedDB (denied, or not wanted) nothing outlives the page, and everything else works.
    const opening = request.options.storage === "memory" ? null : Database.open(request.name).catch(() => null);
    const core = new Core(request, modules, notify);
    try {
      await core.#start(opening, delivery, signal);
    } catch (error) {
      await core.close();
      throw error;
    }
    return core;
  }

  // --- opening

  async #start(opening: Promise<Database | null> | null, delivery: Promise<ManifestDelivery> | null, signal: AbortSignal): Promise<void> {
    const reading = opening?.then((database) => {
      this.#database = database;
      return database?.start();
    });
    reading?.catch(() => undefined);
    const { name, options, hint } = this.#request;
    const early = opening && hint ? new Early(name, hint, storageKinds(options)) : null;
    try {
      const engine = await Engine.create(this.#modules.search);
      early?.parse((manifest) => this.#parse(engine, manifest));
      await this.#continue(engine, (await reading) ?? { logged: 0 }, early, delivery, signal);
    } finally {
      early?.leave();
    }
  }

  /** Opens what `stored` says; `early`: what has been begun of it. */
  async #continue(
    engine: Engine, stored: StoredMeta, early: Early | null, delivery: Promise<ManifestDelivery> | null, signal: AbortSignal,
  ): Promise<void> {
    const { create } = this.#request;
    if (create) {
      if (stored.config && stored.config.dim !== create.dim) {
        throw new PywasmError("argument", `${this.#request.name} exists with ${stored.config.dim} dimensions, not ${create.dim}`);
      }
      if (!stored.config) await this.#database?.put("config", create);
    } else if (!delivery && !stored.config && !stored.current) {
      throw new PywasmError("argument", `this browser has no index ${JSON.stringify(this.#request.name.slice("name:".length))}; Index.create makes one`);
    }
    this.#config = stored.config ?? create;
    const opened = await this.#choose(engine, stored, early, delivery);
    throwIfAborted(signal);
    await this.#adopt(engine, opened, { full: stored.full, local: early?.take(opened?.manifest.generation) });
    const caughtUp = this.#catchUp();
    // Nothing is waited for where nothing was logged: what another tab changes now comes in a moment.
    if (stored.logged > 0) await caughtUp;
    else caughtUp.catch(() => undefined);
    this.#notify({ status: "open", file: "manifest.json", loaded: 1, total: 1 });
    // The first search comes first.
    void delivery?.then(async (arrived) => (await settled(), this.#compare(arrived))).catch(() => undefined);
  }

  /** The stored generation at once; the site's where none is stored, or where a newer one is known. */
  async #choose(engine: Engine, { current, next }: StoredMeta, early: Early | null, delivery: Promise<ManifestDelivery> | null): Promise<Opened | null> {
    const known = early?.opened(current?.generation);
    if (current?.local && current.manifest) {
      this.#local = true;
      return known ?? this.#parse(engine, current.manifest);
    }
    if (current?.manifest && delivery) {
      const late = new Promise<null>((resolve) => setTimeout(() => resolve(null), UPDATE_PATIENCE_MS));
      const newer = next ? await Promise.race([delivery, late]) : null;
      if (!newer || "error" in newer) {
        try {
          return known ?? this.#parse(engine, current.manifest);
        } catch {
          // What was stored is damaged: as if nothing were.
        }
      }
    }
    if (!delivery) return null;
    const delivered = await delivery;
    if ("error" in delivered) throw fromPlain(delivered.error);
    const opened = this.#parse(engine, delivered.bytes);
    this.#fresh = true;
    // Not waited for: without it the next visit fetches the manifest again.
    void this.#database?.advance({ generation: opened.manifest.generation, manifest: delivered.bytes, local: false }).catch(() => undefined);
    return opened;
  }

  /** Those of the current session: to be taken together with it, without waiting in between. */
  #changesBy(writer: typeof Writer): Changes {
    return (this.#changes ??= this.#newChanges(writer));
  }

  #newChanges({ Changes }: typeof Writer): Changes {
    return new Changes(this.#request.name, this.#database, this.#modules.builder);
  }

  /** Applies what the log holds and the session lacks. */
  async #catchUp(): Promise<void> {
    if (!this.#changes && !(await this.#database?.hasChanges())) return;
    const writer = await this.#modules.writer();
    const session = this.#session;
    const changes = this.#changesBy(writer);
    await session.use(() => changes.catchUp(session.base));
    session.budget.apply();
  }

  #parse(engine: Engine, bytes: ArrayBuffer): Opened {
    return parseManifest(new Uint8Array(bytes), (data) => engine.xxh64(data));
  }

  /** Opens `opened` (null: an index that is all changes) and makes it the session that calls use. */
  async #adopt(engine: Engine, opened: Opened | null, known: { full?: Meta["full"] | undefined; local?: LocalPages | Promise<LocalPages> | undefined; changes?: Changes } = {}): Promise<void> {
    const { name, options } = this.#request;
    let head: Uint8Array<ArrayBuffer>;
    if (opened) head = opened.head;
    else {
      const { emptyConfig, emptyHead, emptyManifest } = await this.#modules.writer();
      const builder = await this.#modules.builder();
      const config = emptyConfig(this.#config!);
      opened = emptyManifest(name, config);
      head = await emptyHead(builder, config);
      engine = await Engine.create(builder);  // rows will be inserted
    }
    if (!engine.open(head, 0)) {
      engine = await Engine.create(await this.#modules.builder());
      engine.open(head, 0);
    }
    const site = this.#request.network && !this.#local ? new URL(name) : null;
    const { generation } = opened.manifest;
    const session = await Session.open(name, engine, opened, site, options, {
      progress: this.#notify,
      filled: () => void settled().then(() => removeGenerations(name, [generation])),
      full: () => void this.#database?.put("full", { generation, at: Date.now() }).catch(() => undefined),
    }, { fresh: this.#fresh, given: known.local });
    this.#fresh = false;
    const before = this.#session as Session | undefined;
    this.#session = session;
    this.#changes = known.changes ?? null;
    this.site = { ...describeSite(opened.manifest) };
    void before?.close();
    const isFull = known.full?.generation === generation && Date.now() - known.full.at < FULL_MS;
    if (isFull) session.fill.state = "quota";
    else session.startFill(options.fill);
  }

  /** Notes a manifest that differs from the one in use for the next open. */
  async #compare(delivered: ManifestDelivery): Promise<void> {
    if ("error" in delivered || this.#local || this.#closed) return;
    const { manifest } = this.#parse(this.#session.base.engine, delivered.bytes);
    const { generation } = manifest;
    if (generation === this.#session.base.manifest.generation) {
      // The same index, told of otherwise (a title, an encoder): for the next open.
      if (JSON.stringify(manifest) !== JSON.stringify(this.#session.base.manifest)) await this.#database?.put("current", { generation, manifest: delivered.bytes, local: false });
      return;
    }
    this.#available = generation;
    await this.#database?.put("next", { generation, manifest: delivered.bytes });
    this.#notify({ status: "update", file: "manifest.json", loaded: 0, total: delivered.bytes.byteLength });
  }

  /** Opens the generation that is current now: the site has changed, or a tab has compacted. */
  async #reopen(from: "site" | "database"): Promise<void> {
    const engine = await Engine.create(this.#modules.search);
    let opened: Opened | null;
    if (from === "site") {
      const delivered = await fetchManifest(new URL(this.#request.name), "reload");
      if ("error" in delivered) throw fromPlain(delivered.error);
      opened = this.#parse(engine, delivered.bytes);
      if (opened.manifest.generation === this.#session.base.manifest.generation) return;
      await this.#database?.advance({ generation: opened.manifest.generation, manifest: delivered.bytes, local: false });
    } else {
      const current = await this.#database?.get("current");
      this.#local = current?.local ?? false;
      opened = current?.manifest ? this.#parse(engine, current.manifest) : null;
    }
    this.#available = null;
    await this.#adopt(engine, opened);
    await this.#catchUp();
  }

  async #hear(message: Message): Promise<void> {
    if (this.#closed) return;
    if (message.type === "log") await this.#catchUp();
    else if (message.type === "generation") await this.#reopen("database");
    else {
      this.#cleared = true;
      await this.close();
    }
  }

  #tell(message: Message): void {
    if (this.#database) this.#channel.postMessage(message);
  }

  // --- reading

  search(query: Query, options: PlainSearchOptions, signal: AbortSignal, partial: OnPartial): Promise<Results> {
    return this.#searching((session) => search(query, options, this.#context(session, signal, partial)));
  }

  similar(id: string, options: PlainSearchOptions, signal: AbortSignal, partial: OnPartial): Promise<Results> {
    return this.#searching((session) => similar(id, options, this.#context(session, signal, partial)));
  }

  suggest(number: number, options: PlainSearchOptions, signal: AbortSignal, partial: OnPartial): Promise<Results> {
    const suggestion = this.site.suggestions[number];
    if (!suggestion) throw new PywasmError("argument", `suggestion ${number}: the site has ${this.site.suggestions.length}`);
    return this.search({ text: suggestion.text, vector: suggestion.vector }, options, signal, partial);
  }

  get(ids: readonly string[], vectors: boolean, signal: AbortSignal): Promise<(Row | null)[]> {
    return this.#searching(({ base }) => getRows(base, ids, vectors, signal));
  }

  rowsFrom(from: number, limit: number, vectors: boolean, signal: AbortSignal): Promise<Row[]> {
    return this.#searching(({ base }) => rowsFrom(base, from, limit, vectors, signal));
  }

  /** Runs `work`; where the site turns out to have been deployed anew, once more on the new generation. */
  async #searching<T>(work: (session: Session) => Promise<T>): Promise<T> {
    const session = this.#current();
    try {
      return await session.search(() => work(session));
    } catch (error) {
      if (!(error instanceof GoneError)) throw error;
      if (session === this.#session) await this.#reopen("site");
      if (session === this.#session) throw error;
      const renewed = this.#session;
      return renewed.search(() => work(renewed));
    }
  }

  #current(): Session {
    if (this.#cleared) throw new PywasmError("closed", "the index was cleared in another tab; open it again");
    if (this.#closed) throw new PywasmError("closed", "the index is closed");
    return this.#session;
  }

  #context(session: Session, signal: AbortSignal, partial: OnPartial): SearchContext {
    return {
      base: session.base, vectors: session, marks: this.#request.options.marks === true, signal,
      partial: partial ?? (() => undefined), refine: partial !== undefined,
      waited: (wait) => {
        if (session.maxPages() === 0) session.budget.observe(wait.ms);
      },
    };
  }

  async status(): Promise<Omit<Status, "encoder">> {
    return statusOf(this.#current(), { available: this.#available, local: this.#local, logged: this.#database !== null });
  }

  /** Keeps what goes on in the background waiting until the signal, as a search does: something else needs the line. */
  hold(signal: AbortSignal): Promise<void> {
    return this.#searching(() => new Promise((resolve) => signal.addEventListener("abort", () => resolve())));
  }

  setMemory(memory: "auto" | number): void {
    this.#current().budget.set(memory);
  }

  // --- changing

  insert(rows: PackedRows, replace: boolean, signal: AbortSignal): Promise<void> {
    return this.#changing(signal, (changes, base) => changes.insert(base, rows, replace, signal));
  }

  delete(ids: readonly string[], signal: AbortSignal): Promise<number> {
    return this.#changing(signal, (changes, base) => changes.delete(base, ids, signal));
  }

  async #changing<T>(signal: AbortSignal, work: (changes: Changes, base: Base) => Promise<T>): Promise<T> {
    this.#current();
    const writer = await this.#modules.writer();
    const session = this.#current();
    const changes = this.#changesBy(writer);
    const { base } = session;
    const result = await session.use(() => changes.exclusively(base, signal, () => work(changes, base)));
    // A new generation may have come meanwhile: it gets the change from the log.
    if (session !== this.#session) await this.#catchUp();
    this.#session.budget.apply();
    this.#tell({ type: "log" });
    this.#considerCompaction();
    return result;
  }

  #considerCompaction(): void {
    const { deltaRows, deleted, rows } = this.#session.base.engine.info();
    clearTimeout(this.#compactTimer);
    if (deltaRows + deleted <= Math.max(COMPACT_ROWS, COMPACT_SHARE * (rows - deltaRows))) return;
    const attempt = (): void => void this.compact(new AbortController().signal).catch(() => undefined);
    this.#compactTimer = setTimeout(attempt, COMPACT_DELAY_MS);
  }

  /** Writes all changes into a new generation and switches to it; a kill at any point leaves the old one or the new one. */
  async compact(signal: AbortSignal): Promise<void> {
    clearTimeout(this.#compactTimer);
    this.#current();
    const writer = await this.#modules.writer();
    const session = this.#current();
    const changes = this.#changesBy(writer);
    await session.use(() => changes.exclusively(session.base, signal, async () => {
      const { deltaRows, deleted } = session.base.engine.info();
      // Another tab may have done it while this one waited for its turn.
      if (deltaRows + deleted > 0 && session === this.#session) await this.#compact(writer, session, changes.applied, signal);
    }));
  }

  async #compact(writer: typeof Writer, session: Session, applied: number, signal: AbortSignal): Promise<void> {
    const { name, options } = this.#request;
    const kinds = this.#database ? storageKinds(options) : [];
    const total = session.base.engine.info();
    // Room for more pages than the new generation can have: only the staging's bitmap depends on it.
    const staging = await openLocalPages(name, "staging", (total.totalPages + total.deltaRows) * 2 + 1024, kinds);
    try {
      const progress = (loaded: number, rows: number): void => this.#notify({ status: "compact", file: "index", loaded, total: rows });
      const builder = await this.#modules.builder();
      const { opened, order } = await writer.buildGeneration(session.base, builder, staging.store, signal, progress);
      const { generation } = opened.manifest;
      const target = await openLocalPages(name, generation, order.length, kinds);
      if (target.store instanceof MemoryStore && this.#database) {
        await target.close();
        throw new PywasmError("storage", "there is no storage for the compacted index");
      }
      await writer.placePages(order, staging.store, target.store);
      throwIfAborted(signal);
      const manifest = new TextEncoder().encode(opened.text).buffer as ArrayBuffer;
      await this.#database?.compacted({ generation, manifest, local: true }, applied);
      this.#local = true;
      const changes = this.#newChanges(writer);
      changes.applied = applied;
      // More changes will come where some have come.
      await this.#adopt(await Engine.create(builder), opened, { local: target, changes });
      this.#tell({ type: "generation" });
    } finally {
      await staging.close();
      void removeGenerations(name, [this.#session.base.manifest.generation]);
    }
  }

  async export(signal: AbortSignal): Promise<ExportedFile[]> {
    await this.compact(signal);
    const { exportSite } = await this.#modules.writer();
    return this.#searching(({ base }) => exportSite(base, signal));
  }

  // --- ending

  async clear(): Promise<void> {
    this.#tell({ type: "cleared" });
    await this.close();
    await removeAllPages(this.#request.name);
    await Database.remove(this.#request.name).catch(() => undefined);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#compactTimer);
    this.#channel.close();
    await (this.#session as Session | undefined)?.close();
    this.#database?.close();
  }
}

function settled(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
}
