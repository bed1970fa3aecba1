/**
 * Where the threads of a run share out a step's work and meet at its end. They spin for about as
 * long as waking up would take, then sleep. Whoever fails or gives up raises the flag and leaves,
 * and so does everybody who sees it; between runs nobody is here.
 */
import { CONTROL_BYTES } from "./layout.ts";

// Cells of the control block, each in a cache line of its own.
const ARRIVED = 0;
const GENERATION = 16;
const FLAG = 32;
/** The next piece of work that nobody has taken, of even and of odd steps. */
const NEXT = 48;
const ODD = 16;

/** Looks at the generation before a thread sleeps. */
const SPINS = 10_000;
/** How long a step of another thread may take, ms, before it counts as dead. */
const PATIENCE_MS = 10_000;

/** The control block: what a memory begins with. */
export function controlOf(memory: WebAssembly.Memory): Int32Array {
  return new Int32Array(memory.buffer, 0, CONTROL_BYTES / 4);
}

export class Barrier {
  readonly #cells: Int32Array;
  readonly threads: number;

  constructor(cells: Int32Array, threads: number) {
    this.#cells = cells;
    this.threads = threads;
  }

  get raised(): boolean {
    return this.threads > 1 && Atomics.load(this.#cells, FLAG) !== 0;
  }

  /** Ends the run for all threads. */
  raise(): void {
    if (this.threads === 1) return;
    Atomics.store(this.#cells, FLAG, 1);
    Atomics.add(this.#cells, GENERATION, 1);
    Atomics.notify(this.#cells, GENERATION);
  }

  /** For the next run, when nobody is in one. */
  reset(): void {
    for (const cell of [ARRIVED, FLAG, NEXT, NEXT + ODD]) Atomics.store(this.#cells, cell, 0);
  }

  /** The number of a piece of step `step` that is this thread's now; there may be none of that number. */
  claim(step: number): number {
    return Atomics.add(this.#cells, NEXT + (step & 1) * ODD, 1);
  }

  /** Returns when all threads have finished step `step`: true to go on, false if the flag is up. */
  wait(step: number): boolean {
    const cells = this.#cells;
    const generation = Atomics.load(cells, GENERATION);
    if (Atomics.load(cells, FLAG) !== 0) return false;
    if (Atomics.add(cells, ARRIVED, 1) === this.threads - 1) {
      Atomics.store(cells, ARRIVED, 0);
      // Of the step before, which nobody is in any more, and of the next.
      Atomics.store(cells, NEXT + ((step + 1) & 1) * ODD, 0);
      Atomics.add(cells, GENERATION, 1);
      Atomics.notify(cells, GENERATION);
      return true;
    }
    for (let spin = 0; spin < SPINS; spin++) {
      if (Atomics.load(cells, GENERATION) !== generation) return Atomics.load(cells, FLAG) === 0;
    }
    while (Atomics.load(cells, GENERATION) === generation) {
      if (Atomics.wait(cells, GENERATION, generation, PATIENCE_MS) === "timed-out") {
        this.raise();
        throw new Error(`another thread has not finished its part of a step after ${PATIENCE_MS / 1000} s`);
      }
    }
    return Atomics.load(cells, FLAG) === 0;
  }
}
