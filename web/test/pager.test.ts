import { afterEach, beforeEach, expect, test } from "vitest";

import { HttpTier } from "../src/pages/http.ts";
import { MemoryStore } from "../src/pages/memory.ts";
import { Pager } from "../src/pages/pager.ts";
import type { PageSink } from "../src/pages/tier.ts";
import { StaticHost } from "./static_host.ts";

const PAGE = 16384;
const PAGES = 40;

/** An engine that holds every page whose bytes all equal its number. */
class Sink implements PageSink {
  readonly pages = new Set<number>();
  /** Checksums computed. */
  checks = 0;
  present = (page: number): boolean => this.pages.has(page);
  verify = (page: number, bytes: Uint8Array): boolean => {
    this.checks++;
    return bytes.every((byte) => byte === page);
  };
  fill(page: number, read: (target: Uint8Array) => boolean): "ok" | "corrupt" | "absent" {
    const target = new Uint8Array(PAGE);
    if (!read(target)) return "absent";
    if (!this.verify(page, target)) return "corrupt";
    this.pages.add(page);
    return "ok";
  }
  fillPlaces(first: number, count: number, read: (target: Uint8Array) => boolean): number[] | null {
    const target = new Uint8Array(count * PAGE);
    if (!read(target)) return null;
    return Array.from({ length: count }, (_, index) => first + index).filter((page) => {
      const good = this.verify(page, target.subarray((page - first) * PAGE, (page - first + 1) * PAGE));
      if (good) this.pages.add(page);
      return !good;
    });
  }
}

/** A store in which everything is asynchronous, as IndexedDB is. */
class SlowStore extends MemoryStore {
  override readNow = undefined as never;
}

let host: StaticHost;
let sink: Sink;
let pager: Pager;
let store: MemoryStore;

beforeEach(async () => {
  const bytes = new Uint8Array(PAGES * PAGE);
  for (let page = 0; page < PAGES; page++) bytes.fill(page, page * PAGE, (page + 1) * PAGE);
  host = new StaticHost(new Map([["data/a.bin", bytes]]));
  const base = await host.start();
  sink = new Sink();
  store = new SlowStore();
  pager = new Pager(sink, (page) => ({ file: "data/a.bin", offset: page * PAGE }));
  pager.http = new HttpTier(base, [{ file: "data/a.bin", bytes: bytes.byteLength }], 1024, (page, data) => pager.arrived(page, data));
});
afterEach(() => host.stop());

const page = (number: number, value = number): Uint8Array => new Uint8Array(PAGE).fill(value);

test("what is stored is not fetched", async () => {
  pager.store = store;
  await store.write(new Map([[1, page(1)], [2, page(2)]]));
  await pager.bring([1, 2, 30]);
  expect([...sink.pages].sort()).toEqual([1, 2, 30]);
  expect(host.log).toHaveLength(1);
  expect(pager.tally.pages).toEqual({ memory: 2, http: 1 });
});

test("neighbours come by one read; a damaged one is forgotten, an absent one left out", () => {
  const reads: number[] = [];
  class Contiguous extends MemoryStore {
    override readNow(first: number, target: Uint8Array): boolean {
      reads.push(first, target.byteLength / PAGE);
      for (let index = 0; index * PAGE < target.byteLength; index++) target.fill(first + index === 3 ? 99 : first + index, index * PAGE, (index + 1) * PAGE);
      return true;
    }
  }
  const contiguous = new Contiguous();
  void contiguous.write(new Map([1, 2, 3, 5].map((number) => [number, page(number)])));
  pager.store = contiguous;
  pager.bringPlaces(0, 8);
  expect(reads).toEqual([1, 3, 5, 1]);
  expect([...sink.pages].sort()).toEqual([1, 2, 5]);
  expect(contiguous.has(3)).toBe(false);
  expect(pager.tally).toEqual({ pages: { memory: 3 }, corrupt: 1 });
  // What is there is left as it is.
  pager.bringPlaces(0, 8);
  expect(reads).toHaveLength(4);
});

test("a page that two operations want is fetched once", async () => {
  await Promise.all([pager.bring([5]), pager.bring([5, 6]), pager.bring([5])]);
  expect([...sink.pages].sort()).toEqual([5, 6]);
  expect(host.log.filter((line) => line.includes(`bytes=${5 * PAGE}-`))).toHaveLength(1);
});

test("a damaged page in storage is fetched from the site and forgotten", async () => {
  pager.store = store;
  await store.write(new Map([[7, page(7, 99)]]));
  await pager.bring([7]);
  expect(sink.present(7)).toBe(true);
  expect(pager.tally.corrupt).toBe(1);
});

test("a damaged answer is asked for again; damage that stays is an error with the place", async () => {
  host.behaviour.flip = 1;
  await pager.bring([3]);
  expect(sink.present(3)).toBe(true);
  host.behaviour.flip = 99;
  await expect(pager.bring([4])).rejects.toMatchObject({ code: "corrupt", file: "data/a.bin", offset: 4 * PAGE });
});

test("damage from the site is never stored, whoever asked for the page", async () => {
  const disk = Object.assign(new SlowStore(), { tier: "opfs" }) as unknown as MemoryStore;
  pager.store = disk;
  host.behaviour.flip = 99;
  const asked = [pager.bring([3]), pager.download([4], "low"), pager.stream([5], () => undefined)];
  for (const [index, outcome] of (await Promise.allSettled(asked)).entries()) {
    expect(outcome).toMatchObject({ reason: { code: "corrupt", file: "data/a.bin", offset: (3 + index) * PAGE, expected: expect.any(String) } });
  }
  await pager.flush();
  expect([disk.count, sink.pages.size]).toEqual([0, 0]);
});

test.each<[string, (pages: number[]) => Promise<void>, boolean]>([
  ["by an operation", (pages) => pager.bring(pages), true],
  ["for a resident section", (pages) => pager.stream(pages, () => undefined), true],
  ["for storage", (pages) => pager.download(pages, "low"), false],
  ["by an operation and for storage", async (pages) => void (await Promise.all([pager.download(pages, "low"), pager.bring(pages)])), true],
])("a page wanted %s is checked once and stored", async (_, want, placed) => {
  const disk = Object.assign(new SlowStore(), { tier: "opfs" }) as unknown as MemoryStore;
  pager.store = disk;
  const pages = Array.from({ length: PAGES }, (_, number) => number);
  await want(pages);
  await pager.flush();
  expect(sink.checks).toBe(PAGES);
  expect(disk.count).toBe(PAGES);
  expect(sink.pages.size).toBe(placed ? PAGES : 0);
});

test("a page wanted again while the request that brought it still runs does not count as damaged", async () => {
  const ends: (() => void)[] = [];
  const site: Pick<HttpTier, "fetch" | "servesRanges"> = { servesRanges: true, fetch: () => new Promise((end) => ends.push(end)) };
  pager.http = site as HttpTier;
  const both = pager.bring([1, 2]);
  pager.arrived(1, page(1));
  sink.pages.delete(1);  // others have pushed it out
  const again = pager.bring([1]);
  pager.arrived(2, page(2));
  ends[0]!();
  await both;
  expect(ends).toHaveLength(2);
  pager.arrived(1, page(1));
  ends[1]!();
  await again;
  expect(pager.tally.corrupt).toBe(0);
});

test("without a site a missing page is an error that says so", async () => {
  pager.http = null;
  await expect(pager.bring([3])).rejects.toMatchObject({ code: "storage", message: expect.stringContaining("page 3") });
});

test("a host without ranges: what it sent unasked is kept, so that it is asked once", async () => {
  host.behaviour.noRanges = true;
  pager.store = store;
  await pager.bring([0]);
  await pager.bring([20, 39]);
  expect(host.log).toHaveLength(1);
  await pager.flush();
  await pager.bring([1, 38]);
  expect(host.log).toHaveLength(1);
  expect(store.count).toBe(PAGES);
});

test("the heap does not keep what can be had by ranges", async () => {
  pager.store = store;
  await pager.bring([0, 1]);
  await pager.flush();
  expect(store.count).toBe(0);
});

test("storage that refuses is reported once and left alone; searches go on", async () => {
  const full = Object.assign(new SlowStore(), { tier: "opfs", write: () => Promise.reject(new DOMException("full", "QuotaExceededError")) });
  pager.store = full as unknown as MemoryStore;
  const errors: unknown[] = [];
  pager.onWriteError = (error) => errors.push(error);
  await pager.bring([0]);
  await expect(pager.flush()).rejects.toThrow("full");
  await pager.bring([1]);
  await pager.flush();
  expect(errors).toHaveLength(1);
  expect([...sink.pages].sort()).toEqual([0, 1]);
});

test("streamed pages go to the engine as they come, each once", async () => {
  let came = 0;
  await pager.stream(Array.from({ length: PAGES }, (_, number) => number), () => came++);
  expect(came).toBe(PAGES);
  expect(sink.pages.size).toBe(PAGES);
  expect(host.log).toHaveLength(1);
});
