/** A compiled model in its worker: opened, run, asked. */
import { PywasmError } from "../error.ts";
import type { Plan, PlanEncoder } from "../generated/plan.ts";
import { Recorder } from "../recorder.ts";
import { tasksOf, type TuneWork } from "../tuning/tasks.ts";
import type { Stage } from "../types.ts";
import type { Adoption, Backend, Tensors } from "./backend.ts";
import { batches } from "./batches.ts";
import { evaluate, type Symbols } from "./expr.ts";
import { FallbackBackend } from "./fallback_backend.ts";
import type { ModelFiles } from "./files.ts";
import { compileKernels, deviceFor, locate, moduleFor } from "./opening.ts";
import { parsePlan, PLAN_FILE } from "./plan.ts";
import type { ModelInfo, OpenRequest } from "./protocol.ts";
import { removeStore } from "./store.ts";
import { Tokenizer } from "./tokenizer.ts";
import type { EncoderProgress, EncoderStatus, StepTiming } from "./types.ts";
import { WasmBackend } from "./wasm_backend.ts";
import { WebGpuBackend } from "./webgpu_backend.ts";
import { loadWeights } from "./weights.ts";

/** Tokens of one run, with padding: more gain nothing and take more memory. */
const ROWS = 512;
/** Kernels are tuned for runs of so many tokens, times a power of two: the next visit's runs count the same. */
const TUNED_TOKENS = 32;

type Hear = (event: EncoderProgress) => void;
type EncoderPlan = Plan & { encoder: PlanEncoder };

export class Model {
  readonly #address: string;
  readonly #plan: EncoderPlan;
  readonly #backend: Backend;
  readonly #tokenizer: Tokenizer;
  readonly #rows: number;
  readonly #marks: boolean;
  readonly #opening: Stage[];
  readonly #storage: EncoderStatus["storage"];
  #last: EncoderStatus["last"] = null;
  /** Of the last run; before the first, as of a typed question. */
  #tokensRun = TUNED_TOKENS;
  /** Fulfilled when the runs asked for so far are over. */
  #queue: Promise<unknown> = Promise.resolve();

  /** `spawn` starts a worker with this same script. */
  static async open(request: OpenRequest, spawn: () => Worker, hear: Hear, signal: AbortSignal): Promise<Model> {
    const { options } = request;
    const device = deviceFor(options.threads);
    const recorder = new Recorder(options.marks === true);
    const { address, text, files } = await recorder.stage("storage", () => locate(request, "encoder/", options.storage !== "memory", signal));
    const plan = encoderOf(parsePlan(text, PLAN_FILE));
    const { rows = ROWS, backend: wanted = "wasm" } = options;
    const kernels = moduleFor(plan, device);
    const seq = mostTokens(plan);
    if (wanted !== "wasm" && wanted !== "webgpu") throw new PywasmError("argument", `backend: "wasm" or "webgpu" expected, not ${JSON.stringify(wanted)}`);
    const total = plan.weights.bytes;
    const load = (into: Backend): Promise<void> => loadWeights(plan, files, (offset, bytes) => into.place(offset, bytes), (loaded) => hear({ status: "weights", file: PLAN_FILE, loaded, total }));
    const wasm = (note?: string): Backend => {
      const module = recorder.stage("kernels", () => compileKernels(files, kernels));
      module.catch(() => undefined);  // start() reports it
      return new WasmBackend({ plan, ...device, module, largest: { batch: Math.ceil(rows / seq), seq }, spawn, note });
    };
    const backend = wanted === "wasm" ? wasm() : await recorder.stage("gpu", () => openGpu(plan, files, wasm, load));
    try {
      const { tokenizer: file } = plan.encoder;
      const [tokenizer] = await Promise.all([
        recorder.stage("tokenizer", async () => new Tokenizer(await files.whole(file), seq, file.file)),
        recorder.stage("weights", () => load(backend)),
        recorder.stage("start", () => backend.start()),
      ]);
      const storage = { tier: files.tier, stored: files.stored, files: plan.weights.shards.length + 2 };
      void files.settle(text, [kernels, file, ...(wanted === "webgpu" && plan.wgsl ? [plan.wgsl] : []), ...plan.weights.shards]);
      return new Model({ ...request, address }, plan, backend, tokenizer, recorder.stages, storage);
    } catch (error) {
      backend.close();
      throw error;
    }
  }

  private constructor({ address, options }: OpenRequest, plan: EncoderPlan, backend: Backend, tokenizer: Tokenizer, opening: Stage[], storage: EncoderStatus["storage"]) {
    this.#address = address;
    this.#plan = plan;
    this.#backend = backend;
    this.#tokenizer = tokenizer;
    this.#rows = options.rows ?? ROWS;
    this.#marks = options.marks === true;
    this.#opening = opening;
    this.#storage = storage;
  }

  get info(): ModelInfo {
    const { name, licence, source_sha256: source, encoder } = this.#plan;
    return { name, licence, source, dim: encoder.dim, maxTokens: mostTokens(this.#plan) };
  }

  /** Vectors of `texts`, one after the other. */
  async encode(texts: readonly string[], kind: "query" | "document", signal: AbortSignal, hear: Hear): Promise<Float32Array> {
    const recorder = new Recorder(this.#marks);
    const { dim } = this.#plan.encoder;
    const vectors = new Float32Array(texts.length * dim);
    const ids = await recorder.stage("tokenize", () => this.#tokens(texts, kind));
    const groups = batches(ids.map(({ length }) => length), this.#rows);
    let done = 0;
    for (const group of groups) {
      const found = await recorder.stage("run", () => this.#run(inputsOf(this.#plan, group.map((index) => ids[index]!)), signal));
      group.forEach((index, row) => vectors.set(found.subarray(row * dim, (row + 1) * dim), index * dim));
      done += group.length;
      if (groups.length > 1) hear({ status: "encode", file: "", loaded: done, total: texts.length });
    }
    const tokens = ids.reduce((sum, { length }) => sum + length, 0);
    this.#last = { texts: texts.length, tokens, runs: groups.length, stages: recorder.stages };
    return vectors;
  }

  /** The plan on inputs of the caller's. */
  async run(inputs: Tensors, symbols: Symbols, signal: AbortSignal): Promise<Tensors> {
    const { symbols: names, limits } = this.#plan;
    for (const name of names) {
      const value = symbols[name];
      const most = limits[name] ?? 2 ** 24;
      if (!Number.isInteger(value) || value! < 1 || value! > most) throw new PywasmError("argument", `${name}: a whole number from 1 to ${most} expected, not ${String(value)}`);
    }
    const given = Object.fromEntries(names.map((name) => [name, symbols[name]!]));
    return this.#alone(() => this.#backend.run(given, inputs, { signal }));
  }

  /** ms of every step on `texts` as one batch: the median of `repeat` runs after one that does not count. */
  async timings(texts: readonly string[], repeat: number, signal: AbortSignal): Promise<StepTiming[]> {
    const { symbols, inputs } = inputsOf(this.#plan, this.#tokens(texts, "document"));
    const { steps, kernels } = this.#plan;
    const samples = steps.map((): number[] => []);
    for (let run = 0; run <= repeat; run++) {
      const ms = new Float64Array(steps.length);
      await this.#alone(() => this.#backend.run(symbols, inputs, { signal, steps: ms }));
      if (run > 0) samples.forEach((values, index) => values.push(ms[index]!));
    }
    return steps.map(({ name, kernel, flops }, index) => ({
      name, kernel: kernels[kernel]!.name, ms: median(samples[index]!), flops: evaluate(flops, symbols),
    }));
  }

  adopt(adoption: Adoption): Promise<void> {
    return this.#alone(async () => this.#backend.adopt(adoption));
  }

  /** What there is to tune, for runs of about as many tokens as the last; on a GPU nothing. */
  tuneWork(): TuneWork {
    const { backend, numeric, threads } = this.#backend.status();
    let seq = TUNED_TOKENS;
    while (seq < this.#tokensRun) seq *= 2;
    const shape = { batch: 1, seq: Math.min(seq, mostTokens(this.#plan)) };
    return { tasks: backend === "wasm" ? tasksOf(this.#plan, numeric, shape) : [], compiler: this.#plan.compiler, shared: threads > 1 };
  }

  status(): EncoderStatus {
    return { name: this.#plan.name, ...this.#backend.status(), storage: this.#storage, opening: this.#opening, last: this.#last };
  }

  clear(): Promise<void> {
    return removeStore(this.#address);
  }

  close(): void {
    this.#backend.close();
  }

  #tokens(texts: readonly string[], kind: "query" | "document"): number[][] {
    const { query_prefix: query, document_prefix: document } = this.#plan.encoder;
    const prefix = kind === "query" ? query : document;
    return texts.map((text) => this.#tokenizer.encode(prefix + text));
  }

  async #run({ symbols, inputs }: ReturnType<typeof inputsOf>, signal: AbortSignal): Promise<Float32Array> {
    this.#tokensRun = symbols["batch"]! * symbols["seq"]!;
    const outputs = await this.#alone(() => this.#backend.run(symbols, inputs, { signal }));
    return outputs[this.#plan.outputs[0]!.name] as Float32Array;
  }

  /** Does `work` when the runs asked for before are over. */
  #alone<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#queue.then(work);
    this.#queue = turn.catch(() => undefined);
    return turn;
  }
}

/** A GPU's, replaced by `wasm` where there is none, or once it is lost; status() says why. */
async function openGpu(plan: Plan, files: ModelFiles, wasm: (note: string) => Backend, load: (into: Backend) => Promise<void>): Promise<Backend> {
  try {
    const gpu = await WebGpuBackend.open(plan, () => files.whole(plan.wgsl!));
    return new FallbackBackend(gpu, async (why) => {
      const other = wasm(why);
      try {
        await Promise.all([load(other), other.start()]);
      } catch (error) {
        other.close();
        throw error;
      }
      return other;
    });
  } catch (error) {
    if (!(error instanceof PywasmError) || error.code !== "unsupported") throw error;
    return wasm(error.message);
  }
}

/** A batch of token ids, padded to the longest, as the plan's inputs. */
function inputsOf(plan: Plan, texts: readonly (readonly number[])[]): { symbols: Symbols; inputs: Tensors } {
  const batch = texts.length;
  const seq = Math.max(...texts.map(({ length }) => length));
  const ids = new Int32Array(batch * seq);
  texts.forEach((text, row) => ids.set(text, row * seq));
  const known: Tensors = { ids, lengths: Int32Array.from(texts, ({ length }) => length), types: new Int32Array(batch * seq) };
  return { symbols: { batch, seq }, inputs: Object.fromEntries(plan.inputs.map(({ name }) => [name, known[name]!])) };
}

function encoderOf(plan: Plan): EncoderPlan {
  if (!plan.encoder) throw new PywasmError("argument", `${plan.name} is a ${plan.kind}: it makes no vectors`);
  return plan as EncoderPlan;
}

function mostTokens({ encoder, limits }: EncoderPlan): number {
  return Math.min(encoder.max_tokens, limits["seq"] ?? Infinity);
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1] ?? 0;
}
