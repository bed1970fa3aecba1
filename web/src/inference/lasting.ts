/** A model's worker for as long as the page wants it: one that died is started again by the next call. */
import { PywasmError, throwIfAborted } from "../error.ts";
import type { AskOptions, Remote } from "./remote.ts";

export class Lasting {
  readonly #name: string;
  /** Starts a worker and loads the model again. */
  readonly #restart: () => Promise<Remote>;
  #remote: Promise<Remote>;
  #closed = false;

  /** `name`: of what is closed, for messages. */
  constructor(name: string, first: Remote, restart: () => Promise<Remote>) {
    this.#name = name;
    this.#remote = Promise.resolve(first);
    this.#restart = restart;
  }

  async ask<T>(method: string, args: unknown[] = [], options: AskOptions = {}): Promise<T> {
    throwIfAborted(options.signal);
    if (this.#closed) throw closed(this.#name);
    const remote = await this.#running();
    if (this.#closed) throw closed(this.#name);
    return remote.ask<T>(method, args, options);
  }

  /** Ends the worker; what is running is rejected with code "closed". */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    (await this.#remote.catch(() => null))?.close(closed(this.#name));
  }

  /** The worker; after it died, a new one: one for all that call meanwhile. */
  async #running(): Promise<Remote> {
    const known = this.#remote;
    const remote = await known.catch(() => null);
    if (remote && !remote.ended) return remote;
    if (this.#closed) throw closed(this.#name);
    if (this.#remote === known) this.#remote = this.#restart();
    return this.#remote;
  }
}

export function closed(name: string): PywasmError {
  return new PywasmError("closed", `the ${name} is closed`);
}
