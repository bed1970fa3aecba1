import { afterAll, beforeAll, expect, test, vi } from "vitest";

import { PywasmError } from "../../src/error.ts";
import type { PlanFile } from "../../src/generated/plan.ts";
import { Encoder, Session, type EncoderProgress, type EncoderStatus } from "../../src/inference/encoder.ts";
import { Remote } from "../../src/inference/remote.ts";
import { answer, openDatabase } from "../../src/pages/idb.ts";
import type { StaticHost } from "../static_host.ts";
import { expected, idsOf, sampleFile, serveSample, WIDTH } from "./sample.ts";

let host: StaticHost;
let address: string;
beforeAll(async () => ({ host, address } = await serveSample()));
afterAll(() => host.stop());

const options = { thread: "inline", storage: "memory" } as const;

async function expectVectors(found: Float32Array[], texts: string[]): Promise<void> {
  expect(found).toHaveLength(texts.length);
  for (const [index, text] of texts.entries()) {
    const wanted = await expected(idsOf(text).slice(0, 16));
    wanted.forEach((value, c) => expect(found[index]![c], `${text} [${c}]`).toBeCloseTo(value, 5));
  }
}

test("texts become vectors, in their order, whatever runs together", async () => {
  const texts = ["red", "", "one two three red green blue", "tree", "nothing known here", "two two", "blue green", "three"];
  await using encoder = await Encoder.open(address, options);
  expect(encoder).toMatchObject({ name: "sample", licence: "Apache-2.0", dim: WIDTH, maxTokens: 16 });
  await expectVectors(await encoder.encode(texts), texts);
  await expectVectors(await encoder.encode("green"), ["green"]);
  expect(await encoder.encode([])).toEqual([]);
  await using small = await Encoder.open(address, { ...options, rows: 4 });
  const events: EncoderProgress[] = [];
  expect(await small.encode(texts, { onProgress: (event) => events.push(event) })).toEqual(await encoder.encode(texts));
  expect(events.at(-1)).toMatchObject({ status: "encode", loaded: texts.length, total: texts.length });
  const { last } = await small.status();
  expect(last).toMatchObject({ texts: texts.length, tokens: texts.reduce((sum, text) => sum + idsOf(text).length, 0) });
  expect(last!.runs).toBeGreaterThan(2);
});

test("a query has its prefix, a long text is cut", async () => {
  await using encoder = await Encoder.open(`${address}plan.json`, options);
  await expectVectors(await encoder.encode("one", { kind: "query" }), ["red one"]);
  const [cut] = await encoder.encode("one two ".repeat(60_000));
  const ids = [2, ...Array.from({ length: 14 }, (_, index) => 7 + (index % 2)), 3];
  (await expected(ids)).forEach((value, c) => expect(cut![c]).toBeCloseTo(value, 5));
});

test("a site that carries an encoder is an address too", async () => {
  const files = new Map([...host.files].map(([path, bytes]) => [path.replace("model/", "encoder/"), bytes]));
  for (const [path, bytes] of files) host.files.set(path, bytes);
  await using encoder = await Encoder.open(new URL("../index.html", address), options);
  await expectVectors(await encoder.encode("tree"), ["tree"]);
});

test("status says where memory and time went, timings which step takes how long", async () => {
  await using encoder = await Encoder.open(address, options);
  const status = await encoder.status();
  expect(status).toMatchObject({ backend: "wasm", threads: 1, adopted: [], last: null, storage: { tier: "memory", stored: 0 }, memory: { weights: 640 } });
  expect(status.opening.map(({ name }) => name)).toEqual(expect.arrayContaining(["storage", "tokenizer", "kernels", "weights", "start"]));
  const timings = await encoder.timings(["one two", "three"], { repeat: 3 });
  expect(timings.map(({ name, flops }) => [name, flops])).toEqual(["embed", "dense", "mean"].map((name) => [name, 16 * 2 * 4]));
  for (const { ms } of timings) expect(ms).toBeGreaterThanOrEqual(0);
});

test("a session takes inputs as they are and checks them", async () => {
  await using session = await Session.open(address, options);
  const inputs = { ids: Int32Array.of(4, 5, 6, 0), lengths: Int32Array.of(2, 1) };
  const { vectors } = await session.run(inputs, { batch: 2, seq: 2 });
  const wanted = [...(await expected([4, 5])), ...(await expected([6]))];
  wanted.forEach((value, index) => expect(vectors![index]).toBeCloseTo(value, 5));
  await expect(session.run(inputs, { batch: 2, seq: 17 })).rejects.toMatchObject({ code: "argument", message: "seq: a whole number from 1 to 16 expected, not 17" });
  await expect(session.run(inputs, { batch: 2 })).rejects.toMatchObject({ code: "argument" });
  await expect(session.run({ ...inputs, ids: Int32Array.of(1) }, { batch: 2, seq: 2 })).rejects.toMatchObject({ code: "argument", message: "input ids: Int32Array of 4 expected, found Int32Array of 1" });
  await expect(session.run({ ids: inputs.ids }, { batch: 2, seq: 2 })).rejects.toMatchObject({ code: "argument", message: expect.stringContaining("lengths") });
  // More than was expected when the memory was made: it grows.
  const many = 5000;
  const large = await session.run({ ids: new Int32Array(many * 16).fill(4), lengths: new Int32Array(many).fill(16) }, { batch: many, seq: 16 });
  (await expected([4])).forEach((value, c) => expect(large["vectors"]![(many - 1) * WIDTH + c]).toBeCloseTo(value, 5));
});

test("two at once, each with its own memory; one closed in the middle of a call", async () => {
  const [a, b] = await Promise.all([Encoder.open(address, options), Encoder.open(address, options)]);
  const running = a.encode(Array.from({ length: 500 }, () => "one two three"));
  const failing = expect(running).rejects.toMatchObject({ code: "closed" });
  await a.close();
  await failing;
  await expect(a.encode("one")).rejects.toMatchObject({ code: "closed", message: "the encoder is closed" });
  await a.close();
  await expectVectors(await b.encode("one"), ["one"]);
  await b.close();
});

test("an abort before, or during a call, is an AbortError; the encoder goes on", async () => {
  await expect(Encoder.open(address, { ...options, signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "aborted", name: "AbortError" });
  await using encoder = await Encoder.open(address, options);
  await expect(encoder.encode("one", { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "aborted" });
  const controller = new AbortController();
  const texts = Array.from({ length: 20_000 }, (_, index) => "one two three ".repeat(1 + (index % 4)));
  const call = encoder.encode(texts, { signal: controller.signal, onProgress: () => controller.abort() });
  await expect(call).rejects.toMatchObject({ code: "aborted", name: "AbortError" });
  await expectVectors(await encoder.encode("two"), ["two"]);
});

test("arguments are checked", async () => {
  await expect(Encoder.open(address, { ...options, threads: 0 })).rejects.toMatchObject({ code: "argument", message: expect.stringContaining("threads") });
  await expect(Encoder.open(address, { ...options, rows: 1.5 })).rejects.toMatchObject({ code: "argument" });
  await expect(Encoder.open(address, { ...options, backend: "cuda" as "wasm" })).rejects.toMatchObject({ code: "argument", message: expect.stringContaining("cuda") });
  await using encoder = await Encoder.open(address, options);
  await expect(encoder.encode([1 as unknown as string])).rejects.toMatchObject({ code: "argument" });
  await expect(encoder.encode("x", { kind: "both" as "query" })).rejects.toMatchObject({ code: "argument", message: 'kind: "query" or "document" expected, not "both"' });
});

test("what is not there is an error that says where", async () => {
  await expect(Encoder.open(`${address}nowhere/`, options)).rejects.toMatchObject({ code: "network", message: expect.stringMatching(/nowhere\/plan\.json is not there.*pywasm compile/) });
  await expect(Encoder.open("http://127.0.0.1:1/", options)).rejects.toMatchObject({ code: "network", message: expect.stringContaining("none is stored") });
});

test("a damaged shard is asked for once more, then reported with file and hash", async () => {
  const { host: damaged, address: where, plan } = await serveSample();
  const [first, second] = plan.weights.shards as [PlanFile, PlanFile];
  const path = `model/${first.file}`;
  const good = damaged.files.get(path)!;
  damaged.files.set(path, good.map((byte, index) => (index === 100 ? byte ^ 1 : byte)));
  await expect(Encoder.open(where, options)).rejects.toMatchObject({ name: "PywasmError", code: "corrupt", file: first.file, offset: 0, expected: first.sha256 });
  expect(damaged.log.filter((line) => line.startsWith(path))).toHaveLength(2);

  damaged.files.set(path, new Uint8Array([...good, 0]));
  await expect(Encoder.open(where, options)).rejects.toMatchObject({ code: "corrupt", file: first.file, offset: 400 });

  damaged.files.set(path, good);
  const rest = damaged.files.get(`model/${second.file}`)!;
  damaged.files.set(`model/${second.file}`, rest.slice(0, 100));
  await expect(Encoder.open(where, options)).rejects.toMatchObject({ code: "network", file: second.file, offset: 100, expected: "240 bytes" });

  damaged.files.delete(`model/${second.file}`);
  await expect(Encoder.open(where, options)).rejects.toMatchObject({ code: "corrupt", file: second.file, message: expect.stringContaining("404") });
  await damaged.stop();
});

test("kernels or a tokenizer that are something else are refused", async () => {
  const something = new TextEncoder().encode("something else");
  const sha256 = [...new Uint8Array(await crypto.subtle.digest("SHA-256", something))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const file = { file: "else.bin", bytes: something.byteLength, sha256 };
  for (const change of ["modules", "tokenizer"]) {
    const { host: wrong, address: where } = await serveSample((plan) => {
      if (change === "modules") for (const module of plan.modules) Object.assign(module, file);
      else Object.assign(plan.encoder!.tokenizer, file);
    });
    wrong.files.set("model/else.bin", something);
    await expect(Encoder.open(where, options)).rejects.toMatchObject({ code: "corrupt", file: "else.bin" });
    await wrong.stop();
  }
});

test("memory that there can't be is an error that says how much was needed", async () => {
  const { host: large, address: where } = await serveSample((plan) => plan.slots.push({ bytes: ["*", 50_000_000, "batch", "seq"] }));
  await expect(Encoder.open(where, options)).rejects.toMatchObject({ code: "memory", message: expect.stringMatching(/needs \d+\.\d MB/) });
  const memory = vi.spyOn(WebAssembly, "Memory").mockImplementation(function () {
    throw new RangeError("WebAssembly.Memory(): could not allocate memory");
  } as never);
  await expect(Encoder.open(address, options)).rejects.toMatchObject({ code: "memory", message: expect.stringMatching(/sample needs \d+\.\d MB of memory \(0\.0 MB of it for weights\)/) });
  memory.mockRestore();
  await large.stop();
});

test("without SIMD it says so", async () => {
  const validate = vi.spyOn(WebAssembly, "validate").mockReturnValue(false);
  await expect(Encoder.open(address, options)).rejects.toMatchObject({ code: "unsupported", message: expect.stringContaining("SIMD") });
  validate.mockRestore();
});

test("other kernels are adopted between runs; wrong ones are not, and a failing one is an error", async () => {
  const { plan } = await serveSample();
  await using encoder = await Encoder.open(address, options);
  const before = await encoder.encode("one two");
  const file = plan.modules.find(({ numeric, shared }) => numeric === "separate" && !shared)!.file;
  const module = await WebAssembly.compile(await sampleFile(file));
  await encoder.adopt({ module, kernels: [{ kernel: 1, export: "k1", grid: "rows" }] });
  expect(await encoder.encode("one two")).toEqual(before);
  expect((await encoder.status()).adopted).toEqual(["dense"]);

  await expect(encoder.adopt({ module, kernels: [{ kernel: 0, export: "k9", grid: "rows" }] })).rejects.toMatchObject({ code: "corrupt", message: expect.stringContaining("k9") });
  expect(await encoder.encode("one two")).toEqual(before);

  const trap = await WebAssembly.compile(await sampleFile("trap.wasm"));
  await encoder.adopt({ module: trap, kernels: [{ kernel: 1, export: "k1", grid: "rows" }] });
  await expect(encoder.encode("one")).rejects.toMatchObject({ code: "worker", message: expect.stringContaining("a kernel failed") });
  await encoder.adopt({ module, kernels: [{ kernel: 1, export: "k1", grid: "rows" }] });
  expect(await encoder.encode("one two")).toEqual(before);
});

test("errors are of the library's class", async () => {
  const error = await Encoder.open(`${address}nowhere/`, options).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(PywasmError);
});

test("what is stored is not fetched again, is checked, and serves without a network", async () => {
  const { host: stored, address: where, plan } = await serveSample();
  const local = { ...options, storage: "local" } as const;
  const [first] = plan.weights.shards as [PlanFile];
  const open = async (): Promise<EncoderStatus> => {
    stored.log.length = 0;
    await using encoder = await Encoder.open(where, local);
    await expectVectors(await encoder.encode("red tree"), ["red tree"]);
    return await encoder.status();
  };
  const files = 4;
  expect((await open()).storage).toEqual({ tier: "indexeddb", stored: 0, files });
  await vi.waitFor(async () => {
    expect((await open()).storage).toEqual({ tier: "indexeddb", stored: files, files });
    expect(stored.log).toEqual(["model/plan.json whole"]);
  });

  const database = await openDatabase(`pywasm-models ${where}`, () => undefined);
  const store = () => database.transaction("files", "readwrite").objectStore("files");
  const record = (await answer(store().get(first.file))) as { bytes: ArrayBuffer; seal: string };
  new Uint8Array(record.bytes)[7]! ^= 4;
  await answer(store().put(record, first.file));
  await answer(store().put({ bytes: new ArrayBuffer(8), seal: "" }, "weights-of-an-earlier-model.bin"));
  expect((await open()).storage.stored).toBe(files - 1);
  expect(stored.log.at(-1)).toBe(`model/${first.file} whole`);
  await vi.waitFor(async () => expect(await answer(store().getAllKeys())).not.toContain("weights-of-an-earlier-model.bin"));

  await stored.stop();
  expect((await open()).storage.stored).toBe(files);
  await (await Encoder.open(where, local)).clear();
  await expect(open()).rejects.toMatchObject({ code: "network" });
});

test("a worker that died is started again once for all who call, whatever became of open()'s signal", async () => {
  const start = vi.spyOn(Remote, "start");
  const opening = new AbortController();
  const encoder = await Encoder.open(address, { ...options, signal: opening.signal });
  opening.abort();
  (await (start.mock.results[0]!.value as Promise<Remote>)).close(new PywasmError("worker", "it died"));
  const [a, b] = await Promise.all([encoder.encode("one"), encoder.encode("two")]);
  expect(start).toHaveBeenCalledTimes(2);
  await expectVectors([...a, ...b], ["one", "two"]);
  await encoder.close();
  // Closed while a call looks for the worker: none is started any more.
  const other = await Encoder.open(address, options);
  (await (start.mock.results[2]!.value as Promise<Remote>)).close(new PywasmError("worker", "it died"));
  const call = expect(other.encode("one")).rejects.toMatchObject({ code: "closed" });
  await other.close();
  await call;
  expect(start).toHaveBeenCalledTimes(3);
  start.mockRestore();
});
