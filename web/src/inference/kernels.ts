/** The functions of kernel modules in one thread, by the kernel's number in the plan. */
import type { Barrier } from "./barrier.ts";
import type { Call } from "./program.ts";

type Kernel = (...args: number[]) => void;

/** Kernels that a module brings: number in the plan, name of the export. */
export type KernelNames = readonly (readonly [number: number, name: string])[];

export class Kernels {
  readonly #memory: WebAssembly.Memory;
  readonly #functions: Kernel[] = [];

  constructor(memory: WebAssembly.Memory) {
    this.#memory = memory;
  }

  /** Puts the functions of `module` in place, all or none. Throws where it is not such a module. */
  adopt(module: WebAssembly.Module, names: KernelNames): void {
    const { exports } = new WebAssembly.Instance(module, { env: { memory: this.#memory } });
    const found = names.map(([number, name]): [number, Kernel] => {
      const kernel = exports[name];
      if (typeof kernel !== "function") throw new Error(`the module has no kernel ${name}`);
      return [number, kernel as Kernel];
    });
    for (const [number, kernel] of found) this.#functions[number] = kernel;
  }

  /**
   * Runs `calls` from number `from` on, together with the other threads. Answers the number of the
   * next one: fewer than all when `until` (performance.now()) is over, -1 when the flag is up.
   * `ends`: where to note when each call ended.
   */
  run(calls: readonly Call[], from: number, barrier: Barrier, until: number, ends: Float64Array | null): number {
    for (let number = from; number < calls.length; number++) {
      const { kernel, args, pieces } = calls[number]!;
      const run = this.#functions[kernel]!;
      if (barrier.threads === 1) run.apply(undefined, args);
      else {
        const last = pieces.length - 1;
        for (let piece = barrier.claim(number); piece < last; piece = barrier.claim(number)) {
          args[args.length - 2] = pieces[piece]!;
          args[args.length - 1] = pieces[piece + 1]!;
          run.apply(undefined, args);
        }
        if (!barrier.wait(number)) return -1;
      }
      const now = performance.now();
      if (ends) ends[number] = now;
      if (now > until) return number + 1;
    }
    return calls.length;
  }
}
