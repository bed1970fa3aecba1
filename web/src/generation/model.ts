/** A generator in its worker: the model opened, prompts tokenised, answers sampled, taking turns. */
import { PywasmError, throwIfAborted } from "../error.ts";
import type { Plan } from "../generated/plan.ts";
import { evaluate } from "../inference/expr.ts";
import { compileKernels, deviceFor, locate, moduleFor } from "../inference/opening.ts";
import { parsePlan, PLAN_FILE } from "../inference/plan.ts";
import { removeStore } from "../inference/store.ts";
import type { StepTiming } from "../inference/types.ts";
import { loadWeights } from "../inference/weights.ts";
import { Recorder } from "../recorder.ts";
import type { Stage } from "../types.ts";
import { BLOCK_TOKENS, blocksOf } from "./blocks.ts";
import { KvCache } from "./cache.ts";
import { Decoder, kvBudget } from "./decoder.ts";
import { TextStream } from "./detokenize.ts";
import { Conversations, type Answer } from "./conversations.ts";
import { openKvStore, type KvStore } from "./kv_store.ts";
import type { Lease } from "./lease.ts";
import { orderDocuments } from "./order.ts";
import type { Keep, Segment } from "./prompt.ts";
import type { GenerateRequest, GenerationEvent, OpenRequest } from "./protocol.ts";
import { openShipped, type ShippedIndex } from "./shipped.ts";
import { SavedConversations } from "./saved_conversations.ts";
import { Sampler } from "./sampler.ts";
import { StopStrings } from "./stop.ts";
import { ChatTemplate } from "./template.ts";
import { DecoderTokenizer } from "./tokenizer.ts";
import { Turns } from "./turns.ts";
import type { GenerationStart, GenerationStats, GeneratorInfo, GeneratorProgress, GeneratorStatus, Prompt, TextSegment } from "./types.ts";

/** Where a site carries its generator. */
const CARRIED = "generator/";
/** Segments that people wrote: what looks like a special token in them is text. */
const LITERAL = ["document", "question"];
/** Tokens of a run while another generation waits for its next token, or for what may be of no use. */
const SMALL_CHUNK = 32;

export class GeneratorModel {
  readonly #address: string;
  readonly #plan: Plan;
  readonly #decoder: Decoder;
  readonly #tokenizer: DecoderTokenizer;
  readonly #template: ChatTemplate;
  readonly #cache: KvCache;
  readonly conversations: Conversations;
  readonly #opening: Stage[];
  readonly #storage: GeneratorStatus["storage"];
  readonly #turns = new Turns();
  #running = 0;
  #last: GenerationStats | null = null;

  /** `spawn` starts a worker with this same script. */
  static async open(request: OpenRequest, spawn: () => Worker, hear: (event: GeneratorProgress) => void, signal: AbortSignal): Promise<GeneratorModel> {
    const { options } = request;
    const device = deviceFor(options.threads);
    const recorder = new Recorder(options.marks === true);
    const { address, text, files } = await recorder.stage("storage", () => locate(request, CARRIED, options.storage !== "memory", signal));
    const plan = parsePlan(text, PLAN_FILE);
    if (!plan.decoder) throw new PywasmError("argument", `${plan.name} is an ${plan.kind}: it generates no text`);
    const kernels = moduleFor(plan, device);
    const budget = kvBudget(plan, device.threads, options.memory ?? "auto");
    const module = recorder.stage("kernels", () => compileKernels(files, kernels));
    module.catch(() => undefined);  // start() reports it
    const decoder = new Decoder({ plan, device, module, kv: budget, spawn });
    let store: KvStore | null = null;
    try {
      const { source_sha256, compiler, activations, layers, kv_heads: kvHeads, head_dim: headDim } = { ...plan, ...plan.decoder };
      const identity = [source_sha256, compiler, activations, device.numeric].join(" ");
      // What is stored is looked through while the weights come.
      store = options.storage === "memory" ? null : await openKvStore(address);
      // Without it everything is computed.
      let index: ShippedIndex | null = null;
      const { kernels: own } = decoder;
      const shipped = own && options.shipped && options.shipped.kv.identity === `kv1 ${source_sha256} ${compiler} ${activations}`
        ? { source: { find: (tokens: Int32Array, start: number) => index?.find(tokens, start) ?? null }, unpack: own.unpack.bind(own) }
        : null;
      const stored = store && { store, shape: { layers, kvHeads, headDim }, budget: storageBudget() };
      const cache = new KvCache({ arena: decoder.arena, identity, budget: budget / plan.decoder.kv_block_bytes, storage: stored, shipped, move: own && own.move.bind(own) });
      const total = plan.weights.bytes;
      const { tokenizer: file } = plan.decoder;
      const [tokenizer] = await Promise.all([
        recorder.stage("tokenizer", async () => new DecoderTokenizer(await files.whole(file), file.file)),
        recorder.stage("weights", () => loadWeights(plan, files, (offset, bytes) => decoder.place(offset, bytes), (loaded) => hear({ status: "weights", file: PLAN_FILE, loaded, total }))),
        recorder.stage("start", () => decoder.start()),
        shipped && openShipped(new URL(options.shipped!.site), options.shipped!.kv, signal).then((opened) => (index = opened), () => null),
      ]);
      const storage = { tier: files.tier, stored: files.stored, files: plan.weights.shards.length + 2 };
      void files.settle(text, [kernels, file, ...plan.weights.shards]);
      return new GeneratorModel({ address, plan, decoder, tokenizer, cache, saved: store && new SavedConversations(store, identity), opening: recorder.stages, storage });
    } catch (error) {
      store?.close();
      decoder.close();
      throw error;
    }
  }

  private constructor({ address, plan, decoder, tokenizer, cache, saved, opening, storage }: {
    address: string; plan: Plan; decoder: Decoder; tokenizer: DecoderTokenizer; cache: KvCache; saved: SavedConversations | null; opening: Stage[]; storage: GeneratorStatus["storage"];
  }) {
    this.#address = address;
    this.#plan = plan;
    this.#decoder = decoder;
    this.#tokenizer = tokenizer;
    this.#cache = cache;
    this.#opening = opening;
    this.#storage = storage;
    const { template, bos, eos } = plan.decoder!;
    const name = (token: number | null | undefined): string => (token === null || token === undefined ? "" : tokenizer.token(token) ?? "");
    this.#template = new ChatTemplate(template, name(bos), name(eos[0]), PLAN_FILE);
    this.conversations = new Conversations({
      cache, saved,
      language: { segments: (messages) => this.#texts({ messages }), encode: (text) => tokenizer.encode(text) },
      answer: (read, request, signal, hear) => this.#answer(read.segments, request, { keep: request.private ? "memory" : "storage", tag: read.tag, slides: request.sliding }, signal, hear),
    });
  }

  get info(): GeneratorInfo {
    const { name, licence, source_sha256: source, decoder } = this.#plan;
    const { context, vocab, kv_block_bytes: bytes, kv_block: block } = decoder!;
    return { name, licence, source, context, vocab, kvBytes: bytes / block };
  }

  /** Answers when the text is over, or the call is aborted; the text itself goes through `hear`. */
  async generate(request: GenerateRequest, signal: AbortSignal, hear: (event: GenerationEvent) => void): Promise<GenerationStats> {
    return (await this.#answer(this.#segments(request.prompt), request, { keep: "prompt", tag: "", slides: false }, signal, hear)).stats;
  }

  async #answer(segments: readonly Segment[], { maxTokens, sampling, stop }: Omit<GenerateRequest, "prompt">, { keep, tag, slides }: { keep: Keep; tag: string; slides: boolean }, signal: AbortSignal, hear: (event: GenerationEvent) => void): Promise<Answer> {
    const started = performance.now();
    const { context, eos } = this.#plan.decoder!;
    const promptTokens = this.#fitting(segments, slides ? Infinity : context - 1);
    this.#running++;
    let lease: Lease | null = null;
    const stats: GenerationStats = { promptTokens, cachedTokens: 0, sources: { memory: 0, storage: 0, shipped: 0 }, ttftMs: 0, tokens: 0, tokensPerSecond: 0, reason: "length" };
    const answer: Answer = { stats, text: "", tokens: null, window: null };
    const tell = (text: string): void => {
      answer.text += text;
      if (text !== "") hear({ text });
    };
    const stops = new StopStrings(stop);
    let first = 0;
    try {
      lease = await this.#cache.acquire(segments, { signal, keep, tag });
      stats.cachedTokens = lease.cached;
      stats.sources = { ...lease.sources };
      hear({ start: startOf(stats) });
      const sampler = new Sampler(sampling);
      sampler.saw(lease.tokens);
      const text = new TextStream(this.#tokenizer);
      const sinks = slides ? sinkBlocks(segments, context) : 0;
      let logits = (await this.#fill(lease, promptTokens, true, signal, sinks))!;
      stats.sources = { ...lease.sources };
      stats.cachedTokens = stats.sources.memory + stats.sources.storage + stats.sources.shipped;
      const most = slides ? maxTokens : Math.min(maxTokens, context - promptTokens);
      for (;;) {
        const token = sampler.next(logits);
        const now = performance.now();
        stats.tokens++;
        if (stats.tokens === 1) stats.ttftMs = (first = now) - started;
        else stats.tokensPerSecond = ((stats.tokens - 1) / (now - first)) * 1000;
        if (eos.includes(token)) {
          stats.reason = "stop";
          break;
        }
        tell(stops.push(text.push(token)));
        if (stops.stopped) {
          stats.reason = "stop";
          break;
        }
        lease.append(token);
        if (stats.tokens === most) break;
        logits = (await this.#fill(lease, lease.tokens.length, true, signal, sinks))!;
      }
    } catch (error) {
      if (!(error instanceof PywasmError) || error.code !== "aborted") throw error;
      stats.reason = "aborted";
    } finally {
      if (lease && lease.tag !== tag) answer.window = { tag: lease.tag, tokens: lease.tokens.slice() };
      else if (lease && !stops.stopped) answer.tokens = lease.tokens.slice(promptTokens);
      lease?.release();
      this.#running--;
    }
    tell(stops.flush());
    this.#last = stats;
    return answer;
  }

  /** Of the token that follows the prompt. */
  async logits(prompt: Prompt, signal: AbortSignal): Promise<Float32Array> {
    const segments = this.#segments(prompt);
    const length = this.#fitting(segments, this.#plan.decoder!.context);
    const lease = await this.#cache.acquire(segments, { signal });
    try {
      return (await this.#fill(lease, length, true, signal))!.slice();
    } finally {
      lease.release();
    }
  }

  /** Computes the KV of a prompt that may come, while there is nothing else to do. Answers how many of its tokens were new. */
  async prefetch(segments: readonly TextSegment[], signal: AbortSignal): Promise<number> {
    const tokens = this.#segments({ segments });
    const length = this.#fitting(tokens, this.#plan.decoder!.context);
    const lease = await this.#cache.acquire(tokens, { signal });
    const known = lease.cached;
    try {
      // The last token is always run with the question behind it.
      await this.#fill(lease, length - 1, false, signal);
    } finally {
      lease.release();
    }
    return Math.max(0, length - 1 - known);
  }

  /** Indices of `documents` in the order in which most of them is cached behind `system`. */
  order(system: readonly TextSegment[], documents: readonly TextSegment[]): number[] {
    const tokens = (segments: readonly TextSegment[]): Int32Array[] => this.#segments({ segments }).map((segment) => segment.tokens);
    return orderDocuments(tokens(system), tokens(documents), (prefix) => this.#cache.known(prefix));
  }

  /** What the prompt's segments are in tokens. */
  tokenize(prompt: Prompt): Int32Array[] {
    return this.#segments(prompt).map(({ tokens }) => tokens);
  }

  status(): GeneratorStatus {
    return {
      name: this.#plan.name, ...this.#decoder.status(), activations: this.#plan.decoder!.activations, storage: this.#storage, opening: this.#opening,
      kv: this.#cache.status(), running: this.#running, last: this.#last,
    };
  }

  /** ms of every step for `rows` tokens at position `start`, with the output head: means (clocks are coarse) of the faster half of `repeat` runs after two that do not count. */
  async timings(rows: number, start: number, repeat: number, signal: AbortSignal): Promise<StepTiming[]> {
    const { steps, kernels } = this.#plan;
    const length = start + rows;
    const lease = await this.#cache.acquire([{ kind: "text", tokens: new Int32Array(length + 1).fill(1) }], { signal, keep: "memory" });
    const runs: Float64Array[] = [];
    try {
      lease.reserve(length);
      for (let run = -2; run < repeat; run++) {
        const ms = new Float64Array(steps.length);
        await this.#turns.take(() => this.#decoder.forward(new Int32Array(rows).fill(1), start, lease.table, { logits: true, signal, steps: ms }));
        if (run >= 0) runs.push(ms);
      }
    } finally {
      lease.release();
    }
    const total = (ms: Float64Array): number => ms.reduce((sum, one) => sum + one, 0);
    const fast = runs.sort((a, b) => total(a) - total(b)).slice(0, Math.ceil(repeat / 2));
    return steps.map(({ name, kernel, flops }, index) => ({
      name, kernel: kernels[kernel]!.name, ms: fast.reduce((sum, ms) => sum + ms[index]!, 0) / fast.length, flops: evaluate(flops, { rows }),
    }));
  }

  /** Removes what this browser stores of the model and its KV. */
  async clear(): Promise<void> {
    this.conversations.clear();
    await Promise.all([this.#cache.clear(), removeStore(this.#address)]);
  }

  close(): void {
    this.#cache.close();
    this.#decoder.close();
  }

  /**
   * Computes the KV of the lease's tokens below `end` that it has not got; `answer`: somebody waits
   * for it, and wants the logits of the last one. Where the context is full, half of what stands
   * behind the first `sinks` blocks is dropped, unless that is 0.
   */
  async #fill(lease: Lease, end: number, answer: boolean, signal: AbortSignal, sinks = 0): Promise<Float32Array | null> {
    const { chunk, context } = this.#plan.decoder!;
    let logits: Float32Array | null = null;
    while (lease.cached < end) {
      if (!answer) await this.#turns.idle();
      await lease.wait();
      logits = await this.#turns.take(async () => {
        let at = lease.advance();
        if (at >= end) return null;
        let rows = Math.min(end - at, this.#turns.waiting > 0 || !answer ? SMALL_CHUNK : chunk, lease.stretch);
        if (at + rows > context && sinks > 0) {
          end -= lease.slide(sinks, Math.max(1, (Math.floor(at / BLOCK_TOKENS) - sinks) >> 1));
          at = lease.cached;
          rows = Math.min(rows, context - at);
        }
        lease.reserve(at + rows);
        const from = performance.now();
        const found = await this.#decoder.forward(lease.tokens.subarray(at, at + rows), at, lease.table, { logits: answer && at + rows === end, signal });
        lease.computed(at + rows, performance.now() - from);
        return found;
      });
    }
    throwIfAborted(signal);
    return logits;
  }

  /** The prompt in tokens. In front of a plain text goes what the model was trained to begin with; templates write it themselves. */
  #segments(prompt: Prompt): Segment[] {
    const segments: Segment[] = this.#texts(prompt).map(({ kind, text, id }) => ({
      kind, ...(id !== undefined && { id }), tokens: this.#tokenizer.encode(LITERAL.includes(kind) ? this.#tokenizer.literal(text) : text),
    }));
    const { bos } = this.#plan.decoder!;
    const [first] = segments;
    if (bos !== null && typeof prompt === "string" && first && first.tokens[0] !== bos) first.tokens = Int32Array.of(bos, ...first.tokens);
    return segments;
  }

  #texts(prompt: Prompt): readonly TextSegment[] {
    if (typeof prompt === "string") return [{ kind: "text", text: prompt }];
    if ("segments" in prompt) return prompt.segments;
    if (this.#plan.decoder!.template === "") throw new PywasmError("argument", `${this.#plan.name} has no chat template: give a text or {segments}`);
    return this.#template.segments(prompt.messages, (text) => this.#tokenizer.literal(text));
  }

  /** How many tokens there are: at least one, and no more than `most`. */
  #fitting(segments: readonly Segment[], most: number): number {
    const length = segments.reduce((sum, { tokens }) => sum + tokens.length, 0);
    if (length === 0) throw new PywasmError("argument", "the prompt is empty");
    if (length > most) throw new PywasmError("argument", `the prompt has ${length} tokens, ${this.#plan.name} reads at most ${most}: leave out some of it`, { expected: `at most ${most} tokens` });
    return length;
  }
}

/** Blocks that a conversation never drops: the system prompt's, up to a quarter of the context. */
function sinkBlocks([first]: readonly Segment[], context: number): number {
  const wanted = first?.kind === "system" ? blocksOf(first.tokens.length) : 1;
  return Math.max(1, Math.min(wanted, (context / BLOCK_TOKENS) >> 2));
}

/** Most bytes of KV that are stored, and the share of what the browser gives this origin. */
const MOST_STORED = 1 << 30;
const STORED_SHARE = 0.2;

async function storageBudget(): Promise<number> {
  const { quota = MOST_STORED / STORED_SHARE } = (await navigator.storage?.estimate?.().catch(() => undefined)) ?? {};
  return Math.min(MOST_STORED, quota * STORED_SHARE);
}

function startOf({ promptTokens, cachedTokens, sources }: GenerationStats): GenerationStart {
  return { promptTokens, cachedTokens, sources };
}
