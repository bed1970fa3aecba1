/** What the tuner's worker and whoever started it say to each other. */
import type { KernelBuffer, Recipe } from "../generated/plan.ts";

/** A kernel on the shape it is to be fast on. */
export interface TuneTask {
  /** Its number in the plan, and the name its function is exported by. */
  kernel: number;
  name: string;
  recipe: Recipe;
  extents: Record<string, number>;
  buffers: KernelBuffer[];
  flops: number;
}

export interface TuneStart {
  kind: "start";
  /** Address of the folder of Pyodide, and of the wheel of pywasm_jit. */
  pyodide: string;
  wheel: string;
  tasks: TuneTask[];
  /** Whether winners are for memory that threads share. */
  shared: boolean;
  /** Of all tasks together once Python runs, ms; what is not tuned by then keeps its default. */
  limitMs: number;
}

export type ToTuner = TuneStart | { kind: "pause" } | { kind: "resume" };

/** A kernel that is faster here than the default. */
export interface Winner {
  kernel: number;
  name: string;
  /** The steps of its schedule. */
  steps: unknown[];
  /** Its grid, over the kernel's extents. */
  grid: unknown;
  /** Its time over the default's. */
  gain: number;
  module: Uint8Array;
}

export interface TuneStats {
  bootMs: number;
  tuneMs: number;
  emitMs: number;
  compileMs: number;
  candidates: number;
  /** Candidates whose result differed from the default's, or that failed. */
  discarded: number;
}

export type FromTuner =
  | { kind: "progress"; stage: "booting" | "probing" | "tuning"; done: number; total: number }
  /** Of task number `task`; null: its default is the fastest. */
  | { kind: "decided"; task: number; winner: Winner | null }
  | { kind: "done"; device: unknown; stats: TuneStats; reason?: string }
  | { kind: "failed"; reason: string };
