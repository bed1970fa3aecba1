/**
 * A compiled decoder: its weights, its working memory and the KV arena at the end of one WebAssembly
 * memory, and the programs that run over them. What is cached and for whom is decided above (cache.ts).
 */
import { PywasmError, throwIfAborted } from "../error.ts";
import type { Plan, PlanDecoder, Port } from "../generated/plan.ts";
import { evaluate } from "../inference/expr.ts";
import { layOut, megabytes, WEIGHTS_ADDRESS, type Layout } from "../inference/layout.ts";
import { allocate } from "../inference/memory.ts";
import type { Device } from "../inference/opening.ts";
import { compileProgram } from "../inference/program.ts";
import { Runner, type Prepared } from "../inference/runner.ts";
import { namesOf } from "../inference/wasm_backend.ts";
import { MemoryArena } from "./arena.ts";
import { KvKernels } from "./kv_kernels.ts";

/** Numbers of rows whose programs are kept; one token and a full chunk are most of all runs. */
const PROGRAMS = 32;

export interface DecoderSetup {
  plan: Plan;
  device: Device;
  /** The kernels, maybe still being compiled. */
  module: Promise<WebAssembly.Module>;
  /** Most bytes of KV. */
  kv: number;
  /** Starts a worker that serves a thread. */
  spawn: () => Worker;
}

export interface ForwardOptions {
  /** Answer the logits of the last row. */
  logits: boolean;
  signal?: AbortSignal | undefined;
  /** Takes the ms of each step. */
  steps?: Float64Array | null;
}

export class Decoder {
  readonly arena: MemoryArena;
  /** null where the plan has none. */
  readonly kernels: KvKernels | null;
  readonly #setup: DecoderSetup;
  readonly #config: PlanDecoder;
  readonly #memory: WebAssembly.Memory;
  readonly #layout: Layout;
  readonly #runner: Runner;
  readonly #programs = new Map<string, Prepared>();
  readonly #logits: Float32Array<ArrayBuffer>;
  readonly #ports: Record<"ids" | "place" | "table" | "logits", Port>;

  /** Allocates all memory but the KV's; fails with code "memory" where the browser has not got so much. */
  constructor(setup: DecoderSetup) {
    const { plan, device, module, kv, spawn } = setup;
    this.#setup = setup;
    this.#config = plan.decoder!;
    this.#logits = new Float32Array(this.#config.vocab);
    this.#layout = decoderLayout(plan, device.threads);
    this.#memory = allocate(this.#layout.bytes, kv, device.shared, plan);
    this.arena = new MemoryArena(this.#memory, this.#layout.bytes, this.#config.kv_block_bytes);
    this.#runner = new Runner({ memory: this.#memory, module, names: namesOf(plan), threads: device.threads, spawn });
    this.kernels = KvKernels.of({ plan, numeric: device.numeric, memory: this.#memory, runner: this.#runner, layout: this.#layout, arena: this.arena });
    const port = (name: string): Port => [...plan.inputs, ...plan.outputs].find((one) => one.name === name)!;
    this.#ports = { ids: port("ids"), place: port("place"), table: port("table"), logits: port("logits") };
  }

  /** Where the weights go: the place of `bytes` of them from `offset` on. */
  place(offset: number, bytes: number): Uint8Array {
    return new Uint8Array(this.#memory.buffer, WEIGHTS_ADDRESS + offset, bytes);
  }

  /** Makes ready to run; may go on while weights come in. */
  start(): Promise<void> {
    return this.#runner.start();
  }

  /**
   * Runs the tokens `ids` (as many as a chunk at most) at positions from `start` on. Their KV goes to
   * the blocks of `table`, where that of all earlier positions is. One run at a time. Answers the
   * logits of the last token if they are asked for, in an array that the next run changes. After an abort the KV of `ids` is undefined.
   */
  async forward(ids: Int32Array, start: number, table: Int32Array, { logits, signal, steps = null }: ForwardOptions): Promise<Float32Array<ArrayBuffer> | null> {
    throwIfAborted(signal);
    this.#check(ids, start, table);
    if (this.#runner.alone()) this.#programs.clear();
    this.#input("ids").set(ids);
    this.#input("place").set([start, ids.length]);
    this.#input("table").set(table.subarray(0, Math.ceil((start + ids.length) / this.#config.kv_block)));
    const prepared = this.#prepare(ids.length, logits);
    const ends = steps && new Float64Array(prepared.calls.length);
    const from = performance.now();
    await this.#runner.execute(prepared, signal, ends);
    ends?.forEach((end, index) => (steps![index] = end - (index === 0 ? from : ends[index - 1]!)));
    if (!logits) return null;
    // Always the same array: a new one of that size costs ten times the copy.
    this.#logits.set(new Float32Array(this.#memory.buffer as ArrayBuffer, this.#layout.slots[this.#ports.logits.slot], this.#config.vocab));
    return this.#logits;
  }

  status(): { numeric: "fused" | "separate"; threads: number; memory: { weights: number; arena: number; scratch: number; kv: number; total: number } } {
    const { plan, device } = this.#setup;
    const { scratch, stride, bytes } = this.#layout;
    const total = this.#memory.buffer.byteLength;
    return {
      numeric: device.numeric, threads: this.#runner.threads,
      memory: { weights: plan.weights.bytes, arena: scratch - WEIGHTS_ADDRESS - plan.weights.bytes, scratch: stride * device.threads, kv: total - bytes, total },
    };
  }

  close(): void {
    this.#runner.close();
  }

  /** The kernels trust what they read from these. */
  #check(ids: Int32Array, start: number, table: Int32Array): void {
    const { chunk, context, kv_block: block, vocab } = this.#config;
    const end = start + ids.length;
    if (ids.length < 1 || ids.length > chunk) throw new PywasmError("argument", `from 1 to ${chunk} tokens at a time expected, found ${ids.length}`);
    if (!(start >= 0 && end <= context)) throw new PywasmError("argument", `positions ${start} to ${end - 1}: the context has ${context}`);
    for (const id of ids) if (!(id >= 0 && id < vocab)) throw new PywasmError("argument", `token ${id}: the vocabulary has ${vocab}`);
    for (let index = 0; index * block < end; index++) {
      const number = table[index];
      if (number === undefined || number < 0 || number >= this.arena.capacity) throw new PywasmError("argument", `the KV of position ${index * block} is in block ${String(number)} of ${this.arena.capacity}`);
    }
  }

  #input(name: "ids" | "place" | "table"): Int32Array {
    const port = this.#ports[name];
    const length = port.shape.reduce<number>((product, size) => product * evaluate(size, largest(this.#setup.plan)), 1);
    return new Int32Array(this.#memory.buffer as ArrayBuffer, this.#layout.slots[port.slot], length);
  }

  #prepare(rows: number, logits: boolean): Prepared {
    const key = `${rows}${logits ? " logits" : ""}`;
    const known = this.#programs.get(key);
    if (known) {
      // The one that was used last is the last to go.
      this.#programs.delete(key);
      this.#programs.set(key, known);
      return known;
    }
    for (const [oldest, program] of this.#programs) {
      if (this.#programs.size < PROGRAMS) break;
      this.#runner.forget(program);
      this.#programs.delete(oldest);
    }
    const { plan, device } = this.#setup;
    const grids = plan.kernels.map(({ variants }) => variants[device.numeric].grid);
    const steps = plan.steps.slice(0, logits ? undefined : this.#config.head);
    const program = compileProgram({ ...plan, steps }, grids, this.#layout, { rows });
    const prepared = this.#runner.prepare(program, this.#layout.scratch, this.#layout.stride);
    this.#programs.set(key, prepared);
    return prepared;
  }
}

/** Where things lie for every number of rows: slots of a full chunk, then the KV arena. */
export function decoderLayout(plan: Plan, threads: number): Layout {
  return layOut(plan, largest(plan), threads);
}

function largest({ decoder }: Plan): { rows: number } {
  return { rows: decoder!.chunk };
}

/** Tokens of KV without which a model is not worth opening. */
const LEAST_TOKENS = 512;
/** Share of a device's memory that a page can have before the system ends it. */
const SHARE = 0.5;

/**
 * How many bytes of KV there may be on this device: `wanted`, or by what is known of it. Fails with
 * code "memory" where the model itself is too large: before anything is downloaded.
 */
export function kvBudget(plan: Plan, threads: number, wanted: number | "auto"): number {
  const { kv_block: block, kv_block_bytes: bytes, context } = plan.decoder!;
  const own = decoderLayout(plan, threads).bytes;
  const least = (Math.min(LEAST_TOKENS, context) / block) * bytes;
  // GB, rounded to a power of two and at most 8; not in every browser.
  const device = (navigator as { deviceMemory?: number }).deviceMemory;
  const most = device === undefined ? Infinity : device * SHARE * 2 ** 30;
  if (own + least > most) {
    throw new PywasmError("memory", `${plan.name} needs ${megabytes(own + least)} of memory (${megabytes(plan.weights.bytes)} of it for weights), more than a page can have on this device with ${device} GB: choose a smaller model`);
  }
  if (wanted !== "auto") {
    if (wanted < bytes) throw new PywasmError("argument", `memory: at least the ${bytes} bytes of ${block} tokens expected, not ${wanted}`);
    return Math.floor(wanted / bytes) * bytes;
  }
  const room = Math.min(DEFAULT_KV, most - own, ADDRESSES - own);
  return Math.max(1, Math.floor(room / bytes)) * bytes;
}

/** Most bytes of KV unless the page says otherwise. */
const DEFAULT_KV = 256 << 20;
/** All that addresses of 32 bits reach, less a page. */
const ADDRESSES = 2 ** 32 - 65536;
