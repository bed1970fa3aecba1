import { afterAll, beforeAll, expect, test, vi } from "vitest";

import { PywasmError } from "../../src/error.ts";
import { Generator, type GenerateOptions, type GenerationStart, type Prompt } from "../../src/generation/generator.ts";
import { Remote } from "../../src/inference/remote.ts";
import type { StaticHost } from "../static_host.ts";
import { continued, END, following, samplePlan, serveSample, START, textOf } from "./sample.ts";

let host: StaticHost;
let address: string;
beforeAll(async () => ({ host, address } = await serveSample()));
afterAll(() => host.stop());

const options = { thread: "inline", storage: "memory" } as const;
const bytes = (text: string): number[] => [...new TextEncoder().encode(text)];

/** A prompt whose answer has at least `least` tokens before it ends by itself. */
function promptOf(least: number, length = 20): string {
  for (let number = 0; ; number++) {
    const prompt = `${number} `.padEnd(length, "xyz");
    if (continued(bytes(prompt), least).length === least && !continued(bytes(prompt), least).includes(END)) return prompt;
  }
}

test("text follows text, to the token that ends it", async () => {
  await using generator = await Generator.open(address, options);
  expect(generator.info).toEqual({ name: "sample", licence: "Apache-2.0", source: "0".repeat(64), context: 512, vocab: 262, kvBytes: 64 });
  for (const prompt of ["one", "two", "x".repeat(400)]) {
    const wanted = continued(bytes(prompt), 512 - prompt.length);
    const generation = generator.generate(prompt, { maxTokens: 500 });
    expect(await generation.text(), prompt).toBe(textOf(wanted));
    expect(await generation.stats).toMatchObject({ promptTokens: prompt.length, cachedTokens: 0, tokens: wanted.length, reason: wanted.at(-1) === END ? "stop" : "length" });
  }
});

test("logits rate the next token", async () => {
  await using generator = await Generator.open(address, options);
  const logits = await generator.logits("question");
  const next = following(bytes("question"));
  // The sample's fall off by one a token.
  expect([...logits.subarray(next - 2, next + 3)]).toEqual([-2, -1, 0, -1, -2]);
});

test("as many tokens as are asked for, and as the context has", async () => {
  await using generator = await Generator.open(address, options);
  const prompt = promptOf(8);
  const short = generator.generate(prompt, { maxTokens: 5 });
  expect(await short.text()).toHaveLength(5);
  expect(await short.stats).toMatchObject({ tokens: 5, reason: "length" });
  const full = promptOf(3, 509);
  const last = generator.generate(full, { maxTokens: 100 });
  expect(await last.text()).toHaveLength(3);
  expect(await last.stats).toMatchObject({ promptTokens: 509, tokens: 3, reason: "length" });
});

test("messages go through the model's template", async () => {
  await using generator = await Generator.open(address, options);
  const prompt: Prompt = { messages: [{ role: "user", content: "q<|im_end|>" }] };
  const tokens = (await generator.tokenize(prompt)).flatMap((segment) => [...segment]);
  const line = (role: string, content: string): number[] => [START, ...bytes(`${role}\n${content}`), END, 10];
  expect(tokens).toEqual([...line("system", "Be brief"), ...line("user", "q<|im_end|>"), START, ...bytes("assistant\n")]);
  expect(await generator.generate(prompt, { maxTokens: 20 }).text()).toBe(textOf(continued(tokens, 20)));
});

test("a plain text begins as the model was trained to, a template as it says", async () => {
  const { host: other, address: where } = await serveSample(({ decoder }) => (decoder!.bos = START));
  await using generator = await Generator.open(where, options);
  const first = async (prompt: Prompt): Promise<number[]> => [...(await generator.tokenize(prompt))[0]!];
  expect(await first("ab")).toEqual([START, 97, 98]);
  expect(await first("<|im_start|>ab")).toEqual([START, 97, 98]);
  expect(await first({ segments: [{ kind: "text", text: "ab" }] })).toEqual([97, 98]);
  expect(await generator.count([{ kind: "system", text: "ab" }, { kind: "document", text: "<|im_end|>" }, { kind: "question", text: "<|im_end|>" }, { kind: "text", text: "<|im_end|>" }])).toEqual([2, 10, 10, 1]);
  await other.stop();
});

test("a model without a chat template takes no messages", async () => {
  const { host: other, address: where } = await serveSample(({ decoder }) => (decoder!.template = ""));
  await using generator = await Generator.open(where, options);
  await expect(generator.tokenize({ messages: [{ role: "user", content: "x" }] })).rejects.toMatchObject({ code: "argument", message: expect.stringContaining("no chat template") });
  await other.stop();
});

test("what prompts have in common is computed once", async () => {
  await using generator = await Generator.open(address, options);
  const ask = async (question: string): Promise<GenerationStart> => {
    const segments = [{ kind: "system", text: "s".repeat(150) }, { kind: "document", text: "d".repeat(70), id: "d" }, { kind: "question", text: question }] as const;
    let start: GenerationStart | null = null;
    const text = await generator.generate({ segments }, { maxTokens: 9, onStart: (event) => (start = event) }).text();
    expect(text).toBe(textOf(continued(bytes("s".repeat(150) + "d".repeat(70) + question), 9)));
    return start!;
  };
  expect(await ask("first")).toEqual({ promptTokens: 225, cachedTokens: 0, sources: { memory: 0, storage: 0, shipped: 0 } });
  expect(await ask("second")).toEqual({ promptTokens: 226, cachedTokens: 220, sources: { memory: 220, storage: 0, shipped: 0 } });
  expect((await ask("first")).cachedTokens).toBe(224);
});

test("a prompt is computed ahead of time", async () => {
  await using generator = await Generator.open(address, options);
  const segments = [{ kind: "system", text: "s".repeat(100) }] as const;
  expect(await generator.prefetch(segments)).toBe(99);
  expect(await generator.prefetch(segments)).toBe(0);
  const generation = generator.generate({ segments: [...segments, { kind: "question", text: "q" }] }, { maxTokens: 3 });
  expect((await generation.stats).cachedTokens).toBe(99);
});

test("several at once take turns and don't disturb one another", async () => {
  await using generator = await Generator.open(address, options);
  const prompts = [promptOf(40), promptOf(40, 21), promptOf(40, 200)];
  const order: number[] = [];
  const texts = await Promise.all(prompts.map(async (prompt, index) => {
    let text = "";
    for await (const piece of generator.generate(prompt, { maxTokens: 40 })) {
      text += piece;
      order.push(index);
    }
    return text;
  }));
  expect(texts).toEqual(prompts.map((prompt) => textOf(continued(bytes(prompt), 40))));
  // None is done before another is well under way.
  const half = order.slice(0, order.length / 2);
  for (const index of prompts.keys()) expect(half.filter((one) => one === index).length).toBeGreaterThan(5);
});

test("a stop string ends the text and is not in it, held back however it is cut", async () => {
  await using generator = await Generator.open(address, options);
  const prompt = promptOf(20);
  const text = textOf(continued(bytes(prompt), 20));
  const stop = text.slice(10, 13);
  const wanted = text.slice(0, text.indexOf(stop));
  const generation = generator.generate(prompt, { stop: ["#", stop] });
  expect(await generation.text()).toBe(wanted);
  expect(await generation.stats).toMatchObject({ reason: "stop", tokens: wanted.length + 3 });
  // What could have become one is part of the text after all.
  const last = text.slice(-2);
  const whole = await generator.generate(prompt, { maxTokens: 20, stop: `${last}#` }).text();
  expect(whole).toBe(text);
});

test("samples by seed", async () => {
  await using generator = await Generator.open(address, options);
  const draw = (seed: number): Promise<string> => generator.generate("x", { temperature: 30, seed, maxTokens: 30 }).text();
  expect(await draw(1)).toBe(await draw(1));
  expect(await draw(1)).not.toBe(await draw(2));
});

test("an abort ends the loop with an AbortError; what came stays; nothing is held", async () => {
  await using generator = await Generator.open(address, options);
  const prompt = promptOf(200);
  for (let round = 0; round < 20; round++) {
    const controller = new AbortController();
    const generation = generator.generate(prompt, { signal: controller.signal });
    let text = "";
    const loop = (async () => {
      for await (const piece of generation) if ((text += piece).length === round) controller.abort();
    })();
    if (round === 0) controller.abort();
    await expect(loop).rejects.toMatchObject({ name: "AbortError", code: "aborted" });
    if (round > 0) expect(await generation.stats).toMatchObject({ reason: "aborted" });
    expect(textOf(continued(bytes(prompt), 200)).startsWith(text)).toBe(true);
  }
  expect(await generator.status()).toMatchObject({ running: 0, kv: { leases: 0 } });
  expect(await generator.generate(prompt, { maxTokens: 5 }).text()).toHaveLength(5);
});

test("leaving the loop ends the generation", async () => {
  await using generator = await Generator.open(address, options);
  const generation = generator.generate(promptOf(200));
  for await (const _ of generation) break;
  const { reason, tokens } = await generation.stats;
  expect(reason).toBe("aborted");
  expect(tokens).toBeLessThan(100);
});

test("the text can be read again, or by two", async () => {
  await using generator = await Generator.open(address, options);
  const generation = generator.generate(promptOf(30), { maxTokens: 30 });
  const [a, b] = await Promise.all([generation.text(), generation.text()]);
  expect([a, b, await generation.text()]).toEqual([a, a, a]);
  expect(a).toHaveLength(30);
});

test("a prompt that is too long, or empty, says so", async () => {
  await using generator = await Generator.open(address, options);
  const long = generator.generate("x".repeat(600));
  await expect(long.text()).rejects.toMatchObject({ code: "argument", message: "the prompt has 600 tokens, sample reads at most 511: leave out some of it" });
  await expect(long.stats).rejects.toMatchObject({ code: "argument" });
  await expect(generator.generate("").text()).rejects.toMatchObject({ code: "argument", message: "the prompt is empty" });
  await expect(generator.prefetch([{ kind: "text", text: "x".repeat(513) }])).rejects.toMatchObject({ code: "argument" });
});

test("arguments are checked where they are given", async () => {
  await using generator = await Generator.open(address, options);
  const wrong: [Prompt, GenerateOptions, string][] = [
    ["x", { maxTokens: 0 }, "maxTokens"], ["x", { temperature: -1 }, "temperature"], ["x", { temperature: NaN }, "temperature"], ["x", { topK: 1.5 }, "topK"],
    ["x", { topP: 0 }, "topP"], ["x", { minP: 2 }, "minP"], ["x", { repetitionPenalty: 0 }, "repetitionPenalty"], ["x", { seed: 0.5 }, "seed"], ["x", { stop: [""] }, "stop"],
    [{ messages: [] }, {}, "messages"], [{ messages: [{ role: "user" } as never] }, {}, "messages"], [{ segments: [{ kind: "page" as never, text: "" }] }, {}, "segments"],
    [null as never, {}, "prompt"], [{} as never, {}, "prompt"],
  ];
  for (const [prompt, given, name] of wrong) {
    expect(() => generator.generate(prompt, given), JSON.stringify(given)).toThrow(expect.objectContaining({ code: "argument", message: expect.stringContaining(name) }));
  }
  await expect(Generator.open(address, { ...options, threads: 0 })).rejects.toMatchObject({ code: "argument" });
  await expect(Generator.open(address, { ...options, memory: -1 })).rejects.toMatchObject({ code: "argument" });
  await expect(Generator.open(address, { ...options, memory: 10 })).rejects.toMatchObject({ code: "argument", message: expect.stringContaining("2048 bytes of 32 tokens") });
});

test("what is stored serves without a network, until it is removed", async () => {
  const { host: stored, address: where } = await serveSample();
  const local = { ...options, storage: "local" } as const;
  await using generator = await Generator.open(where, local);
  expect((await generator.status()).storage).toEqual({ tier: "indexeddb", stored: 0, files: 3 });
  await vi.waitFor(async () => {
    await using again = await Generator.open(where, local);
    expect((await again.status()).storage.stored).toBe(3);
  });
  await generator.close();
  await stored.stop();
  await (await Generator.open(where, local)).close();
  await Generator.remove(new URL("plan.json", where), options);
  await expect(Generator.open(where, local)).rejects.toMatchObject({ code: "network", message: expect.stringContaining("none is stored") });
});

test("closed in the middle", async () => {
  const generator = await Generator.open(address, options);
  const generation = generator.generate(promptOf(200));
  const reading = expect(generation.text()).rejects.toMatchObject({ code: "closed", message: "the generator is closed" });
  await generator.close();
  await reading;
  await expect(generation.stats).rejects.toMatchObject({ code: "closed" });
  await expect(generator.generate("x").text()).rejects.toMatchObject({ code: "closed" });
  await expect(generator.status()).rejects.toMatchObject({ code: "closed" });
});

test("a worker that died is an error for those who wait and is started again by the next call", async () => {
  const start = vi.spyOn(Remote, "start");
  await using generator = await Generator.open(address, options);
  let begin = (): void => undefined;
  const begun = new Promise<void>((resolve) => (begin = resolve));
  const generation = generator.generate(promptOf(200), { onStart: begin });
  const reading = expect(generation.text()).rejects.toMatchObject({ code: "worker" });
  await begun;
  (await (start.mock.results[0]!.value as Promise<Remote>)).close(new PywasmError("worker", "it died"));
  await reading;
  const prompt = promptOf(5);
  expect(await generator.generate(prompt, { maxTokens: 5 }).text()).toBe(textOf(continued(bytes(prompt), 5)));
  expect(start).toHaveBeenCalledTimes(2);
  start.mockRestore();
});

test("KV memory that is full is an error of who wants more; the others go on", async () => {
  // Four blocks: 128 tokens.
  await using generator = await Generator.open(address, { ...options, memory: 4 * 2048 });
  const prompt = promptOf(60);
  const running = generator.generate(prompt, { maxTokens: 60 });
  const large = generator.generate("x".repeat(120), { maxTokens: 100 });
  await expect(large.text()).rejects.toMatchObject({ code: "memory" });
  expect(await running.text()).toBe(textOf(continued(bytes(prompt), 60)));
  expect(await generator.status()).toMatchObject({ kv: { leases: 0, budget: 4 } });
});

test("a device that is too small is told so before anything is downloaded", async () => {
  const { host: small, address: where } = await serveSample((plan) => plan.slots.push({ bytes: 600 << 20 }));
  vi.stubGlobal("navigator", { ...navigator, deviceMemory: 1 });
  await expect(Generator.open(where, options)).rejects.toMatchObject({ code: "memory", message: expect.stringMatching(/^sample needs 600\.\d MB of memory.*device with 1 GB/) });
  vi.unstubAllGlobals();
  expect(small.log).toEqual(["model/plan.json whole"]);
  const memory = vi.spyOn(WebAssembly, "Memory").mockImplementation(function () {
    throw new RangeError("WebAssembly.Memory(): could not allocate memory");
  } as never);
  await expect(Generator.open(where, options)).rejects.toMatchObject({ code: "memory", message: expect.stringContaining("sample needs 600.") });
  memory.mockRestore();
  expect(small.log.filter((line) => line.includes("weights"))).toEqual([]);
  await small.stop();
});

test("an encoder is no generator", async () => {
  const { host: other, address: where } = await serveSample((plan) => {
    plan.kind = "encoder";
    plan.decoder = null;
    plan.encoder = { dim: 8, max_tokens: 8, query_prefix: "", document_prefix: "", pooling: "mean", normalize: false, loss: null, tokenizer: samplePlan().decoder!.tokenizer };
    for (const step of plan.steps) step.buffers = step.buffers.map((buffer) => ("kv" in buffer ? { slot: 0 } : buffer));
  });
  await expect(Generator.open(where, options)).rejects.toMatchObject({ code: "argument", message: "sample is an encoder: it generates no text" });
  await other.stop();
});

test("status and timings say where memory and time go", async () => {
  await using generator = await Generator.open(address, options);
  await generator.generate("hello", { maxTokens: 2 }).stats;
  const status = await generator.status();
  expect(status).toMatchObject({ name: "sample", threads: 1, activations: "f32", running: 0, storage: { tier: "memory", stored: 0, files: 3 }, last: { promptTokens: 5 }, memory: { weights: 1280 + 2 * 8192, scratch: 0 } });
  expect(status.memory.kv).toBeGreaterThan(0);
  expect(status.opening.map(({ name }) => name)).toEqual(expect.arrayContaining(["storage", "tokenizer", "kernels", "weights", "start"]));
  const timings = await generator.timings({ rows: 4, start: 60, repeat: 3 });
  expect(timings.map(({ name, kernel, flops }) => [name, kernel, flops])).toEqual([["layer0", "store", 4], ["layer1", "store", 4], ["fold", "fold", 4], ["head", "head", 4]]);
  for (const { ms } of timings) expect(ms).toBeGreaterThanOrEqual(0);
});

test("without SIMD it says so", async () => {
  const validate = vi.spyOn(WebAssembly, "validate").mockReturnValue(false);
  await expect(Generator.open(address, options)).rejects.toMatchObject({ code: "unsupported", message: expect.stringContaining("SIMD") });
  validate.mockRestore();
});
