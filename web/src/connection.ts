/**
 * One worker and everything that can go wrong with it. All indexes of a page share it; it is
 * terminated with the last of them, which gives its memory back.
 */
import { PywasmError } from "./error.ts";
import type { Host, HostEvent } from "./protocol.ts";
import { remoteHost } from "./rpc.ts";
import { spawn } from "./spawn.ts";

/** How long a worker that reported an error may take to answer before it counts as dead, ms. */
const PING_MS = 3000;

export class Connection {
  readonly host: Host;
  readonly #terminate: () => void;
  #listeners = new Set<(event: HostEvent) => void>();
  #mourners = new Set<(reason: PywasmError) => void>();
  #ended = false;
  #running = false;

  private constructor(host: Host, terminate: () => void) {
    this.host = host;
    this.#terminate = terminate;
  }

  /** Starts a worker (or, inline, loads the same code into this thread). */
  static async start(workerUrl: URL | null, thread: "worker" | "inline"): Promise<Connection> {
    return thread === "inline" ? Connection.#inline() : Connection.#worker(workerUrl);
  }

  listen(listener: (event: HostEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Calls `listener` with the reason if the worker dies; the answer takes it back. */
  onDeath(listener: (reason: PywasmError) => void): () => void {
    this.#mourners.add(listener);
    return () => this.#mourners.delete(listener);
  }

  /** Ends the worker; not a death. */
  end(): void {
    this.#ended = true;
    this.#terminate();
  }

  #die = (reason: PywasmError): void => {
    if (this.#ended) return;
    this.#ended = true;
    this.#terminate();
    for (const listener of [...this.#mourners]) listener(reason);
  };

  #notify = (event: HostEvent): void => {
    for (const listener of this.#listeners) listener(event);
  };

  static async #inline(): Promise<Connection> {
    const { createHost } = await import("./worker.ts");
    const host = createHost();
    const connection = new Connection(host, () => undefined);
    await host.connect("", connection.#notify);
    return connection;
  }

  static #worker(url: URL | null): Connection {
    // Options are literals: bundlers read them here, and Vite refuses to build a page with any other.
    const worker = url
      ? spawn(url, "pywasm")
      : new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "pywasm" });
    const host = remoteHost(worker);
    const lock = `pywasm-worker-${Math.random()}-${performance.timeOrigin}`;
    const connection = new Connection(host, () => worker.terminate());
    worker.addEventListener("error", (event) => {
      if (connection.#running) return;
      const message = event.message ? `: ${event.message}` : "";
      connection.#die(new PywasmError("worker", `the worker could not be started from ${url?.href ?? "worker.js"}${message}`));
    });
    // Calls may follow at once: the worker takes messages in order.
    void host.connect(lock, connection.#notify).then(() => {
      connection.#running = true;
      watch(worker, host, lock, () => connection.#die(new PywasmError("worker", "the search worker ended unexpectedly; the next call starts it again")));
    });
    return connection;
  }
}

/**
 * The worker holds a Web Lock while it lives: being granted it is the news of its end, whatever
 * ended it. Where there are no locks (an insecure page), a worker that reports an error is pinged.
 */
function watch(worker: Worker, host: Host, lock: string, dead: () => void): void {
  if (navigator.locks) void navigator.locks.request(lock, dead).catch(() => undefined);
  worker.addEventListener("error", () => {
    let answered = false;
    void host.ping().then(() => (answered = true));
    setTimeout(() => {
      if (!answered) dead();
    }, PING_MS);
  });
}
