/** The other threads of a session, as thread 0 sees them. Between runs they wait for messages. */
import { PywasmError } from "../error.ts";
import { TAGS } from "./crew.ts";
import type { ThreadMessage, ThreadReply } from "./thread.ts";

/** How long threads may take to start, ms. */
const START_MS = 10_000;
/** How long they may take to leave a run that has ended, ms: a piece of a step at most. */
const LEAVE_MS = 3000;

export class Pool {
  readonly #workers: Worker[];
  /** Of each: messages that it has not answered yet. */
  readonly #open: number[];
  #settled: ((error: PywasmError | null) => void) | null = null;
  #failure: string | null = null;
  #lost = false;

  /** Starts one worker for each of `start`; they have their modules instantiated once it is fulfilled. */
  static async start(start: readonly ThreadMessage[], make: () => Worker): Promise<Pool> {
    const workers: Worker[] = [];
    try {
      while (workers.length < start.length) workers.push(make());
    } catch (error) {
      for (const worker of workers) worker.terminate();
      throw error;
    }
    const pool = new Pool(workers);
    try {
      start.forEach((message, index) => pool.#ask(index, message));
      await pool.idle(START_MS);
      return pool;
    } catch (error) {
      pool.end();
      throw error;
    }
  }

  private constructor(workers: Worker[]) {
    this.#workers = workers;
    this.#open = workers.map(() => 0);
    workers.forEach((worker, index) => {
      worker.addEventListener("message", ({ data }: MessageEvent<ThreadReply>) => this.#answer(index, data.error ?? null));
      worker.addEventListener("error", (event) => {
        event.preventDefault();
        this.#lose(event.message || "its script could not be loaded");
      });
    });
  }

  /** True once a thread does not answer any more: it will take no part in runs. */
  get lost(): boolean {
    return this.#lost;
  }

  /** True if a thread is so many runs behind that it could take a new run for the one it is told of. */
  get behind(): boolean {
    return Math.max(...this.#open) >= TAGS / 2;
  }

  send(index: number, message: ThreadMessage): void {
    this.#workers[index]!.postMessage(message);
  }

  post(message: ThreadMessage): void {
    this.#workers.forEach((_, index) => this.send(index, message));
  }

  /** Has all take part in run number `run` of program `id`, as soon as they hear of it. */
  run(run: number, id: number): void {
    this.#workers.forEach((_, index) => this.#ask(index, { kind: "run", run, id }));
  }

  /** Fulfilled when no thread is in a run; rejected if one has failed since the last time, or does not answer. */
  async idle(patience = LEAVE_MS): Promise<void> {
    const late = setTimeout(() => this.#lose(`no answer within ${patience / 1000} s`), patience);
    try {
      await new Promise<void>((resolve, reject) => {
        this.#settled = (error) => (error ? reject(error) : resolve());
        this.#settle();
      });
    } finally {
      clearTimeout(late);
      this.#failure = null;
    }
  }

  end(): void {
    this.#settled?.(new PywasmError("closed", "the model is closed"));
    this.#settled = null;
    for (const worker of this.#workers) worker.terminate();
  }

  #ask(index: number, message: ThreadMessage): void {
    this.#open[index]!++;
    this.send(index, message);
  }

  #answer(index: number, error: string | null): void {
    this.#open[index]!--;
    this.#failure ??= error;
    this.#settle();
  }

  #lose(reason: string): void {
    this.#lost = true;
    this.#failure ??= reason;
    this.#settle();
  }

  #settle(): void {
    if (!this.#lost && this.#open.some((count) => count > 0)) return;
    const failure = this.#failure === null ? null : new PywasmError("worker", `a thread of the model failed: ${this.#failure}`);
    this.#settled?.(failure);
    this.#settled = null;
  }
}
