/** The worker's side of any model: numbered calls to answers, exceptions to errors; or a thread of another worker's model. */
import { toPlain } from "../error.ts";
import type { Reply, Request } from "./protocol.ts";
import { isThreadStart, threadOf, type Channel } from "./thread.ts";

/** A model as its worker serves it. */
export interface Service {
  /** One of the model's own methods. `hear` posts an event of this call to the page. */
  call(method: string, args: never[], signal: AbortSignal, hear: (event: unknown) => void): Promise<unknown>;
  close(): void;
}

/** Serves what the first message asks for: a model, or a thread of another worker's model. */
export function serve(channel: Channel, make: () => Service): void {
  let take: ((message: never) => void) | null = null;
  channel.addEventListener("message", ({ data }) => {
    take ??= isThreadStart(data) ? threadOf(channel) : callsOf(channel, make());
    take(data as never);
  });
}

function callsOf(channel: Channel, service: Service): (request: Request) => void {
  const calls = new Map<number, AbortController>();

  const invoke = async ({ number, method, args }: Request, signal: AbortSignal): Promise<unknown> => {
    switch (method) {
      case "connect": return hold(args[0] as string);
      case "cancel": return calls.get(args[0] as number)?.abort();
      case "close": return service.close();
    }
    return service.call(method, args as never[], signal, (event) => channel.postMessage({ number, event } satisfies Reply));
  };

  return (request) => {
    const { number } = request;
    const controller = new AbortController();
    calls.set(number, controller);
    void invoke(request, controller.signal)
      .then((value): Reply => ({ number, value }), (error: unknown): Reply => ({ number, error: toPlain(error) }))
      .then((reply) => {
        calls.delete(number);
        channel.postMessage(reply, "value" in reply ? buffersIn(reply.value) : []);
      })
      // An answer that can't be sent is one, too: nobody shall wait for ever.
      .catch((error: unknown) => channel.postMessage({ number, error: toPlain(error) } satisfies Reply));
  };
}

/** Arrays that an answer consists of: they are moved to the page, not copied. */
function buffersIn(value: unknown): Transferable[] {
  if (ArrayBuffer.isView(value)) return [value.buffer as ArrayBuffer];
  if (value === null || typeof value !== "object") return [];
  return Object.values(value).filter((part) => ArrayBuffer.isView(part)).map((part) => (part as ArrayBufferView).buffer as ArrayBuffer);
}

/** Holds the Web Lock until the thread ends; its being granted to the page is the news of that. */
function hold(lock: string): Promise<void> {
  if (!navigator.locks) return Promise.resolve();
  return new Promise((held) => {
    navigator.locks.request(lock, () => {
      held();
      return new Promise(() => undefined);
    }).catch(() => held());
  });
}
