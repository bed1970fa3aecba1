/** One engine under everything at once, its pages coming late and in any order: what answers is the same in every order. */
import { beforeAll, expect, test } from "vitest";

import { Base } from "../src/base.ts";
import { Engine } from "../src/engine.ts";
import { PwOperation } from "../src/generated/abi.ts";
import { parseManifest } from "../src/manifest.ts";
import { decodeHits, decodeRows, encodeRowBatch, encodeStrings, encodeTextSearch, encodeVectorSearch } from "../src/messages.ts";
import { packRows } from "../src/pack.ts";
import type { HttpTier } from "../src/pages/http.ts";
import { MemoryStore } from "../src/pages/memory.ts";
import { loadResident, residentSections } from "../src/resident.ts";
import type { NewRow } from "../src/types.ts";
import { buildSite, columns, DIM, modules, random, sampleRows, vector } from "./sample_site.ts";

const PAGE = 16384;
const ORDERS = 60;
const rows = sampleRows(3000);
let files: Map<string, Uint8Array<ArrayBuffer>>;
let builder: WebAssembly.Module;
beforeAll(async () => {
  files = await buildSite(rows);
  builder = await (await modules()).builder();
});

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** An index of which nothing is in memory: half of it in a store (a part of that damaged), the rest far away, both slow. */
async function lateBase(dice: (sides: number) => number): Promise<Base> {
  const engine = await Engine.create(builder);
  const { manifest, head } = parseManifest(files.get("manifest.json")!, (data) => engine.xxh64(data));
  engine.open(head, 0);
  const base = new Base(engine, manifest, head);
  const bytesOf = (page: number): Uint8Array<ArrayBuffer> => {
    const { file, offset } = base.locate(page);
    return files.get(file)!.slice(offset, offset + PAGE);
  };
  class LateStore extends MemoryStore {
    override readNow = undefined as never;
    override async read(pages: readonly number[]): Promise<Map<number, Uint8Array>> {
      await pause(dice(3));
      return super.read(pages);
    }
  }
  const store = new LateStore();
  for (let page = 0; page < base.totalPages; page++) {
    if (dice(2) === 0) await store.write(new Map([[page, dice(8) === 0 ? new Uint8Array(PAGE) : bytesOf(page)]]));
  }
  base.pager.store = store;
  const site: Pick<HttpTier, "fetch" | "servesRanges"> = {
    servesRanges: true,
    async fetch(pages) {
      const left = [...pages];
      while (left.length > 0) {
        await pause(dice(3));
        for (const page of left.splice(dice(left.length), 1 + dice(4))) base.pager.arrived(page, bytesOf(page));
      }
    },
  };
  base.pager.http = site as HttpTier;
  return base;
}

function insertion(inserted: readonly NewRow[], base: Base): Uint8Array {
  const packed = packRows(inserted, DIM, columns);
  return encodeRowBatch({ ...packed, dim: DIM, columns: base.columns.encode(packed.columns, inserted.length) }, [0, 0]);
}

test.each(Array.from({ length: ORDERS }, (_, order) => order + 1))("order %i", async (order) => {
  const next = random(order * 7919);
  const dice = (sides: number): number => Math.floor((next() + 0.5) * sides);
  const base = await lateBase(dice);
  const info = base.engine.info();
  const anyRow = (): number => dice(rows.length);

  const actions: (() => unknown)[] = [
    () => loadResident(base, residentSections(info), () => undefined),
    () => base.engine.setBudget(1),
    () => base.engine.setBudget(info.totalPages * PAGE),
    () => base.engine.makeResident(1 + dice(info.sections.length - 1)),
    () => base.pager.download(Array.from({ length: info.totalPages }, (_, page) => page), "low"),
    async () => {
      const wanted = Array.from({ length: 20 }, anyRow).map((row) => `r${row}`);
      const found = decodeRows(await base.run(PwOperation.RowsOfIds, encodeStrings([...wanted, "nobody"])));
      expect(found.total).toBe(wanted.length);
    },
    async () => {
      const batch = [{ id: `new ${order}`, vector: vector(next) }, { id: `r${anyRow()}`, vector: vector(next) }];
      await expect(base.run(PwOperation.Insert, insertion(batch, base))).rejects.toMatchObject({ code: "duplicate" });
    },
    () => base.run(PwOperation.Insert, insertion([{ id: `fresh ${order}`, vector: vector(next) }], base)),
    ...Array.from({ length: 3 }, () => async () => {
      const row = anyRow();
      const text = encodeTextSearch({ k: 5, prefix: false, filter: new Uint32Array(), text: `number${row}` });
      expect(decodeHits(await base.run(PwOperation.SearchText, text)).hits).toHaveLength(1);
      const query = encodeVectorSearch({ k: 10, filter: new Uint32Array(), query: rows[row]!.vector as Float32Array });
      const { hits } = decodeHits(await base.run(PwOperation.SearchVector, query));
      expect(hits.map(({ exact }) => exact)).toEqual(Array(10).fill(true));
      const [best] = decodeRows(await base.run(PwOperation.RowsOfIds, encodeStrings([`r${row}`]))).rows;
      expect(hits[0]!.row).toBe(best);
    }),
  ];
  const started: Promise<unknown>[] = [];
  while (actions.length > 0) {
    const [action] = actions.splice(dice(actions.length), 1);
    started.push((async () => action!())());
    if (dice(2) === 0) await pause(dice(3));
  }
  await Promise.all(started);
  expect(base.engine.info()).toMatchObject({ deltaRows: 1, deleted: 0 });
});

test("a read that throws gives its slot back: the page's section can still become resident", async () => {
  const base = await lateBase(() => 0);
  const [section] = residentSections(base.engine.info());
  const page = base.engine.info().sections[section!]!.firstPage;
  const closed = (): never => {
    throw new DOMException("the file is closed", "InvalidStateError");
  };
  expect(() => base.fill(page, closed)).toThrow("the file is closed");
  base.engine.makeResident(section!);
  await base.pager.bring([page]);
  expect(base.present(page)).toBe(true);
});
