/** Tasks and winners for tests of tuning. */
import type { TuneTask, Winner } from "../../src/tuning/messages.ts";
import type { TuneWork } from "../../src/tuning/tasks.ts";

export function taskOf(kernel: number, rows = 32): TuneTask {
  const parameters = { K: 384, N: 384 * (kernel + 1) };
  return {
    kernel, name: `k${kernel}`, recipe: { kernel: "matmul", parameters, numeric: "fused", steps: [] },
    extents: { rows }, buffers: [], flops: 1000 - kernel,
  };
}

export function workOf(tasks: TuneTask[], compiler = "1.0+abc", shared = false): TuneWork {
  return { tasks, compiler, shared };
}

export function winnerOf({ kernel, name }: TuneTask, gain = 0.8): Winner {
  return { kernel, name, steps: [["split", "row", 6]], grid: ["quo", "rows", 6], gain, module: Uint8Array.of(0, 97, 115, 109, kernel) };
}
