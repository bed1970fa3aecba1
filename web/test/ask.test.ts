import { beforeEach, expect, test, vi } from "vitest";

import { SiteAnswers } from "../src/ask.ts";
import type { AskOptions } from "../src/ask_types.ts";
import { aborted, PywasmError } from "../src/error.ts";
import type { Answers } from "../src/generated/manifest.ts";
import { Generation, Generator } from "../src/generation/generator.ts";
import type { GenerationEvent } from "../src/generation/protocol.ts";
import type { GenerateOptions, GenerationStats, GeneratorOptions, Prompt, TextSegment } from "../src/generation/types.ts";
import type { Hit, Results, SearchOptions } from "../src/types.ts";

const INFO: Answers = {
  name: "small", licence: "", url: "", plan: "generator/plan.json", source_sha256: "abc", weights: "int4", context: 400, visit_bytes: 1000, files: [], losses: [], kv: null,
  prompt: { system: "S:", document: "\n\n{title}\n{text}", question: "Q: {question}", answer: "A:", characters: 100, documents: 2 },
};
const hit = (id: string, text: string): Hit => ({ id, row: 0, score: 1, exact: true, title: id, url: "", anchor: "", text, metadata: {}, highlights: [], ranks: {} });
const HITS = [hit("gzip.compress", "Compress data in one shot."), hit("gzip.open", "Open a compressed file.")];
const STATS: GenerationStats = { promptTokens: 100, cachedTokens: 20, sources: { memory: 20, storage: 0, shipped: 0 }, ttftMs: 160, tokens: 3, tokensPerSecond: 50, reason: "stop" };

/** The generator of these tests: says PIECES, a macrotask each, until it is stopped. */
const PIECES = ["Use ", "gzip.compress", " for that."];
const made: { prompt: Prompt; options: GenerateOptions }[] = [];
let stats = STATS;
const generator = {
  info: { name: "small", source: "abc", context: 400 },
  tokenize: async (prompt: { segments: TextSegment[] }) => prompt.segments.map(({ text }) => new Int32Array(Math.ceil(text.length / 4))),
  generate(prompt: Prompt, options: GenerateOptions): Generation {
    made.push({ prompt, options });
    return new Generation(async (stop: AbortSignal, hear: (event: GenerationEvent) => void) => {
      for (const text of PIECES) {
        await new Promise((resolve) => setTimeout(resolve, 1));
        if (stop.aborted) return { ...stats, reason: "aborted" };
        hear({ text });
      }
      return stats;
    }, options.signal, options.onStart);
  },
  order: vi.fn(async (_system: TextSegment[], documents: TextSegment[]) => documents.map((_, place) => place)),
  prefetch: vi.fn(async (_segments: TextSegment[], _options: { signal?: AbortSignal }) => 7),
  close: vi.fn(async () => undefined),
  clear: vi.fn(async () => undefined),
};
const open = vi.spyOn(Generator, "open");
const searches: { question: string; options: SearchOptions }[] = [];
let hits = HITS;
const answers = (): SiteAnswers => new SiteAnswers(new URL("http://host/site/"), INFO, {}, async (question, options) => {
  searches.push({ question, options });
  return { hits: hits.slice(0, options.k) } as unknown as Results;
});

beforeEach(() => {
  made.length = searches.length = 0;
  hits = HITS;
  stats = STATS;
  open.mockReset().mockResolvedValue(generator as unknown as Generator);
  for (const mock of [generator.prefetch, generator.close, generator.clear]) mock.mockClear();
});

/** A download that goes on until it is aborted or let go. */
function slowDownload(): { finish: () => void; options: () => GeneratorOptions } {
  let finish!: () => void;
  let options!: GeneratorOptions;
  open.mockImplementation((_where, given = {}) => new Promise((resolve, reject) => {
    options = given;
    finish = () => resolve(generator as unknown as Generator);
    given.signal?.addEventListener("abort", () => reject(aborted()));
    given.onProgress?.({ status: "weights", file: "weights.bin", loaded: 10, total: 1000 });
  }));
  return { finish: () => finish(), options: () => options };
}
const nextTask = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));

test("sources first, then the text, then what it cost and where it comes from", async () => {
  const told: string[] = [];
  const answer = answers().ask(" How do I compress? ", { onSources: (sources) => told.push(...sources.map(({ id }) => id)), temperature: 0.5, seed: 1 });
  expect((await answer.sources).map(({ id }) => id)).toEqual(["gzip.compress", "gzip.open"]);
  expect(told).toEqual(["gzip.compress", "gzip.open"]);
  const pieces: string[] = [];
  for await (const piece of answer) pieces.push(piece);
  expect(pieces).toEqual(PIECES);
  expect(searches).toEqual([{ question: "How do I compress?", options: { k: 2 } }]);
  const { prompt, options } = made[0]!;
  expect((prompt as { segments: TextSegment[] }).segments).toEqual([
    { kind: "system", text: "S:" },
    { kind: "document", text: "\n\ngzip.compress\nCompress data in one shot.", id: "gzip.compress" },
    { kind: "document", text: "\n\ngzip.open\nOpen a compressed file.", id: "gzip.open" },
    { kind: "question", text: "Q: How do I compress?" },
    { kind: "text", text: "A:" },
  ]);
  expect(options).toMatchObject({ temperature: 0.5, seed: 1, maxTokens: 192 });
  expect(options).not.toHaveProperty("onSources");
  expect(await answer.citations).toEqual([{ source: 0, start: 0, end: 27, by: "words" }]);
  const { firstMs, searchMs, savedMs, ...rest } = await answer.stats;
  expect(rest).toMatchObject({ ...STATS, reason: "stop" });
  expect(firstMs).toBeGreaterThanOrEqual(STATS.ttftMs + searchMs);
  expect(savedMs).toBe(20 * (160 / 80));  // 80 tokens were read in 160 ms
});

test("what the cache saved is not known before enough was read, and known after that", async () => {
  const site = answers();
  stats = { ...STATS, cachedTokens: 90 };
  expect((await site.ask("a").stats).savedMs).toBeNull();
  stats = STATS;
  await site.ask("a").stats;
  stats = { ...STATS, cachedTokens: 90 };
  expect((await site.ask("a").stats).savedMs).toBe(180);
});

test("sources of about the same rank are read in the order of which most is known; what they are cited as stays", async () => {
  generator.order.mockImplementation(async (_system, documents) => [...documents.keys()].reverse());
  hits = [{ ...HITS[1]!, score: 1 }, { ...HITS[0]!, score: 0.9 }, { ...HITS[1]!, id: "far", score: 0.5 }];
  const answer = answers().ask("How?", { k: 3 });
  await answer.text();
  expect((made[0]!.prompt as { segments: TextSegment[] }).segments.map(({ id }) => id)).toEqual([undefined, "gzip.compress", "gzip.open", "far", undefined, undefined]);
  expect(generator.order.mock.calls[0]![0]).toEqual([{ kind: "system", text: "S:" }]);
  expect((await answer.sources).map(({ id }) => id)).toEqual(["gzip.open", "gzip.compress", "far"]);
  expect((await answer.citations).map(({ source }) => source)).toEqual([1]);
  generator.order.mockClear();
  hits = [{ ...HITS[0]!, score: 1 }, { ...HITS[1]!, score: 0.7 }];
  await answers().ask("How?").text();
  expect(generator.order).not.toHaveBeenCalled();
});

test("nothing found: the model is neither loaded nor asked", async () => {
  hits = [];
  const onSources = vi.fn();
  const answer = answers().ask("anything", { onSources });
  expect(await answer.text()).toBe("");
  expect(await answer.sources).toEqual([]);
  expect(await answer.citations).toEqual([]);
  expect(await answer.stats).toMatchObject({ reason: "nothing", tokens: 0, firstMs: null });
  expect(open).not.toHaveBeenCalled();
  expect(onSources).not.toHaveBeenCalled();
});

test("given hits are not searched for", async () => {
  const answer = answers().ask("anything", { hits: [HITS[1]!] });
  await answer.text();
  expect(searches).toEqual([]);
  expect((made[0]!.prompt as { segments: TextSegment[] }).segments.map(({ id }) => id)).toEqual([undefined, "gzip.open", undefined, undefined]);
});

test("leaving the loop ends the generation; what there was is cited", async () => {
  const answer = answers().ask("How?");
  for await (const piece of answer) {
    expect(piece).toBe("Use ");
    break;
  }
  expect((await answer.stats).reason).toBe("aborted");
  expect(await answer.citations).toEqual([]);
});

test("an abort is an AbortError of the loop; stats and citations tell of what there was", async () => {
  const controller = new AbortController();
  const answer = answers().ask("How?", { signal: controller.signal });
  const pieces: string[] = [];
  await expect((async () => {
    for await (const piece of answer) {
      pieces.push(piece);
      if (pieces.length === 2) controller.abort();
    }
  })()).rejects.toMatchObject({ name: "AbortError" });
  expect(pieces).toEqual(["Use ", "gzip.compress"]);
  expect(await answer.citations).toEqual([{ source: 0, start: 0, end: 17, by: "words" }]);
  expect((await answer.stats).reason).toBe("aborted");
});

test("a failure is heard by whoever iterates, and by nobody else's rejection", async () => {
  open.mockRejectedValue(new PywasmError("network", "no line"));
  const site = answers();
  const answer = site.ask("How?");
  await expect(answer.text()).rejects.toMatchObject({ code: "network" });
  await expect(answer.stats).rejects.toMatchObject({ code: "network" });
  expect((await answer.sources).length).toBe(2);
  expect(site.generator.state).toMatchObject({ state: "failed", error: "no line" });
  open.mockResolvedValue(generator as unknown as Generator);
  expect(await site.ask("How?").text()).toBe(PIECES.join(""));
  expect(site.generator.state).toMatchObject({ state: "ready", loaded: 1000 });
});

test("a question that is none", () => {
  for (const question of ["", "  ", 5 as unknown as string]) expect(() => answers().ask(question)).toThrow(expect.objectContaining({ code: "argument" }));
});

test("the download ends when the last one who waits has gone, and only then", async () => {
  const download = slowDownload();
  const site = answers();
  const [first, second] = [new AbortController(), new AbortController()];
  const events: number[] = [];
  const one = site.generator.load({ signal: first.signal, onProgress: ({ status, loaded }) => events.push(status === "generator" ? loaded : -1) });
  const two = site.ask("How?", { signal: second.signal });
  await nextTask();
  expect(site.generator.state).toEqual({ state: "loading", loaded: 10, total: 1000, error: null });
  first.abort();
  await expect(one).rejects.toMatchObject({ code: "aborted" });
  expect(download.options().signal!.aborted).toBe(false);
  second.abort();
  await expect(two.text()).rejects.toMatchObject({ code: "aborted" });
  expect(download.options().signal!.aborted).toBe(true);
  expect(site.generator.state.state).toBe("idle");
  expect(events).toEqual([]);  // began to listen when the event was over
  const again = site.generator.load();
  download.finish();
  expect(await again).toBe(generator);
  expect(open).toHaveBeenCalledTimes(2);
});

test("another model than the manifest's is not used", async () => {
  open.mockResolvedValue({ ...generator, info: { ...generator.info, source: "other" } } as unknown as Generator);
  await expect(answers().generator.load()).rejects.toMatchObject({ code: "version", file: "generator/plan.json" });
  expect(generator.close).toHaveBeenCalledOnce();
});

test("unloaded, it is loaded again; closed, it is not", async () => {
  const site = answers();
  await site.generator.load();
  await site.generator.unload();
  expect(generator.close).toHaveBeenCalledOnce();
  expect(site.generator.state.state).toBe("idle");
  await site.generator.load();
  expect(open).toHaveBeenCalledTimes(2);
  site.close();
  await expect(site.generator.load()).rejects.toMatchObject({ code: "closed" });
});

test("a question is prepared once the model is there: its documents, without the question", async () => {
  const site = answers();
  expect(await site.prepare("How?")).toBe(0);
  expect(searches).toEqual([]);
  await site.generator.load();
  expect(await site.prepare("How?")).toBe(7);
  expect(generator.prefetch.mock.calls[0]![0].map(({ kind }) => kind)).toEqual(["system", "document", "document"]);
});

test("the next guess, or a question, ends the one before", async () => {
  const site = answers();
  await site.generator.load();
  const signals: AbortSignal[] = [];
  generator.prefetch.mockImplementation(async (_segments, { signal }) => {
    signals.push(signal!);
    await new Promise((_, reject) => signal!.addEventListener("abort", () => reject(aborted())));
    return 0;
  });
  const first = site.prepare("How do");
  await vi.waitFor(() => expect(signals.length).toBe(1));
  const second = site.prepare("How do I");
  await expect(first).rejects.toMatchObject({ code: "aborted" });
  await vi.waitFor(() => expect(signals.length).toBe(2));
  const options: AskOptions = {};
  const answer = site.ask("How do I?", options);
  await expect(second).rejects.toMatchObject({ code: "aborted" });
  expect(await answer.text()).toBe(PIECES.join(""));
});
