/** The worker's side of an encoder: calls to the model, exceptions to answers. */
import { PywasmError, toPlain } from "../error.ts";
import { Model } from "./model.ts";
import type { Reply, Request } from "./protocol.ts";
import { isThreadStart, threadOf, type Channel } from "./thread.ts";
import type { EncoderProgress } from "./types.ts";

/** Serves what the first message asks for: an encoder, or a thread of another worker's encoder. */
export function serve(channel: Channel, spawn: () => Worker): void {
  let take: ((message: never) => void) | null = null;
  channel.addEventListener("message", ({ data }) => {
    take ??= isThreadStart(data) ? threadOf(channel) : hostOf(channel, spawn);
    take(data as never);
  });
}

function hostOf(channel: Channel, spawn: () => Worker): (request: Request) => void {
  const calls = new Map<number, AbortController>();
  let model: Model | null = null;

  const opened = (): Model => {
    if (!model) throw new PywasmError("closed", "the encoder is closed");
    return model;
  };

  const invoke = async ({ number, method, args }: Request, signal: AbortSignal): Promise<unknown> => {
    const a = args as never[];
    const hear = (event: EncoderProgress): void => channel.postMessage({ number, event } satisfies Reply);
    switch (method) {
      case "connect": return hold(a[0]!);
      case "open": return (model = await Model.open(a[0]!, spawn, hear, signal)).info;
      case "encode": return opened().encode(a[0]!, a[1]!, signal, hear);
      case "run": return opened().run(a[0]!, a[1]!, signal);
      case "status": return opened().status();
      case "timings": return opened().timings(a[0]!, a[1]!, signal);
      case "tuneWork": return opened().tuneWork();
      case "adopt": return opened().adopt(a[0]!);
      case "clear": return opened().clear();
      case "cancel": return calls.get(a[0]!)?.abort();
      case "close":
        model?.close();
        model = null;
    }
    return undefined;
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
