/**
 * Brings the pages that operations want: from local storage at once where it can, else from
 * storage or the site, each page only once however many operations wait for it.
 */
import { PywasmError } from "../error.ts";
import type { TierName } from "../types.ts";
import type { HttpTier } from "./http.ts";
import type { PageSink, PageStore, Priority } from "./tier.ts";

interface Waiter {
  promise: Promise<Uint8Array>;
  resolve: (bytes: Uint8Array) => void;
  reject: (error: unknown) => void;
  /** An operation waits, so the engine takes the page; else it goes to storage alone. */
  placing: boolean;
}

/** Pages waiting to be written to local storage are written together after this time, ms. */
const WRITE_DELAY_MS = 50;

/** Requests for a section streamed as a whole. */
const STREAM_RANGES = 2;

/** Names the place of a page for an error: the shard and the byte in it. */
export type Locate = (page: number) => { file: string; offset: number };

export interface Tally {
  pages: Partial<Record<TierName, number>>;
  corrupt: number;
}

export class Pager {
  readonly #sink: PageSink;
  readonly #locate: Locate;
  readonly #waiting = new Map<number, Waiter>();
  /** Pages from the site that are not in local storage yet. */
  readonly #pending = new Map<number, Uint8Array>();
  #writing: Promise<void> | null = null;
  #refused = false;
  #awaited = false;
  #store: PageStore | null = null;
  #http: HttpTier | null = null;
  /** Pages brought since open. */
  readonly tally: Tally = { pages: {}, corrupt: 0 };
  /** Told when storage refuses a write; pages are then no longer written. */
  onWriteError: (error: unknown) => void = () => undefined;

  constructor(sink: PageSink, locate: Locate) {
    this.#sink = sink;
    this.#locate = locate;
  }

  get store(): PageStore | null {
    return this.#store;
  }

  /** Changes the local tier, e.g. when this tab becomes the leader. Pages that came before it are stored now. */
  set store(store: PageStore | null) {
    this.#store = store;
    this.#awaited = false;
    const early = new Map(this.#pending);
    this.#pending.clear();
    for (const [page, bytes] of early) this.#keep(page, bytes);
  }

  /** A local tier is being opened: pages that come meanwhile are kept for it. */
  awaitStore(): void {
    this.#awaited = true;
  }

  set http(http: HttpTier | null) {
    this.#http = http;
  }

  /** As bringNow for pages of one resident section, neighbours by one read. */
  bringPlaces(first: number, count: number): void {
    const store = this.#store;
    if (!store?.readNow) return;
    for (let page = first, last; page < first + count; page = last + 1) {
      for (last = page; last < first + count && store.has(last) && !this.#sink.present(last); ) last++;
      if (last === page) continue;
      const damaged = this.#sink.fillPlaces(page, last - page, (target) => store.readNow?.(page, target) ?? false);
      for (const lost of damaged ?? []) this.#damaged(lost);
      if (damaged) this.#count(store.tier, last - page - damaged.length);
    }
  }

  /** Puts what the local tier has at hand into the engine; the pages still absent are answered. */
  bringNow(pages: Iterable<number>): number[] {
    const store = this.#store;
    const absent: number[] = [];
    for (const page of pages) {
      if (this.#sink.present(page)) continue;
      if (!store?.readNow || !store.has(page)) {
        absent.push(page);
        continue;
      }
      const outcome = this.#sink.fill(page, (target) => store.readNow?.(page, target) ?? false);
      if (outcome === "ok") this.#count(store.tier, 1);
      else {
        if (outcome === "corrupt") this.#damaged(page);
        absent.push(page);
      }
    }
    return absent;
  }

  /**
   * Brings ascending `pages` and puts them all into the engine at the end, so that the caller can
   * use them before anybody else's pages push them out.
   */
  async bring(pages: readonly number[], priority: Priority = "high"): Promise<void> {
    const arrived = new Map<number, Uint8Array>();
    let lacking: number[] = [];
    let spent: Uint8Array[] = [];
    for (const page of pages) {
      const bytes = this.#pending.get(page);
      if (bytes) arrived.set(page, bytes);
    }
    const stored = pages.filter((page) => !arrived.has(page) && this.#store?.has(page));
    if (stored.length > 0 && this.#store) {
      const { tier } = this.#store;
      const found = await this.#store.read(stored);
      for (const [page, bytes] of found) arrived.set(page, bytes);
      this.#count(tier, found.size);
      // Copies that IndexedDB made, given back as soon as they are placed: left to the collector they make its longest pauses.
      if (tier === "indexeddb") spent = [...found.values()];
    }
    for (const page of pages) if (!arrived.has(page)) lacking.push(page);
    for (const [page, bytes] of await this.#fetch(lacking, priority)) arrived.set(page, bytes);
    lacking = this.#place(arrived);
    for (const bytes of spent) (bytes.buffer as { transfer?(length: number): void }).transfer?.(0);
    if (lacking.length === 0) return;
    // Damaged in local storage: once more, from the site.
    const lost = this.#place(await this.#fetch(lacking, priority));
    if (lost.length > 0) throw this.#corrupt(lost[0]!);
  }

  /**
   * Brings many pages from the site straight into the engine, each as it comes: for resident
   * sections, whose pages have their own places and push nothing out.
   */
  async stream(pages: readonly number[], onPage: () => void): Promise<void> {
    const fresh = pages.filter((page) => !this.#waiting.has(page));
    const placed = pages.map(async (page) => {
      const bytes = await this.#wait(page, true).promise;
      if (this.#place(new Map([[page, bytes]])).length > 0) throw this.#corrupt(page);
      onPage();
    });
    if (fresh.length > 0) void this.#request(fresh, "low", STREAM_RANGES);
    await Promise.all(placed);
  }

  /** Downloads pages into local storage (and to whoever waits for them) without the engine. */
  async download(pages: readonly number[], priority: Priority): Promise<void> {
    await this.#download(pages.filter((page) => !this.#store?.has(page) && !this.#pending.has(page)), priority, { most: 1 });
  }

  /** Checked pages without the engine's cache, from storage or the site (export). */
  async read(pages: readonly number[]): Promise<Map<number, Uint8Array>> {
    const found = (await this.#store?.read(pages.filter((page) => this.#store?.has(page)))) ?? new Map<number, Uint8Array>();
    for (const [page, bytes] of found) {
      if (this.#sink.verify(page, bytes)) continue;
      this.#damaged(page);
      found.delete(page);
    }
    for (const [page, bytes] of await this.#download(pages.filter((page) => !found.has(page)), "high")) found.set(page, bytes);
    return found;
  }

  /** Takes a page from the site, asked for or not. What fails its checksum goes nowhere: #request sees that it is missing. */
  arrived(page: number, bytes: Uint8Array): void {
    const waiter = this.#waiting.get(page);
    if (!this.#check(page, bytes, waiter?.placing === true)) return;
    this.#count("http", 1);
    waiter?.resolve(bytes);
    this.#waiting.delete(page);
    this.#keep(page, bytes);
  }

  /** The checksum, once: by the engine as it takes the page, or beside it where nothing there waits for the page. */
  #check(page: number, bytes: Uint8Array, placing: boolean): boolean {
    const outcome = placing && !this.#sink.present(page) ? this.#fill(page, bytes) : "busy";
    return outcome === "busy" ? this.#sink.verify(page, bytes) : outcome === "ok";
  }

  #fill(page: number, bytes: Uint8Array): ReturnType<PageSink["fill"]> {
    return this.#sink.fill(page, (target) => {
      target.set(bytes);
      return true;
    });
  }

  /** All pages that came are in local storage, and so is the list of them. */
  async flush(): Promise<void> {
    await this.write();
    await this.#store?.flush();
  }

  /** Hands the pages that came to local storage; a refusal is also thrown here. */
  write(): Promise<void> {
    const written = (this.#writing ?? Promise.resolve()).catch(() => undefined).then(async () => {
      const pages = new Map(this.#pending);
      if (pages.size === 0 || !this.#store) return;
      await this.#store.write(pages);
      for (const page of pages.keys()) this.#pending.delete(page);
    });
    written.catch((error: unknown) => {
      this.#refused = true;
      this.#pending.clear();
      this.onWriteError(error);
    });
    this.#writing = written;
    return written;
  }

  async #download(
    pages: readonly number[], priority: Priority, { most, placing = false }: { most?: number; placing?: boolean } = {},
  ): Promise<Map<number, Uint8Array>> {
    const arrived = new Map<number, Uint8Array>();
    if (pages.length === 0) return arrived;
    const fresh = pages.filter((page) => !this.#waiting.has(page));
    const waiters = pages.map((page) => this.#wait(page, placing));
    if (fresh.length > 0) void this.#request(fresh, priority, most);
    await Promise.all(waiters.map(async ({ promise }, index) => arrived.set(pages[index]!, await promise)));
    return arrived;
  }

  /**
   * Pages for the engine from the site; where it can't be reached, from local storage if that has
   * learnt of them meanwhile: the tab that owns the files may have been opening them still.
   */
  async #fetch(pages: readonly number[], priority: Priority): Promise<Map<number, Uint8Array>> {
    try {
      return await this.#download(pages, priority, { placing: true });
    } catch (error) {
      const store = this.#store;
      if (!store || !pages.every((page) => store.has(page))) throw error;
      const found = await store.read(pages);
      if (found.size < pages.length) throw error;
      this.#count(store.tier, found.size);
      return found;
    }
  }

  /** Fetches pages; those that don't come, or come damaged twice, fail whoever waits for them. */
  async #request(pages: readonly number[], priority: Priority, most?: number): Promise<void> {
    // A page that came may be wanted again by the time the others have come: that is another request's.
    const waiters = new Map(pages.map((page) => [page, this.#waiting.get(page)]));
    const stillMissing = (): number[] => pages.filter((page) => this.#waiting.get(page) === waiters.get(page));
    let missing = pages;
    try {
      if (!this.#http) throw this.#unreachable(pages[0]!);
      for (const fresh of [false, true]) {
        await this.#http.fetch(missing, { priority, fresh, ...(most !== undefined && { most }) });
        missing = stillMissing();
        if (missing.length === 0) return;
        this.tally.corrupt += missing.length;
      }
      throw this.#corrupt(missing[0]!);
    } catch (error) {
      for (const page of stillMissing()) {
        this.#waiting.get(page)?.reject(error);
        this.#waiting.delete(page);
      }
    }
  }

  #wait(page: number, placing: boolean): Waiter {
    let waiter = this.#waiting.get(page);
    if (!waiter) {
      let resolve: Waiter["resolve"] = () => undefined;
      let reject: Waiter["reject"] = () => undefined;
      const promise = new Promise<Uint8Array>((yes, no) => ([resolve, reject] = [yes, no]));
      promise.catch(() => undefined);
      waiter = { promise, resolve, reject, placing };
      this.#waiting.set(page, waiter);
    }
    waiter.placing ||= placing;
    return waiter;
  }

  /** Puts pages into the engine; damaged ones are forgotten and answered. */
  #place(pages: ReadonlyMap<number, Uint8Array>): number[] {
    const damaged: number[] = [];
    for (const [page, bytes] of pages) {
      if (this.#sink.present(page)) continue;
      // "busy": no slot is free; the operation asks again after the others have moved on.
      if (this.#fill(page, bytes) !== "corrupt") continue;
      this.#damaged(page);
      damaged.push(page);
    }
    return damaged.sort((left, right) => left - right);
  }

  #damaged(page: number): void {
    this.tally.corrupt++;
    this.#store?.forget(page);
  }

  #keep(page: number, bytes: Uint8Array): void {
    const store = this.#store;
    if (!store && this.#awaited) this.#pending.set(page, bytes);
    if (!store || this.#refused || store.has(page)) return;
    // The heap is no cheaper than the engine's cache: only what a host without ranges sent unasked is kept there.
    if (store.tier === "memory" && this.#http?.servesRanges) return;
    if (this.#pending.size === 0) setTimeout(() => void this.write().catch(() => undefined), WRITE_DELAY_MS);
    this.#pending.set(page, bytes);
  }

  #count(tier: TierName, pages: number): void {
    this.tally.pages[tier] = (this.tally.pages[tier] ?? 0) + pages;
  }

  #corrupt(page: number): PywasmError {
    const { file, offset } = this.#locate(page);
    return new PywasmError("corrupt", `${file}: page ${page} (byte ${offset}) does not match its checksum`, { file, offset, expected: "the bytes the index was built with" });
  }

  #unreachable(page: number): PywasmError {
    const { file, offset } = this.#locate(page);
    return new PywasmError("storage", `page ${page} is not in this browser's storage and there is no site to fetch it from`, { file, offset });
  }
}
