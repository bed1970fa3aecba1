/** The functions of kernel modules in one thread, by the kernel's number in the plan. */
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

  /** Runs a part of the call's grid. */
  perform = ({ kernel, args }: Call, begin: number, end: number): void => {
    args[args.length - 2] = begin;
    args[args.length - 1] = end;
    this.#functions[kernel]!.apply(undefined, args);
  };

  /**
   * Runs all of `calls` from number `from` on, on this thread alone. Answers the number of the next
   * one: fewer than all when the time `until` (performance.now()) is over. `ends`: where to note
   * when each call ended.
   */
  run(calls: readonly Call[], from: number, until: number, ends: Float64Array | null): number {
    for (let number = from; number < calls.length; number++) {
      const { kernel, args } = calls[number]!;
      this.#functions[kernel]!.apply(undefined, args);
      const now = performance.now();
      if (ends) ends[number] = now;
      if (now > until) return number + 1;
    }
    return calls.length;
  }
}
