/**
 * Executes programs over one memory, on this thread or on several together. What lies in the memory
 * and what the programs are for is the business of whoever holds it (wasm_backend.ts, decoder.ts).
 */
import { PywasmError, throwIfAborted } from "../error.ts";
import { Crew } from "./crew.ts";
import { Kernels, type KernelNames } from "./kernels.ts";
import { pause } from "./pause.ts";
import { Pool } from "./pool.ts";
import { callsOf, type Call, type Program } from "./program.ts";
import type { ThreadMessage } from "./thread.ts";

/** How long thread 0 stays away from its messages, ms: an abort is heard within that. */
const SLICE_MS = 25;

export interface RunnerSetup {
  memory: WebAssembly.Memory;
  /** The kernels, maybe still being compiled. */
  module: Promise<WebAssembly.Module>;
  names: KernelNames;
  /** More than one only on memory that threads share. */
  threads: number;
  /** Starts a worker that serves a thread. */
  spawn: () => Worker;
}

/** A program that all threads have their calls of. */
export interface Prepared {
  id: number;
  calls: Call[];
}

export class Runner {
  readonly #setup: RunnerSetup;
  readonly #kernels: Kernels;
  #pool: Pool | null = null;
  #closed = false;
  #threads = 1;
  #lastId = 0;
  #lastRun = 0;
  /** When messages want to be looked at again. */
  #until = 0;

  constructor(setup: RunnerSetup) {
    this.#setup = setup;
    this.#kernels = new Kernels(setup.memory);
  }

  /** Those that compute, this one included. */
  get threads(): number {
    return this.#threads;
  }

  /** Instantiates the kernels and starts the other threads. */
  async start(): Promise<void> {
    const { memory, names, threads, spawn } = this.#setup;
    const module = await this.#setup.module;
    if (this.#closed) throw closed();
    this.#instantiate(module, names);
    if (threads === 1) return;
    const start = Array.from({ length: threads - 1 }, (): ThreadMessage => ({ kind: "start", memory, module, names, threads }));
    // A browser that starts no workers in workers still has this thread.
    const pool = await Pool.start(start, spawn).catch(() => null);
    if (this.#closed) {
      pool?.end();
      throw closed();
    }
    if (!pool) return;
    this.#pool = pool;
    this.#threads = threads;
  }

  /** Drops threads that are gone. True if there were any: what was prepared is void, this thread is alone from now on. */
  alone(): boolean {
    if (!this.#pool?.lost) return false;
    this.#endThreads();
    this.#threads = 1;
    return true;
  }

  /** `scratch`: the region of thread 0; thread t's is t * `stride` further. */
  prepare(program: Program, scratch: number, stride: number): Prepared {
    const id = ++this.#lastId;
    for (let thread = 1; thread < this.#threads; thread++) {
      this.#pool?.send(thread - 1, { kind: "program", id, program, scratch: scratch + thread * stride });
    }
    return { id, calls: callsOf(program, scratch, this.#threads) };
  }

  forget({ id }: Prepared): void {
    this.#pool?.post({ kind: "forget", id });
  }

  /** Uses the functions of `module` from the next run on; throws, with nothing changed, where they can't be. */
  adopt(module: WebAssembly.Module, names: KernelNames): void {
    this.#instantiate(module, names);
    this.#pool?.post({ kind: "adopt", module, names });
  }

  /** Runs one kernel on this thread, all of its grid; not while a program runs. */
  call(kernel: number, args: readonly number[], grid: number): void {
    try {
      this.#kernels.perform({ kernel, args: [...args, 0, grid], pieces: [] }, 0, grid);
    } catch (error) {
      throw failed(error);
    }
  }

  /** Runs all calls, one program at a time. `ends` takes when each of them ended, by performance.now(). */
  async execute({ id, calls }: Prepared, signal: AbortSignal | undefined, ends: Float64Array | null): Promise<void> {
    // After a pause there can't be anything that waits.
    const now = performance.now();
    if (now > this.#until + SLICE_MS) this.#until = now + SLICE_MS;
    await this.#breathe(signal);
    try {
      if (this.#pool) await this.#together(this.#pool, id, calls, signal, ends);
      else {
        for (let next = 0; next < calls.length;) {
          next = this.#kernels.run(calls, next, this.#until, ends);
          if (next < calls.length) await this.#breathe(signal);
        }
      }
    } catch (error) {
      throw failed(error);
    }
  }

  close(): void {
    this.#closed = true;
    this.#endThreads();
  }

  #endThreads(): void {
    this.#pool?.end();
    this.#pool = null;
  }

  async #together(pool: Pool, id: number, calls: readonly Call[], signal: AbortSignal | undefined, ends: Float64Array | null): Promise<void> {
    const run = ++this.#lastRun;
    const crew = new Crew(this.#setup.memory, run, calls);
    crew.open();
    pool.run(run, id);
    try {
      while (!crew.work(this.#kernels.perform, this.#until, ends)) await this.#breathe(signal);
    } catch (error) {
      crew.fail();
      await pool.idle().catch(() => undefined);
      throw error;
    }
    if (crew.failed) await pool.idle();
    // Who does not even answer now is done without from the next run on.
    else if (pool.behind) await pool.idle().catch(() => undefined);
  }

  /** Lets messages that have come in be handled, if it is time to. */
  async #breathe(signal: AbortSignal | undefined): Promise<void> {
    if (performance.now() < this.#until) return;
    await pause();
    this.#until = performance.now() + SLICE_MS;
    throwIfAborted(signal);
  }

  #instantiate(module: WebAssembly.Module, names: KernelNames): void {
    try {
      this.#kernels.adopt(module, names);
    } catch (cause) {
      throw new PywasmError("corrupt", `the kernels can't be used: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    }
  }
}

function failed(error: unknown): unknown {
  return error instanceof WebAssembly.RuntimeError ? new PywasmError("worker", `a kernel failed: ${error.message}`, { cause: error }) : error;
}

function closed(): PywasmError {
  return new PywasmError("closed", "the model is closed");
}
