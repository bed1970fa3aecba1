/** Runs a plan's WebAssembly kernels, on one thread or several. */
import { PywasmError, throwIfAborted } from "../error.ts";
import type { Plan, Port } from "../generated/plan.ts";
import type { Adoption, Backend, RunOptions, Tensor, Tensors } from "./backend.ts";
import { evaluate, exprProblem, type Symbols } from "./expr.ts";
import type { KernelNames } from "./kernels.ts";
import { layOut, WEIGHTS_ADDRESS, type Layout } from "./layout.ts";
import { allocate, grow } from "./memory.ts";
import { compileProgram } from "./program.ts";
import { Runner, type Prepared } from "./runner.ts";
import type { BackendStatus } from "./types.ts";

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

interface Shape extends Prepared {
  layout: Layout;
}

export class WasmBackend implements Backend {
  readonly #setup: WasmSetup;
  readonly #memory: WebAssembly.Memory;
  readonly #runner: Runner;
  readonly #grids: Plan["kernels"][number]["variants"]["fused"]["grid"][];
  readonly #prepared = new Map<string, Shape>();
  readonly #adopted = new Map<number, string>();

  /** Allocates the memory; fails with code "memory" where the browser has not got so much. */
  constructor(setup: WasmSetup) {
    const { plan, numeric, shared, threads, largest, module, spawn } = setup;
    this.#setup = setup;
    const { bytes } = layOut(plan, largest, threads);
    this.#memory = allocate(bytes, HEADROOM, shared, plan);
    this.#runner = new Runner({ memory: this.#memory, module, names: namesOf(plan), threads: shared ? threads : 1, spawn });
    this.#grids = plan.kernels.map(({ variants }) => variants[numeric].grid);
  }

  place(offset: number, bytes: number): Uint8Array {
    return new Uint8Array(this.#memory.buffer, WEIGHTS_ADDRESS + offset, bytes);
  }

  start(): Promise<void> {
    return this.#runner.start();
  }

  async run(symbols: Symbols, inputs: Tensors, { signal, steps = null }: RunOptions = {}): Promise<Tensors> {
    throwIfAborted(signal);
    const { plan } = this.#setup;
    if (this.#runner.alone()) this.#prepared.clear();
    const prepared = this.#prepare(symbols);
    const { layout, calls } = prepared;
    grow(this.#memory, layout.bytes, plan);
    for (const port of plan.inputs) this.#write(port, layout, symbols, inputs[port.name]);
    const ends = steps && new Float64Array(calls.length);
    const from = performance.now();
    await this.#runner.execute(prepared, signal, ends);
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
    this.#runner.adopt(module, kernels.map(({ kernel, export: name }) => [kernel, name] as const));
    for (const { kernel, grid } of kernels) {
      this.#grids[kernel] = grid;
      this.#adopted.set(kernel, plan.kernels[kernel]!.name);
    }
    for (const [key] of this.#prepared) this.#forget(key);
  }

  status(): BackendStatus {
    const { plan, numeric, note } = this.#setup;
    const { threads } = this.#runner;
    const { scratch, stride } = layOut(plan, this.#setup.largest, threads);
    const total = this.#memory.buffer.byteLength;
    return {
      backend: "wasm", ...(note !== undefined && { note }), numeric, threads, adopted: [...this.#adopted.values()],
      memory: { weights: plan.weights.bytes, arena: scratch - WEIGHTS_ADDRESS - plan.weights.bytes, scratch: stride * threads, total },
    };
  }

  close(): void {
    this.#runner.close();
  }

  #prepare(symbols: Symbols): Shape {
    const { plan } = this.#setup;
    const key = plan.symbols.map((name) => symbols[name]).join();
    const known = this.#prepared.get(key);
    if (known) return known;
    for (const [oldest] of this.#prepared) {
      if (this.#prepared.size < PROGRAMS) break;
      this.#forget(oldest);
    }
    const layout = layOut(plan, symbols, this.#runner.threads);
    const program = compileProgram(plan, this.#grids, layout, symbols);
    const prepared = { ...this.#runner.prepare(program, layout.scratch, layout.stride), layout };
    this.#prepared.set(key, prepared);
    return prepared;
  }

  #forget(key: string): void {
    this.#runner.forget(this.#prepared.get(key)!);
    this.#prepared.delete(key);
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
}

const ARRAYS: Partial<Record<Port["dtype"], Float32ArrayConstructor | Int32ArrayConstructor | Uint8ArrayConstructor | Int8ArrayConstructor>> = {
  f32: Float32Array, i32: Int32Array, u8: Uint8Array, i8: Int8Array,
};

/** Of a plan's own kernels. */
export function namesOf({ kernels }: Plan): KernelNames {
  return kernels.map(({ export: name }, number) => [number, name] as const);
}
