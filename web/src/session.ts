/** One generation of an index in use: its engine with the tiers, the resident sections, the fill and the memory budget around it. */
import { Base } from "./base.ts";
import { MemoryBudget } from "./budget.ts";
import { Engine } from "./engine.ts";
import { PAGE_BYTES, PAGES_PER_SHARD } from "./generated/abi.ts";
import { Fill } from "./fill.ts";
import type { Opened } from "./manifest.ts";
import { HttpTier } from "./pages/http.ts";
import { openLocalPages, type LocalPages } from "./pages/local.ts";
import type { CoreOptions } from "./protocol.ts";
import { loadResident, residentSections } from "./resident.ts";
import type { VectorAccess } from "./searcher.ts";
import type { ProgressEvent, StorageKind } from "./types.ts";

export interface SessionEvents {
  progress(event: ProgressEvent): void;
  filled(): void;
  full(): void;
}

/** Vector pages asked for while they come over the network: about as many round trips as a person waits for. */
const NETWORK_PAGES = 8;
const LATENCY_TARGET_MS = 10;
/** Codes that no search has asked for yet are read after this time, ms. */
const FIRST_SEARCH_MS = 200;
const ALL_KINDS: readonly StorageKind[] = ["opfs", "indexeddb"];

/** The kinds of storage to try, best first. */
export function storageKinds({ storage }: CoreOptions): readonly StorageKind[] {
  return storage === "memory" ? [] : (storage ?? ALL_KINDS);
}

export class Session implements VectorAccess {
  readonly base: Base;
  readonly budget: MemoryBudget;
  readonly fill: Fill;
  readonly http: HttpTier | null;
  readonly #loadCodes: () => Promise<void>;
  #codes: Promise<void> | null = null;
  /** The codes that a search scans can be read as it goes: it need not wait for all of them. */
  readonly #codesAtHand: boolean;
  #searched: () => void = () => undefined;
  #local: LocalPages | null;
  /** Calls that use the engine now, plus one while the session is current. */
  #users = 1;
  #searches = 0;
  #idle: (() => void)[] = [];

  private constructor(base: Base, local: LocalPages | null, http: HttpTier | null, options: CoreOptions, events: SessionEvents) {
    this.base = base;
    this.#local = local;
    this.http = http;
    const { engine, pager } = base;
    const complete = (local?.store.count ?? 0) >= base.totalPages;
    this.budget = new MemoryBudget(engine, options.memory ?? "auto", options.latencyTarget ?? LATENCY_TARGET_MS, complete || !http ? (local?.store.tier ?? "memory") : "http");
    if (local) this.#take(local);
    pager.http = http;
    this.fill = new Fill(pager, base.totalPages, () => this.idle(), {
      progress: (done, total) => events.progress({ status: "fill", file: "index", loaded: done * PAGE_BYTES, total: total * PAGE_BYTES }),
      complete: () => {
        events.progress({ status: "ready", file: "index", loaded: base.totalPages * PAGE_BYTES, total: base.totalPages * PAGE_BYTES });
        events.filled();
      },
      full: () => events.full(),
    });
    const info = engine.info();
    const sections = this.budget.fitting(residentSections(info), (section) => info.sections[section]!.pages * PAGE_BYTES);
    this.#codesAtHand = complete && info.kind === "clusters" && local?.store.readNow !== undefined;
    const later = this.#codesAtHand ? this.#afterFirstSearch() : null;
    this.#loadCodes = () => loadResident(base, sections, (loaded, total) => events.progress({ status: "codes", file: "codes", loaded, total }), later);
    this.#load().catch(() => undefined);
    this.budget.apply();
  }

  /**
   * `engine` is open on `opened`. `site`: where pages can be fetched, or null. `fresh`: nothing of
   * this generation is stored. `given`: the local tier where it is open already; it is closed with
   * the session.
   */
  static async open(
    index: string, engine: Engine, opened: Opened, site: URL | null, options: CoreOptions, events: SessionEvents,
    { fresh = false, given }: { fresh?: boolean; given?: LocalPages | Promise<LocalPages> | undefined } = {},
  ): Promise<Session> {
    const { manifest, head } = opened;
    const base = new Base(engine, manifest, head);
    const http = site && manifest.shards.length > 0
      ? new HttpTier(site, manifest.shards, manifest.pages_per_shard || PAGES_PER_SHARD, (page, bytes) => base.pager.arrived(page, bytes))
      : null;
    const kinds = storageKinds(options);
    const opening = given ?? (base.totalPages > 0
      ? openLocalPages(index, manifest.generation, base.totalPages, kinds)
      : null);
    if (!fresh) return new Session(base, await opening, http, options, events);
    // Nothing is stored yet: the codes need not wait for the place where they will be.
    base.pager.awaitStore();
    const session = new Session(base, null, http, options, events);
    const local = await opening;
    if (local) session.#take(local);
    else base.pager.store = null;
    return session;
  }

  #take(local: LocalPages): void {
    const { pager } = this.base;
    this.#local = local;
    local.changed = (store) => (pager.store = store);
    pager.store = local.store;
  }

  /** When the first search is done, or a moment has passed without one; from then on between searches. */
  async #afterFirstSearch(): Promise<() => Promise<void>> {
    await new Promise<void>((go) => {
      this.#searched = go;
      setTimeout(go, FIRST_SEARCH_MS);
    });
    return async () => {
      await new Promise((resolve) => setTimeout(resolve));
      await this.idle();
    };
  }

  get local(): LocalPages | null {
    return this.#local;
  }

  /** Starts the background download where it makes sense; `wanted` as in the options. */
  startFill(wanted: boolean | undefined): void {
    const { local, http } = this;
    if (!local || !http || !local.leads || local.store.tier === "memory") return;
    const saveData = (navigator as { connection?: { saveData?: boolean } }).connection?.saveData === true;
    const complete = local.store.count >= this.base.totalPages;
    if (!complete && !(wanted ?? !saveData)) return;
    void this.#load().catch(() => undefined).then(() => this.fill.run());
  }

  /** When a vector search can have the codes that it scans. */
  ready(): Promise<void> {
    return this.#codesAtHand ? Promise.resolve() : this.#load();
  }

  /** When the codes are in memory (where they fit). What failed, the next search tries again. */
  #load(): Promise<void> {
    return (this.#codes ??= this.#loadCodes().catch((error: unknown) => {
      this.#codes = null;
      throw error;
    }));
  }

  maxPages(): number {
    const complete = (this.base.pager.store?.count ?? 0) >= this.base.totalPages;
    return this.http && !complete ? NETWORK_PAGES : 0;
  }

  /** Runs `work` on this session, which stays open for it even when a newer one takes its place. */
  async use<T>(work: () => Promise<T>): Promise<T> {
    this.#users++;
    try {
      return await work();
    } finally {
      this.#leave();
    }
  }

  /** As `use`; the background keeps out of the way meanwhile. */
  async search<T>(work: () => Promise<T>): Promise<T> {
    this.#searches++;
    try {
      return await this.use(work);
    } finally {
      this.#searched();
      if (--this.#searches === 0) for (const go of this.#idle.splice(0)) go();
    }
  }

  idle(): Promise<void> {
    return this.#searches === 0 ? Promise.resolve() : new Promise((resolve) => this.#idle.push(resolve));
  }

  #closed: (() => void) | null = null;

  /** Lets go of files and locks once no call uses them any more. */
  close(): Promise<void> {
    this.fill.stop();
    return new Promise((resolve) => {
      this.#closed = resolve;
      this.#leave();
    });
  }

  #leave(): void {
    if (--this.#users > 0) return;
    this.http?.close();
    const closed = this.#closed ?? (() => undefined);
    void this.base.pager.flush().catch(() => undefined).then(() => this.#local?.close()).then(closed, closed);
  }
}
