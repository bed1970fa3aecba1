/**
 * How threads run a plan together: each step's grid is cut into pieces, and whoever is free takes
 * the next one. A step is over when its pieces are done, not when every thread has been there: one
 * that the system keeps from running holds up nobody, unless it is in the middle of a piece. Who
 * finds no piece spins for about as long as waking up would take, then sleeps. Between runs nobody
 * is in here.
 */
import { PywasmError } from "../error.ts";
import { CONTROL_BYTES } from "./layout.ts";
import type { Call } from "./program.ts";

// Cells of the control block, each in a cache line of its own. NEXT and DONE consist of the run's
// tag (8 bits), its current step (14) and a count (10): of pieces that were taken, and that are done.
const NEXT = 0;
const DONE = 16;
const FAILED = 32;

const COUNT_BITS = 10;
const STEP_BITS = 14;
const TAG_SHIFT = COUNT_BITS + STEP_BITS;
const COUNT = (1 << COUNT_BITS) - 1;
const STEP = (1 << STEP_BITS) - 1;
/** Runs have tags below this one after the other. */
export const TAGS = 256;
/** More steps a plan may not have: the last number says that a run is over. */
export const MOST_STEPS = STEP - 1;

/** Looks at NEXT before a thread sleeps. */
const SPINS = 10_000;
/** How long another thread may take over a piece, ms, before it counts as dead. */
const PATIENCE_MS = 10_000;

/** What a thread does with its piece of a call. */
export type Perform = (call: Call, begin: number, end: number) => void;

export class Crew {
  readonly #cells: Int32Array;
  readonly #tag: number;
  readonly #calls: readonly Call[];
  /** The step that this thread was in last. */
  #step = 0;
  /** Steps below this one have their end noted. */
  #noted = 0;

  /** For run number `run` of the session whose memory this is. */
  constructor(memory: WebAssembly.Memory, run: number, calls: readonly Call[]) {
    this.#cells = new Int32Array(memory.buffer, 0, CONTROL_BYTES / 4);
    this.#tag = run % TAGS;
    this.#calls = calls;
  }

  /** Makes the first step the current one. Thread 0 does that before the others hear of the run. */
  open(): void {
    Atomics.store(this.#cells, FAILED, 0);
    this.#publish(0);
  }

  /** True if a thread has ended the run before its time. */
  get failed(): boolean {
    return Atomics.load(this.#cells, FAILED) !== 0;
  }

  /** Ends the run for all threads: no piece is taken any more. */
  fail(): void {
    Atomics.store(this.#cells, FAILED, 1);
    this.#publish(STEP);
  }

  /**
   * Takes part until the run is over: true then; false if that is not so but the time `until`
   * (performance.now()) is. `ends`: where to note when each step ended.
   */
  work(perform: Perform, until = Infinity, ends: Float64Array | null = null): boolean {
    const cells = this.#cells;
    const calls = this.#calls;
    for (;;) {
      const next = Atomics.load(cells, NEXT);
      const step = (next >>> COUNT_BITS) & STEP;
      if (next >>> TAG_SHIFT !== this.#tag) return true;
      if (step !== this.#step) {
        const now = performance.now();
        this.#note(ends, step, now);
        this.#step = step;
        if (step >= calls.length) return true;
        if (now > until) return false;
      }
      // NEXT may say otherwise: who was about to publish the next step did so after the end.
      if (this.failed) return true;
      const call = calls[step]!;
      const piece = next & COUNT;
      if (piece === call.pieces.length - 1) this.#wait(next);
      else if (Atomics.compareExchange(cells, NEXT, next, next + 1) === next) {
        perform(call, call.pieces[piece]!, call.pieces[piece + 1]!);
        if (this.#done(step, call.pieces.length - 1)) this.#publish(this.#alone(step + 1, perform, until, ends));
      }
    }
  }

  /** A piece of `step` is done; true if it was the last of `pieces`. */
  #done(step: number, pieces: number): boolean {
    const cells = this.#cells;
    for (;;) {
      const done = Atomics.load(cells, DONE);
      if (done >>> COUNT_BITS !== this.#word(step) >>> COUNT_BITS) return false;  // the run has failed meanwhile
      if (Atomics.compareExchange(cells, DONE, done, done + 1) === done) return (done & COUNT) + 1 === pieces;
    }
  }

  /**
   * Does what the others could only wait for: steps of one piece from `step` on. Answers the next one:
   * of several pieces, or of any when the time `until` is over.
   */
  #alone(step: number, perform: Perform, until: number, ends: Float64Array | null): number {
    let current = step;
    for (; current < this.#calls.length && !this.failed; current++) {
      const call = this.#calls[current]!;
      const now = performance.now();
      if (call.pieces.length > 2 || now > until) break;
      this.#note(ends, current, now);
      if (call.pieces.length === 2) perform(call, call.pieces[0]!, call.pieces[1]!);
    }
    return current;
  }

  /** Steps below `step` had ended by `now`. */
  #note(ends: Float64Array | null, step: number, now: number): void {
    if (step <= this.#noted) return;
    ends?.fill(now, this.#noted, step);
    this.#noted = step;
  }

  /** Makes `step` the current one, or the next that has anything to do; not after the end of a run that failed. */
  #publish(step: number): void {
    if (this.failed && step !== STEP) return;
    let current = step;
    while (current < this.#calls.length && this.#calls[current]!.pieces.length === 1) current++;  // nothing to do
    const word = this.#word(current);
    Atomics.store(this.#cells, DONE, word);
    Atomics.store(this.#cells, NEXT, word);
    Atomics.notify(this.#cells, NEXT);
  }

  #word(step: number): number {
    return (this.#tag << TAG_SHIFT) | (step << COUNT_BITS);
  }

  /** All pieces are taken; returns when there is another step. */
  #wait(next: number): void {
    const cells = this.#cells;
    for (let spin = 0; spin < SPINS; spin++) {
      if (Atomics.load(cells, NEXT) !== next) return;
    }
    if (Atomics.wait(cells, NEXT, next, PATIENCE_MS) !== "timed-out") return;
    this.fail();
    throw new PywasmError("worker", `another thread has not finished its part of a step after ${PATIENCE_MS / 1000} s`);
  }
}
