/** The page's side of one model's worker, and everything that can go wrong with it. */
import { aborted, fromPlain, PywasmError, throwIfAborted } from "../error.ts";
import type { Reply, Request } from "./protocol.ts";
import { spawn } from "../spawn.ts";
import type { Channel } from "./thread.ts";

/** A worker that has said nothing for so long, ms, was never started: not every browser reports that. */
const START_MS = 60_000;

/** Which worker it is. */
export interface Script {
  /** What it serves, for messages: "encoder". */
  name: string;
  /** Starts the one beside this script. Bundlers find its address where `new Worker(new URL(...))` is written out. */
  worker: () => Worker;
  /** Serves in this thread. */
  inline: () => Promise<(channel: Channel, start: () => Worker) => void>;
}

export interface AskOptions {
  signal?: AbortSignal | undefined;
  hear?: ((event: never) => void) | undefined;
  /** An abort only tells the worker, whose answer is waited for: it says how far it came. */
  patient?: boolean;
}

interface Waiting {
  resolve: (value: never) => void;
  reject: (error: PywasmError) => void;
  hear: AskOptions["hear"];
}

export class Remote {
  readonly #name: string;
  readonly #channel: Channel;
  readonly #terminate: () => void;
  readonly #waiting = new Map<number, Waiting>();
  #last = 0;
  /** Why it answers no more. */
  #ended: PywasmError | null = null;

  /** Starts a worker from `url` (null: the one beside this script), or serves the calls in this thread. */
  static async start({ name, worker: make, inline }: Script, url: URL | null, thread: "worker" | "inline"): Promise<Remote> {
    if (thread === "inline") {
      const serve = await inline();
      const { port1, port2 } = new MessageChannel();
      serve(port2, () => { throw new Error("no workers inline"); });
      const remote = new Remote(name, port1, () => {
        remote.#post("close", []);
        port1.close();
      });
      port1.start();
      port2.start();
      return remote;
    }
    const worker = url ? spawn(url, `pywasm-${name}`) : make();
    const remote = new Remote(name, worker, () => worker.terminate());
    worker.addEventListener("error", (event) => {
      const message = event.message ? `: ${event.message}` : "";
      remote.close(new PywasmError("worker", `the ${name}'s worker failed or could not be started from ${url?.href ?? `${name}-worker.js`}${message}`));
    });
    const late = setTimeout(() => remote.close(new PywasmError("worker", `the ${name}'s worker has not started within ${START_MS / 1000} s`)), START_MS);
    worker.addEventListener("message", () => clearTimeout(late), { once: true });
    worker.addEventListener("messageerror", () => remote.close(new PywasmError("worker", `an answer of the ${name}'s worker could not be read`)));
    remote.#watch();
    return remote;
  }

  private constructor(name: string, channel: Channel, terminate: () => void) {
    this.#name = name;
    this.#channel = channel;
    this.#terminate = terminate;
    channel.addEventListener("message", ({ data }: MessageEvent<Reply>) => this.#take(data));
  }

  get ended(): boolean {
    return this.#ended !== null;
  }

  /** Calls `method`. An abort is answered at once; the worker stops at the next step. */
  ask<T>(method: string, args: unknown[] = [], { signal, hear, patient = false }: AskOptions = {}): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      throwIfAborted(signal);
      if (this.#ended) throw this.#ended;
      const number = ++this.#last;
      const done = (): void => signal?.removeEventListener("abort", abort);
      const abort = (): void => {
        this.#post("cancel", [number]);
        if (patient) return;
        this.#waiting.delete(number);
        reject(aborted());
      };
      signal?.addEventListener("abort", abort, { once: true });
      this.#waiting.set(number, {
        hear,
        resolve: (value: T) => { done(); resolve(value); },
        reject: (error) => { done(); reject(error); },
      });
      this.#channel.postMessage({ number, method, args } satisfies Request);
    });
  }

  /** Ends the worker and with it its threads, whatever they are doing; calls that wait are rejected with `reason`. */
  close(reason: PywasmError): void {
    if (this.#ended) return;
    this.#ended = reason;
    this.#terminate();
    for (const { reject } of [...this.#waiting.values()]) reject(reason);
    this.#waiting.clear();
  }

  #post(method: string, args: unknown[]): void {
    this.#channel.postMessage({ number: ++this.#last, method, args } satisfies Request);
  }

  #take(reply: Reply): void {
    const waiting = this.#waiting.get(reply.number);
    if (!waiting) return;
    if ("event" in reply) {
      waiting.hear?.(reply.event as never);
      return;
    }
    this.#waiting.delete(reply.number);
    if ("error" in reply) waiting.reject(fromPlain(reply.error));
    else waiting.resolve(reply.value as never);
  }

  /** The worker's end, whatever the cause, releases a Web Lock that it holds. */
  #watch(): void {
    if (!navigator.locks) return;
    const lock = `pywasm-${this.#name}-${Math.random()}-${performance.timeOrigin}`;
    const dead = (): void => this.close(new PywasmError("worker", `the ${this.#name}'s worker ended unexpectedly; the next call starts it again`));
    void this.ask("connect", [lock]).then(() => navigator.locks.request(lock, dead)).catch(() => undefined);
  }
}
