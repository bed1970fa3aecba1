/** Runs a plan's WebAssembly kernels, on one thread or several. */
import { PywasmError, throwIfAborted } from "../error.ts";
import type { Plan, Port } from "../generated/plan.ts";
import type { Adoption, Backend, RunOptions, Tensor, Tensors } from "./backend.ts";
import { Crew } from "./crew.ts";
import { evaluate, exprProblem, type Symbols } from "./expr.ts";
import { Kernels, type KernelNames } from "./kernels.ts";
import { layOut, megabytes, PAGE_BYTES, WEIGHTS_ADDRESS, type Layout } from "./layout.ts";
import { Pool } from "./pool.ts";
import { callsOf, compileProgram, type Call } from "./program.ts";
import type { ThreadMessage } from "./thread.ts";
import type { BackendStatus } from "./types.ts";

/** How long thread 0 stays away from its messages, ms: an abort is heard within that. */
const SLICE_MS = 25;
/** Shapes whose calls are kept. */
const PROGRAMS = 64;
/** What memory may grow to beyond what it has when it is made, bytes: reserved, not used. */
const HEADROOM = 512 << 20;

export interface WasmSetup {
  plan: Plan;
  numeric: "fused" | "separate";
  /** The kernels, maybe still being compiled. */
  module: Promise<WebAssembly.Module>;
  /** Memory that threads share; without it `threads` is 1. */
  shared: boolean;
  threads: number;
  /** The largest shape to expect; larger ones make the memory grow. */
  largest: Symbols;
  /** Starts a worker that serves a thread. */
  spawn: () => Worker;
  /** For status(): why this is not the backend that was asked for. */
  note?: string | undefined;
}

interface Prepared {
  id: number;
  layout: Layout;
  calls: Call[];
}

export class WasmBackend implements Backend {
  readonly #setup: WasmSetup;
  readonly #memory: WebAssembly.Memory;
  readonly #kernels: Kernels;
  readonly #names: KernelNames;
  readonly #grids: Plan["kernels"][number]["variants"]["fused"]["grid"][];
  readonly #prepared = new Map<string, Prepared>();
  readonly #adopted = new Map<number, string>();
  #pool: Pool | null = null;
  #closed = false;
  #threads = 1;
  #lastId = 0;
  #lastRun = 0;
  /** When messages want to be looked at again. */
  #until = 0;

  /** Allocates the memory; fails with code "memory" where the browser has not got so much. */
  constructor(setup: WasmSetup) {
    const { plan, numeric, shared, threads, largest } = setup;
    this.#setup = setup;
    const { bytes } = layOut(plan, largest, threads);
    this.#memory = allocate(bytes, shared, plan);
    this.#kernels = new Kernels(this.#memory);
    this.#names = plan.kernels.map(({ export: name }, number) => [number, name] as const);
    this.#grids = plan.kernels.map(({ variants }) => variants[numeric].grid);
  }

  place(offset: number, bytes: number): Uint8Array {
    return new Uint8Array(this.#memory.buffer, WEIGHTS_ADDRESS + offset, bytes);
  }

  async start(): Promise<void> {
    const { shared, threads, spawn } = this.#setup;
    const module = await this.#setup.module;
    if (this.#closed) throw closed();
    this.#instantiate(module, this.#names);
    if (!shared || threads === 1) return;
    const start = Array.from({ length: threads - 1 }, (): ThreadMessage => ({ kind: "start", memory: this.#memory, module, names: this.#names, threads }));
    // A browser that starts no workers in workers still has this thread.
    const pool = await Pool.start(start, spawn).catch(() => null);
    if (this.#closed) {
      pool?.end();
      throw closed();
    }
    if (!pool) return;
    this.#pool = pool;
    this.#threads = threads;
  }

  async run(symbols: Symbols, inputs: Tensors, { signal, steps = null }: RunOptions = {}): Promise<Tensors> {
    throwIfAborted(signal);
    const { plan } = this.#setup;
    if (this.#pool?.lost) this.#alone();
    const { id, layout, calls } = this.#prepare(symbols);
    this.#grow(layout.bytes);
    for (const port of plan.inputs) this.#write(port, layout, symbols, inputs[port.name]);
    const ends = steps && new Float64Array(calls.length);
    const from = performance.now();
    await this.#execute(id, calls, signal, ends);
    ends?.forEach((end, index) => (steps![index] = end - (index === 0 ? from : ends[index - 1]!)));
    return Object.fromEntries(plan.outputs.map((port) => [port.name, this.#read(port, layout, symbols)]));
  }

  adopt({ module, kernels }: Adoption): void {
    const { plan } = this.#setup;
    for (const { kernel, grid } of kernels) {
      const known = plan.kernels[kernel];
      const problem = known ? exprProblem(grid, known.extents) : "the plan has no such kernel";
      if (problem) throw new PywasmError("corrupt", `the kernels can't be used: number ${kernel}: ${problem}`);
    }
    const names = kernels.map(({ kernel, export: name }) => [kernel, name] as const);
    this.#instantiate(module, names);
    this.#pool?.post({ kind: "adopt", module, names });
    for (const { kernel, grid } of kernels) {
      this.#grids[kernel] = grid;
      this.#adopted.set(kernel, plan.kernels[kernel]!.name);
    }
    for (const [key] of this.#prepared) this.#forget(key);
  }

  status(): BackendStatus {
    const { plan, numeric, note } = this.#setup;
    const { scratch, stride } = layOut(plan, this.#setup.largest, this.#threads);
    const total = this.#memory.buffer.byteLength;
    const ofScratch = stride * this.#threads;
    return {
      backend: "wasm", ...(note !== undefined && { note }), numeric, threads: this.#threads, adopted: [...this.#adopted.values()],
      memory: { weights: plan.weights.bytes, arena: scratch - WEIGHTS_ADDRESS - plan.weights.bytes, scratch: ofScratch, total },
    };
  }

  close(): void {
    this.#closed = true;
    this.#endThreads();
  }

  #endThreads(): void {
    this.#pool?.end();
    this.#pool = null;
  }

  async #execute(id: number, calls: readonly Call[], signal: AbortSignal | undefined, ends: Float64Array | null): Promise<void> {
    // After a pause there can't be anything that waits.
    const now = performance.now();
    if (now > this.#until + SLICE_MS) this.#until = now + SLICE_MS;
    await this.#breathe(signal);
    try {
      if (this.#pool) await this.#together(this.#pool, id, calls, signal, ends);
      else {
        for (let next = 0; next < calls.length;) {
          next = this.#kernels.run(calls, next, this.#until, ends);
          if (next < calls.length) await this.#breathe(signal);
        }
      }
    } catch (error) {
      throw error instanceof WebAssembly.RuntimeError ? new PywasmError("worker", `a kernel failed: ${error.message}`, { cause: error }) : error;
    }
  }

  async #together(pool: Pool, id: number, calls: readonly Call[], signal: AbortSignal | undefined, ends: Float64Array | null): Promise<void> {
    const run = ++this.#lastRun;
    const crew = new Crew(this.#memory, run, calls);
    crew.open();
    pool.run(run, id);
    try {
      while (!crew.work(this.#kernels.perform, this.#until, ends)) await this.#breathe(signal);
    } catch (error) {
      crew.fail();
      await pool.idle().catch(() => undefined);
      throw error;
    }
    if (crew.failed) await pool.idle();
    // Who does not even answer now is done without from the next run on.
    else if (pool.behind) await pool.idle().catch(() => undefined);
  }

  /** Lets messages that have come in be handled, if it is time to. */
  async #breathe(signal: AbortSignal | undefined): Promise<void> {
    if (performance.now() < this.#until) return;
    await new Promise<void>((resolve) => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => {
        port1.close();
        resolve();
      };
      port2.postMessage(null);
    });
    this.#until = performance.now() + SLICE_MS;
    throwIfAborted(signal);
  }

  /** A thread is gone: this one goes on without any. */
  #alone(): void {
    this.#endThreads();
    this.#threads = 1;
    this.#prepared.clear();
  }

  #prepare(symbols: Symbols): Prepared {
    const key = this.#setup.plan.symbols.map((name) => symbols[name]).join();
    const known = this.#prepared.get(key);
    if (known) return known;
    for (const [oldest] of this.#prepared) {
      if (this.#prepared.size < PROGRAMS) break;
      this.#forget(oldest);
    }
    const { plan } = this.#setup;
    const layout = layOut(plan, symbols, this.#threads);
    const program = compileProgram(plan, this.#grids, layout, symbols);
    const id = ++this.#lastId;
    for (let thread = 1; thread < this.#threads; thread++) {
      this.#pool?.send(thread - 1, { kind: "program", id, program, scratch: layout.scratch + thread * layout.stride });
    }
    const prepared = { id, layout, calls: callsOf(program, layout.scratch, this.#threads) };
    this.#prepared.set(key, prepared);
    return prepared;
  }

  #forget(key: string): void {
    const { id } = this.#prepared.get(key)!;
    this.#prepared.delete(key);
    this.#pool?.post({ kind: "forget", id });
  }

  #grow(bytes: number): void {
    const missing = bytes - this.#memory.buffer.byteLength;
    if (missing <= 0) return;
    try {
      this.#memory.grow(Math.ceil(missing / PAGE_BYTES));
    } catch (cause) {
      throw noMemory(bytes, this.#setup.plan, cause);
    }
  }

  #write(port: Port, layout: Layout, symbols: Symbols, values: Tensor | undefined): void {
    const target = this.#view(port, layout, symbols);
    if (values?.constructor !== target.constructor || values.length !== target.length) {
      throw new PywasmError("argument", `input ${port.name}: ${target.constructor.name} of ${target.length} expected, found ${values ? `${values.constructor.name} of ${values.length}` : "nothing"}`);
    }
    target.set(values);
  }

  #read(port: Port, layout: Layout, symbols: Symbols): Tensor {
    const view = this.#view(port, layout, symbols);
    const copy = new (view.constructor as Float32ArrayConstructor)(view.length);
    copy.set(view);
    return copy;
  }

  #view(port: Port, layout: Layout, symbols: Symbols): Tensor {
    const length = port.shape.reduce<number>((product, size) => product * evaluate(size, symbols), 1);
    const view = ARRAYS[port.dtype];
    if (!view) throw new PywasmError("corrupt", `${port.name}: ${port.dtype} can't be an input or output`);
    const most = evaluate(this.#setup.plan.slots[port.slot]!.bytes, symbols);
    // NaN, too.
    if (!(length >= 0 && length * view.BYTES_PER_ELEMENT <= most)) {
      throw new PywasmError("corrupt", `${port.name}: ${length} x ${port.dtype} in a slot of ${most} bytes`);
    }
    return new view(this.#memory.buffer as ArrayBuffer, layout.slots[port.slot], length);
  }

  #instantiate(module: WebAssembly.Module, names: KernelNames): void {
    try {
      this.#kernels.adopt(module, names);
    } catch (cause) {
      throw new PywasmError("corrupt", `the kernels can't be used: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    }
  }
}

const ARRAYS: Partial<Record<Port["dtype"], Float32ArrayConstructor | Int32ArrayConstructor | Uint8ArrayConstructor | Int8ArrayConstructor>> = {
  f32: Float32Array, i32: Int32Array, u8: Uint8Array, i8: Int8Array,
};

function allocate(bytes: number, shared: boolean, plan: Plan): WebAssembly.Memory {
  const initial = Math.ceil(bytes / PAGE_BYTES);
  const maximum = Math.min(65536, initial + HEADROOM / PAGE_BYTES);
  try {
    return new WebAssembly.Memory({ initial, maximum, shared });
  } catch (cause) {
    throw noMemory(bytes, plan, cause);
  }
}

function closed(): PywasmError {
  return new PywasmError("closed", "the encoder is closed");
}

function noMemory(bytes: number, { name, weights }: Plan, cause: unknown): PywasmError {
  return new PywasmError("memory", `${name} needs ${megabytes(bytes)} of memory (${megabytes(weights.bytes)} of it for weights), which the browser did not give`, { cause });
}
