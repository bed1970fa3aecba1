/**
 * Calls of the worker's Host from the page, over messages. Structured clones of the arguments go one
 * way, of the answers and of events the other; what `transfer` was told of changes hands uncopied.
 */
import type { Host, HostEvent } from "./protocol.ts";

interface Call {
  number: number;
  method: keyof Host;
  args: unknown[];
}
/** An event, or the answer to a call: its value, or the message of what it threw. */
type Reply = { event: HostEvent } | { number: number; value?: unknown; error?: string };

/** What is used of a worker's global object, whose types can't be loaded together with the DOM's. */
export interface WorkerScope {
  postMessage(message: unknown, transfer: Transferable[]): void;
  addEventListener(type: "message", listener: (event: MessageEvent<Call>) => void): void;
}

const transfers = new WeakMap<object, Transferable[]>();

/** Marks an argument, or an answer: what `owned` lists is moved, not copied, when it is sent. */
export function transfer<T extends object>(value: T, owned: Transferable[]): T {
  transfers.set(value, owned);
  return value;
}

function ownedBy(values: readonly unknown[]): Transferable[] {
  return values.flatMap((value) => (typeof value === "object" && value !== null ? (transfers.get(value) ?? []) : []));
}

/** The page's side: a Host whose methods ask `worker`. Calls may be made before it runs; it answers none if it dies. */
export function remoteHost(worker: Worker): Host {
  const waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  let last = 0;
  let notify: (event: HostEvent) => void = () => undefined;
  worker.addEventListener("message", ({ data }: MessageEvent<Reply>) => {
    if ("event" in data) {
      notify(data.event);
      return;
    }
    const call = waiting.get(data.number);
    waiting.delete(data.number);
    if (data.error === undefined) call?.resolve(data.value);
    else call?.reject(new Error(data.error));
  });
  const ask = (method: keyof Host, ...args: unknown[]): Promise<never> => new Promise<unknown>((resolve, reject) => {
    const number = ++last;
    waiting.set(number, { resolve, reject });
    worker.postMessage({ number, method, args } satisfies Call, ownedBy(args));
  }) as Promise<never>;
  return {
    connect: (lock, listener) => {
      notify = listener;
      return ask("connect", lock);
    },
    ping: () => ask("ping"),
    open: (...args) => ask("open", ...args),
    manifest: (...args) => void ask("manifest", ...args),
    call: (...args) => ask("call", ...args),
    cancel: (call) => void ask("cancel", call),
    close: (index) => ask("close", index),
  };
}

/** The worker's side: answers what the page asks of `host`, in the order in which it has answers. */
export function serveHost(host: Host, scope: WorkerScope): void {
  const reply = (message: Reply, owned: Transferable[] = []): void => scope.postMessage(message, owned);
  scope.addEventListener("message", ({ data: { number, method, args } }) => {
    const all = method === "connect" ? [...args, (event: HostEvent) => reply({ event })] : args;
    const work = async (): Promise<unknown> => (host[method] as (...args: unknown[]) => unknown)(...all);
    void work().then((value) => reply({ number, value }, ownedBy([value])), (error: unknown) => reply({ number, error: String(error) }));
  });
}
