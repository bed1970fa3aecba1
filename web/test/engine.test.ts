import { beforeAll, describe, expect, test } from "vitest";

import { Builder } from "../src/builder.ts";
import { Engine } from "../src/engine.ts";
import { PwOperation } from "../src/generated/abi.ts";
import { decodeHits, decodeRows, encodeConfig, encodeRowBatch, encodeStrings, encodeTextSearch, encodeVectorSearch, type IndexConfig } from "../src/messages.ts";
import { run } from "../src/operation.ts";
import { Pager } from "../src/pages/pager.ts";
import { MemoryStore } from "../src/pages/memory.ts";
import { DIM, modules, random, vector } from "./sample_site.ts";

const ROWS = 600;
const next = random(3);
const vectors = Float32Array.from({ length: ROWS * DIM }, next);
const ids = Array.from({ length: ROWS }, (_, row) => `r${row}`);
const texts = ids.map((id) => `word ${id}`);

/** The head and the pages of an index of this kind with the rows above. */
async function build(kind: IndexConfig["kind"]): Promise<{ head: Uint8Array<ArrayBuffer>; pages: Uint8Array[] }> {
  const builder = await Builder.create(await (await modules()).builder());
  builder.start(encodeConfig({ dim: DIM, metric: "cosine", dtype: "int8", kind, codeBits: 4, clusters: 1, columns: [], rows: ROWS }));
  builder.train(vectors, ROWS);
  while (!builder.trainStep());
  builder.rows(encodeRowBatch({ ids, vectors, dim: DIM, texts, payloads: ids.map(() => ""), columns: [], clusters: new Uint32Array(ROWS) }));
  const sections: Uint8Array[][] = [];
  const drain = (): void => {
    for (let page = builder.take(); page; page = builder.take()) (sections[page.section] ??= [])[page.index] = page.bytes;
  };
  drain();
  while (!builder.finish()) drain();
  drain();
  return { head: builder.head(), pages: sections.flatMap((pages) => pages ?? []) };
}

const question = encodeVectorSearch({ k: 5, query: vectors.slice(7 * DIM, 8 * DIM), filter: new Uint32Array(), exclude: 0xffffffff, maxPages: 0 });

describe("engine.wasm and builder.wasm", () => {
  let scan: Awaited<ReturnType<typeof build>>;
  beforeAll(async () => {
    scan = await build("scan");
  });

  /** An engine of engine.wasm on `scan`, its pages in a store that answers when told to. */
  async function searching(): Promise<{ engine: Engine; pager: Pager }> {
    const engine = await Engine.create((await modules()).search);
    expect(engine.open(scan.head, 0)).toBe(true);
    const pager = new Pager({
      present: (page) => engine.present(page), fill: (page, read) => engine.fill(page, read),
      fillPlaces: (first, count, read) => engine.fillPlaces(first, count, read), verify: () => true,
    }, (page) => ({ file: `page ${page}`, offset: 0 }));
    const store = new MemoryStore();
    await store.write(new Map(scan.pages.map((bytes, page) => [page, bytes])));
    pager.store = store;
    return { engine, pager };
  }

  test("the smaller one says what it lacks", async () => {
    const { engine } = await searching();
    expect(engine.complete).toBe(false);
    const batch = encodeRowBatch({ ids: ["a"], vectors: vector(next), dim: DIM, texts: [""], payloads: [""], columns: [] }, [1, 0]);
    expect(() => engine.begin(PwOperation.Insert, batch)).toThrow("operation 6 is not in this module");
    expect(() => engine.begin(PwOperation.Delete, encodeStrings(["a"]))).toThrow("is not in this module");
  });

  test("a graph is walked by builder.wasm alone", async () => {
    const { head } = await build("graph");
    const { search, builder } = await modules();
    expect((await Engine.create(search)).open(head, 0)).toBe(false);
    expect((await Engine.create(await builder())).open(head, 0)).toBe(true);
  });

  test("the exchange keeps what is in memory and waits for searches in flight", async () => {
    const { engine, pager } = await searching();
    const { builder } = await modules();
    const codes = engine.info().sections.findIndex(({ pages }, section) => section > 1 && pages > 0);
    engine.makeResident(codes);
    const before = decodeHits(await run(engine, pager, PwOperation.SearchVector, question));
    const { cachedPages, residentBytes } = engine.info();
    expect(residentBytes).toBeGreaterThan(0);

    const slow = engine.begin(PwOperation.SearchText, encodeTextSearch({ k: 3, prefix: false, filter: new Uint32Array(), text: "word" }));
    const exchange = Promise.all([engine.makeComplete(builder), engine.makeComplete(builder)]);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(engine.complete).toBe(false);
    let answered = false;
    const late = run(engine, pager, PwOperation.SearchVector, question).finally(() => (answered = true));
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(answered).toBe(false);
    while (!engine.step(slow)) pager.bringNow(engine.needed(slow));
    expect(decodeHits(engine.result(slow)).hits).toHaveLength(3);
    const held = engine.info();
    engine.end(slow);
    await exchange;

    expect(engine.complete).toBe(true);
    expect(engine.info()).toMatchObject({ residentBytes, rows: ROWS, sections: held.sections });
    expect(engine.info().cachedPages).toBeGreaterThanOrEqual(cachedPages);
    expect(decodeHits(await late).hits).toEqual(before.hits);
    const batch = encodeRowBatch({ ids: ["new"], vectors: vectors.slice(0, DIM), dim: DIM, texts: ["novel"], payloads: [""], columns: [] }, [1, 0]);
    expect([...decodeRows(await run(engine, pager, PwOperation.Insert, batch)).rows]).toEqual([ROWS]);
  });

  test("a builder.wasm that does not come leaves a search engine", async () => {
    const { engine, pager } = await searching();
    await expect(engine.makeComplete(() => Promise.reject(new Error("offline")))).rejects.toThrow("offline");
    expect(decodeHits(await run(engine, pager, PwOperation.SearchVector, question)).hits[0]!.row).toBe(7);
    await engine.makeComplete((await modules()).builder);
    expect(decodeHits(await run(engine, pager, PwOperation.SearchVector, question)).hits[0]!.row).toBe(7);
  });
});
