/** What executes a plan. The session above it knows texts and weights, the backend arithmetic. */
import type { Plan } from "../generated/plan.ts";
import type { Symbols } from "./expr.ts";
import type { BackendStatus } from "./types.ts";

export type Tensor = Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer> | Uint8Array<ArrayBuffer> | Int8Array<ArrayBuffer>;
export type Tensors = Record<string, Tensor>;

/** New functions for some of the plan's kernels, compiled for this backend's numeric class and memory. */
export interface Adoption {
  module: WebAssembly.Module;
  /** `grid`: the iterations that threads share, over the kernel's extents. */
  kernels: readonly { kernel: number; export: string; grid: Plan["kernels"][number]["variants"]["fused"]["grid"] }[];
}

export interface RunOptions {
  signal?: AbortSignal | undefined;
  /** Takes the ms of each step. */
  steps?: Float64Array | null;
}

export interface Backend {
  /**
   * Where the weights go: the place of `bytes` of them from `offset` on, to be filled.
   * On memory that threads share it is a view of that.
   */
  place(offset: number, bytes: number): Uint8Array;
  /** Makes ready to run; may go on while weights come in. */
  start(): Promise<void>;
  /** One run of the plan; one at a time, started and with all weights in place. */
  run(symbols: Symbols, inputs: Tensors, options?: RunOptions): Promise<Tensors>;
  /** From the next run on. Throws if the module is not what it should be; nothing has changed then. */
  adopt(adoption: Adoption): void;
  status(): BackendStatus;
  close(): void;
}
