import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { PywasmError } from "../src/error.ts";
import { Encoder } from "../src/inference/encoder.ts";
import { SiteEncoder, type Run } from "../src/site_encoder.ts";
import type { EncoderInfo, OpenOptions, Results, SearchOptions } from "../src/types.ts";

const INFO: EncoderInfo = {
  name: "minilm", dim: 2, pooling: "mean", normalize: true, query_prefix: "", document_prefix: "", max_tokens: 256, licence: "", sha256: "abc",
  compiled: { plan: "encoder/plan.json", weights: "int8", visit_bytes: 1000, cosine: 0.99 },
};
const VECTOR = new Float32Array([0.6, 0.8]);

/** What Encoder.open gives in these tests. */
const encode = vi.fn(async (_text: string, _options: object) => [VECTOR]);
const close = vi.fn(async () => undefined);
const opened = { source: "abc", encode, close } as unknown as Encoder;
const open = vi.spyOn(Encoder, "open");

/** The index's worker: answers with the mode it was asked in. */
const asked: { query: unknown; options: SearchOptions }[] = [];
const run: Run = async (query, options) => {
  asked.push({ query, options });
  return { hits: [], mode: options.mode ?? "keyword", passing: null, stages: [{ name: "keyword", start: 0, ms: 1 }], counters: {} } as unknown as Results;
};
let held: AbortSignal[] = [];
const hold = async (signal: AbortSignal): Promise<void> => void held.push(signal);
const siteEncoder = (options: OpenOptions = {}): SiteEncoder => new SiteEncoder(new URL("http://host/site/"), INFO, options, hold);

beforeEach(() => {
  asked.length = 0;
  held = [];
  open.mockReset().mockResolvedValue(opened);
  encode.mockClear();
  close.mockClear();
});
afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

test("words are a partial answer while the encoder comes; the answer has both and tells how long encoding took", async () => {
  let arrive: (encoder: Encoder) => void = () => undefined;
  open.mockReturnValue(new Promise((resolve) => (arrive = resolve)));
  const partial: Results[] = [];
  const encoder = siteEncoder();
  const words = run("a question", { mode: "keyword" });
  const answer = encoder.search("a question", { k: 3, onPartial: (results) => partial.push(results) }, run, words);
  await vi.waitFor(() => expect(partial.map(({ mode }) => mode)).toEqual(["keyword"]));
  expect(encoder.state).toMatchObject({ state: "loading", total: 1000 });
  expect(held.map(({ aborted }) => aborted)).toEqual([false]);
  arrive(opened);
  const results = await answer;
  await vi.waitFor(() => expect(held.map(({ aborted }) => aborted)).toEqual([true]));
  expect(results.mode).toBe("hybrid");
  expect(results.stages.map(({ name }) => name)).toEqual(["encode", "keyword"]);
  expect(results.stages[1]!.start).toBe(results.stages[0]!.ms);
  expect(asked.at(-1)).toMatchObject({ query: { text: "a question", vector: VECTOR }, options: { k: 3, mode: "hybrid" } });
  expect(encode).toHaveBeenCalledWith("a question", expect.objectContaining({ kind: "query" }));
  expect(String(open.mock.calls[0]![0])).toBe("http://host/site/encoder/");
  expect(encoder.state.state).toBe("ready");
});

test("the same text again, for more results or another mode, is not encoded again", async () => {
  const encoder = siteEncoder();
  await encoder.search("a question", {}, run);
  await encoder.search("a question", { mode: "vector" }, run);
  expect(encode).toHaveBeenCalledTimes(1);
  await encoder.search("another", {}, run);
  expect(encode).toHaveBeenCalledTimes(2);
  expect(open).toHaveBeenCalledTimes(1);
});

test("without an encoder the words are the answer, with a note; where a vector was asked for it is an error", async () => {
  open.mockRejectedValue(new PywasmError("corrupt", "weights-1.bin: damaged"));
  const encoder = siteEncoder();
  expect(await encoder.search("a question", {}, run)).toMatchObject({ mode: "keyword", note: "weights-1.bin: damaged" });
  await expect(encoder.search("a question", { mode: "vector" }, run)).rejects.toMatchObject({ code: "corrupt" });
  expect(open).toHaveBeenCalledTimes(1);
  expect(encoder.state).toMatchObject({ state: "failed", error: "weights-1.bin: damaged" });
  open.mockResolvedValue(opened);
  await encoder.load();
  expect((await encoder.search("a question", {}, run)).mode).toBe("hybrid");
});

test("after a failure of the network a search tries again, but not at once", async () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  open.mockRejectedValueOnce(new PywasmError("network", "gone"));
  const encoder = siteEncoder();
  expect((await encoder.search("a", {}, run)).note).toBe("gone");
  expect((await encoder.search("ab", {}, run)).note).toBe("gone");
  expect(open).toHaveBeenCalledTimes(1);
  vi.advanceTimersByTime(6000);
  expect((await encoder.search("abc", {}, run)).note).toBeUndefined();
});

test("where data is to be saved, only what asks for vectors by name loads the encoder", async () => {
  vi.stubGlobal("navigator", { connection: { saveData: true } });
  const encoder = siteEncoder();
  expect((await encoder.search("a question", {}, run)).note).toContain("save data");
  expect(open).not.toHaveBeenCalled();
  expect(encoder.state.state).toBe("idle");
  expect((await encoder.search("a question", { mode: "hybrid" }, run)).mode).toBe("hybrid");
  expect((await encoder.search("another", {}, run)).mode).toBe("hybrid");
});

test("an encoder that did not make this index's vectors is not used", async () => {
  open.mockResolvedValue({ ...opened, source: "other", close } as unknown as Encoder);
  const results = await siteEncoder().search("a question", {}, run);
  expect(results).toMatchObject({ mode: "keyword", note: expect.stringContaining("not the minilm that this index was built with") });
  expect(close).toHaveBeenCalled();
});

test("an abort ends the search, not the loading", async () => {
  let arrive: (encoder: Encoder) => void = () => undefined;
  open.mockReturnValue(new Promise((resolve) => (arrive = resolve)));
  const encoder = siteEncoder();
  const controller = new AbortController();
  const answer = encoder.search("a question", { signal: controller.signal }, run);
  controller.abort();
  await expect(answer).rejects.toMatchObject({ code: "aborted" });
  arrive(opened);
  expect((await encoder.search("another", {}, run)).mode).toBe("hybrid");
  expect(open).toHaveBeenCalledTimes(1);
});

test("closed while it loads, it gives back what comes", async () => {
  let arrive: (encoder: Encoder) => void = () => undefined;
  open.mockReturnValue(new Promise((resolve) => (arrive = resolve)));
  const encoder = siteEncoder();
  const loading = encoder.load();
  encoder.close();
  expect(held.map(({ aborted }) => aborted)).toEqual([true]);
  arrive(opened);
  await expect(loading).rejects.toMatchObject({ code: "closed" });
  expect(close).toHaveBeenCalled();
});

test("settings of the page reach the encoder, progress the page", async () => {
  const events: object[] = [];
  open.mockImplementation(async (_where, options) => {
    options?.onProgress?.({ status: "weights", file: "plan.json", loaded: 5, total: 10 });
    return opened;
  });
  await siteEncoder({ storage: "memory", thread: "inline", encoder: { threads: 2, backend: "webgpu" }, onProgress: (event) => events.push(event) }).load();
  expect(open.mock.calls[0]![1]).toMatchObject({ storage: "memory", thread: "inline", threads: 2, backend: "webgpu" });
  expect(events).toEqual([{ status: "encoder", file: "plan.json", loaded: 5, total: 10 }]);
});
