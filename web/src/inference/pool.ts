/** The other threads of a session, as thread 0 sees them. Between runs they wait for messages. */
import { PywasmError } from "../error.ts";
import type { ThreadMessage, ThreadReply } from "./thread.ts";

/** How long threads may take to start, ms. */
const START_MS = 10_000;
/** How long they may take to leave a run that thread 0 has left, ms: a step at most. */
const LEAVE_MS = 3000;

interface Waiting {
  resolve: () => void;
  reject: (error: PywasmError) => void;
}

/** One message goes out to all, one answer comes back from each. */
export class Pool {
  readonly #workers: Worker[];
  #waiting: Waiting | null = null;
  #answers = 0;
  #failure: string | null = null;
  #ended = false;
  #lost = false;

  /** Starts one worker for each of `start`; they have their modules instantiated once it is fulfilled. */
  static async start(start: readonly ThreadMessage[], make: () => Worker): Promise<Pool> {
    const pool = new Pool(start.map(make));
    try {
      const ready = pool.#all();
      start.forEach((message, index) => pool.send(index, message));
      await pool.left(ready, START_MS);
      return pool;
    } catch (error) {
      pool.end();
      throw error;
    }
  }

  private constructor(workers: Worker[]) {
    this.#workers = workers;
    for (const worker of workers) {
      worker.addEventListener("message", ({ data }: MessageEvent<ThreadReply>) => this.#answer(data.error ?? null));
      worker.addEventListener("error", (event) => {
        event.preventDefault();
        this.#fail(event.message || "its script could not be loaded");
      });
    }
  }

  post(message: ThreadMessage): void {
    for (const worker of this.#workers) worker.postMessage(message);
  }

  send(index: number, message: ThreadMessage): void {
    this.#workers[index]!.postMessage(message);
  }

  /** True once a thread does not answer any more: the pool is of no use then. */
  get lost(): boolean {
    return this.#lost;
  }

  /** Starts a run in all; fulfilled when all have left it (see `left`). */
  run(id: number): Promise<void> {
    const done = this.#all();
    this.post({ kind: "run", id });
    return done;
  }

  /** Waits for `done` as long as threads that are alive can take. */
  async left(done: Promise<void>, patience = LEAVE_MS): Promise<void> {
    const late = setTimeout(() => this.#fail(`no answer within ${patience / 1000} s`), patience);
    await done.finally(() => clearTimeout(late));
  }

  end(): void {
    this.#ended = true;
    for (const worker of this.#workers) worker.terminate();
  }

  #all(): Promise<void> {
    this.#answers = 0;
    this.#failure = null;
    const done = new Promise<void>((resolve, reject) => (this.#waiting = { resolve, reject }));
    done.catch(() => undefined);  // thread 0 may be in the middle of its part
    return done;
  }

  #answer(error: string | null): void {
    this.#failure ??= error;
    if (++this.#answers < this.#workers.length) return;
    const waiting = this.#waiting;
    this.#waiting = null;
    if (this.#failure === null) waiting?.resolve();
    else waiting?.reject(new PywasmError("worker", `a thread of the encoder failed: ${this.#failure}`));
  }

  /** A thread is lost: there will be no answer from it. */
  #fail(reason: string): void {
    if (this.#ended) return;
    this.#lost = true;
    this.#waiting?.reject(new PywasmError("worker", `a thread of the encoder failed: ${reason}`));
    this.#waiting = null;
  }
}
