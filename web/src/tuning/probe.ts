/** The device as the kernel compiler wants to know it, measured in a few dozen milliseconds. */
import { hasRelaxedSimd } from "../inference/features.ts";
import type { PythonTuner } from "./python.ts";

/** pywasm_jit.device.Device; peaks in 10^9 operations a second of one thread. */
export interface Device {
  relaxed: boolean;
  fused: boolean;
  threads: number;
  peak_fused: number;
  peak_separate: number;
  peak_dot: number;
}

/** Of one step of device.py's loops: 4 rounds of 12 vectors. */
const FLOPS = { peak_fused: 4 * 12 * 8, peak_separate: 4 * 12 * 8, peak_dot: 4 * 12 * 32 } as const;
/** A round takes a millisecond or two, since a page's clock may tick in tenths of one; the first ones are in V8's slow tier. */
const STEPS = 4000;
const CALLS = 48;
const ROUNDS = 8;

export function probe(python: PythonTuner): Device {
  const relaxed = hasRelaxedSimd();
  const device: Device = { relaxed, fused: false, threads: navigator.hardwareConcurrency || 1, peak_fused: 0, peak_separate: 0, peak_dot: 0 };
  for (const name of ["peak_separate", "peak_dot", "peak_fused"] as const) {
    if (name === "peak_fused" && !relaxed) continue;
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 65536 });
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(python.probe(name === "peak_dot" && relaxed ? "peak_dot_relaxed" : name)), { env: { memory } });
    const run = exports["run"] as (...args: number[]) => void;
    const args = name === "peak_dot" ? [0, 1024, STEPS, 0, 1] : [0, STEPS, 0, 1];
    let best = Infinity;
    for (let round = 0; round < ROUNDS; round++) {
      const from = performance.now();
      for (let call = 0; call < CALLS; call++) run(...args);
      best = Math.min(best, performance.now() - from);
    }
    device[name] = (FLOPS[name] * STEPS * CALLS) / best / 1e6;
    if (name === "peak_fused") device.fused = roundsOnce(memory, run);
  }
  return device;
}

/** Whether relaxed multiply-add is fused: (1 + e)(1 - e) - 1 is -e * e if rounded once, else 0. */
function roundsOnce(memory: WebAssembly.Memory, run: (...args: number[]) => void): boolean {
  const values = new Float32Array(memory.buffer, 0, 56);
  const e = 2 ** -13;
  // The loop adds the product four times: from -4 the last addition is that of -1.
  values.fill(-4, 0, 48).fill(1 + e, 48, 52).fill(1 - e, 52, 56);
  run(0, 1, 0, 1);
  return values[0] !== 0;
}
