/**
 * Where the threads of a run meet between steps. They spin for about as long as waking up would
 * take, then sleep. Whoever fails or gives up raises the flag and leaves, and so does everybody
 * who sees it; between runs nobody is here.
 */

const ARRIVED = 0;
const GENERATION = 1;
const FLAG = 2;

/** Looks at the generation before a thread sleeps. */
const SPINS = 4000;
/** How long a step of another thread may take, ms, before it counts as dead. */
const PATIENCE_MS = 60_000;

export class Barrier {
  readonly #cells: Int32Array;
  readonly #threads: number;

  /** `cells`: the control block at the start of the session's memory. */
  constructor(cells: Int32Array, threads: number) {
    this.#cells = cells;
    this.#threads = threads;
  }

  get raised(): boolean {
    return this.#threads > 1 && Atomics.load(this.#cells, FLAG) !== 0;
  }

  /** Ends the run for all threads. */
  raise(): void {
    if (this.#threads === 1) return;
    Atomics.store(this.#cells, FLAG, 1);
    Atomics.add(this.#cells, GENERATION, 1);
    Atomics.notify(this.#cells, GENERATION);
  }

  /** For the next run, when nobody is in one. */
  reset(): void {
    Atomics.store(this.#cells, ARRIVED, 0);
    Atomics.store(this.#cells, FLAG, 0);
  }

  /** Returns when all threads have come: true to go on, false if the flag is up. */
  wait(): boolean {
    if (this.#threads === 1) return true;
    const cells = this.#cells;
    const generation = Atomics.load(cells, GENERATION);
    if (Atomics.load(cells, FLAG) !== 0) return false;
    if (Atomics.add(cells, ARRIVED, 1) === this.#threads - 1) {
      Atomics.store(cells, ARRIVED, 0);
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
