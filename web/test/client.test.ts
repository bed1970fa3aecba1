import { readFile } from "node:fs/promises";

import { Embeddings } from "@langchain/core/embeddings";
import { afterAll, beforeAll, expect, test } from "vitest";

import { PywasmVectorStore } from "../src/langchain.ts";
import { Index, open, PywasmError, type Results } from "../src/pywasm.ts";
import { buildSite, DIM, random, sampleRows, vector } from "./sample_site.ts";
import { StaticHost } from "./static_host.ts";

let host: StaticHost;
let address: string;
let wasmUrl: string;
const rows = sampleRows(300);
beforeAll(async () => {
  const engines = await Promise.all(["engine.wasm", "builder.wasm"].map(async (name): Promise<[string, Uint8Array]> => [
    name, new Uint8Array(await readFile(new URL(`../../pywasm/_web/${name}`, import.meta.url))),
  ]));
  host = new StaticHost(new Map<string, Uint8Array>([...(await buildSite(rows)), ...engines]));
  address = (await host.start()).href;
  wasmUrl = new URL("engine.wasm", address).href;
});
afterAll(() => host.stop());

// As it ships: with its own copies of the classes that worker.js has.
const writerUrl = new URL("../../pywasm/_web/writer.js", import.meta.url);
const options = () => ({ thread: "inline", storage: "memory", wasmUrl, writerUrl } as const);

test("a site is opened by its address, its manifest or its page", async () => {
  for (const where of [address, `${address}manifest.json`, `${address}index.html?q=x#top`, new URL(address)]) {
    await using index = await open(where, options());
    expect(index.site.rows).toBe(300);
    expect((await index.search("number7")).hits[0]).toMatchObject({ id: "r7", title: "Row 7", metadata: { kind: "k2", year: 1997 } });
  }
});

test("what is not a site is an error that says where and what", async () => {
  await expect(open(`${address}nowhere/`, options())).rejects.toMatchObject({ name: "PywasmError", code: "network", message: expect.stringMatching(/nowhere\/manifest\.json answered 404.*pywasm build/) });
  await expect(open(address, { ...options(), wasmUrl: `${address}manifest.json` })).rejects.toMatchObject({ code: "corrupt", message: expect.stringContaining("not a WebAssembly module") });
});

test("rows are iterated, similar ones found, the index closed", async () => {
  const index = await open(address, options());
  const ids: string[] = [];
  for await (const row of index.rows({ vectors: true })) {
    ids.push(row.id);
    expect(row.vector).toHaveLength(DIM);
  }
  expect(ids.sort()).toEqual(rows.map(({ id }) => id).sort());
  expect((await index.similar("r1", { k: 3 })).hits.map(({ id }) => id)).not.toContain("r1");
  await index.setMemory(1 << 20);
  expect((await index.status()).memory.budget).toBe(1 << 20);
  await index.close();
  await expect(index.search("x")).rejects.toMatchObject({ code: "closed" });
});

test("an abort before or during a call is an AbortError", async () => {
  await using index = await open(address, options());
  await expect(index.search("x", { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "aborted", name: "AbortError" });
  const controller = new AbortController();
  const searching = index.search("number1", { signal: controller.signal });
  controller.abort();
  await expect(searching).rejects.toMatchObject({ code: "aborted" });
  expect((await index.search("number1")).hits).not.toHaveLength(0);
});

test("rows are checked before anything is sent", async () => {
  await using index = await Index.create("checked", { ...options(), dim: 3, columns: { year: "number" } });
  const row = { id: "a", vector: [1, 2, 3] };
  const message = async (bad: object): Promise<string> => index.insert([{ ...row, ...bad }]).then(() => "accepted", (error: PywasmError) => error.message);
  expect(await message({ vector: [1, 2] })).toContain("rows[0].vector: 3 dimensions expected, not 2");
  expect(await message({ vector: [1, Infinity, 3] })).toContain("rows[0].vector[1]: a finite number expected");
  expect(await message({ id: "" })).toContain("rows[0].id");
  expect(await message({ metadata: { year: "1999" } })).toContain('rows[0].metadata.year: a number expected, not "1999"');
  await expect(index.insert([row, row])).rejects.toMatchObject({ code: "duplicate" });
  expect((await index.status()).rows).toBe(0);
  await index.insert([row]);
  await index.update([{ ...row, text: "again" }]);
  expect((await index.get(["a"]))[0]!.text).toBe("again");
  await expect(Index.create("checked", { ...options(), dim: 0 })).rejects.toMatchObject({ code: "argument" });
});

test("partial answers come before the last one", async () => {
  await using index = await open(address, options());
  const seen: Results[] = [];
  const last = await index.search({ text: "parse", vector: vector(random(2)) }, { onPartial: (results) => seen.push(results) });
  for (const results of seen) expect(results.hits.length).toBeGreaterThan(0);
  expect(last.mode).toBe("hybrid");
});

/** Each letter a dimension. */
class LetterEmbeddings extends Embeddings {
  constructor() {
    super({});
  }
  async embedDocuments(texts: string[]): Promise<number[][]> {
    return texts.map((text) => Array.from({ length: 26 }, (_, letter) => [...text].filter((c) => c.charCodeAt(0) === 97 + letter).length + 0.01));
  }
  async embedQuery(text: string): Promise<number[]> {
    return (await this.embedDocuments([text]))[0]!;
  }
}

test("a LangChain vector store adds, finds, filters and deletes", async () => {
  await using index = await Index.create("langchain", { ...options(), dim: 26, columns: { kind: "category" } });
  const store = await PywasmVectorStore.fromTexts(["aaaa", "bbbb", "aabb"], [{ kind: "x" }, { kind: "y" }, { kind: "y" }], new LetterEmbeddings(), { index });
  const found = await store.similaritySearchWithScore("aaa", 2);
  expect(found.map(([document]) => document.pageContent)).toEqual(["aaaa", "aabb"]);
  expect(found[0]![1]).toBeGreaterThan(0.99);
  expect((await store.similaritySearch("aaa", 2, { kind: "y" })).map(({ pageContent, metadata }) => [pageContent, metadata])).toEqual([["aabb", { kind: "y" }], ["bbbb", { kind: "y" }]]);
  await store.delete({ ids: [found[0]![0].id!] });
  expect((await store.similaritySearch("aaa", 1))[0]!.pageContent).toBe("aabb");
  expect(await store.asRetriever(1).invoke("bb")).toHaveLength(1);
});
