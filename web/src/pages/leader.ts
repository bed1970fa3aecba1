/**
 * A sync handle of OPFS belongs to one tab, the leader (it holds a Web Lock). The others ask it for
 * pages over a BroadcastChannel; when it goes, the next in the lock's queue opens the file itself.
 */
import type { OpfsStore } from "./opfs.ts";
import type { PageStore } from "./tier.ts";

type Message =
  | { type: "hello"; from: string }
  | { type: "have"; bitmap: Uint8Array }
  | { type: "read"; from: string; id: number; pages: number[] }
  | { type: "pages"; to: string; id: number; pages: Map<number, Uint8Array> };

/** How long the leader may take to answer before the site is asked instead, ms. */
const PATIENCE_MS = 1000;
/** How long to wait for word of what it has, ms. */
const GREETING_MS = 200;

export function channelName(index: string, generation: string): string {
  return `pywasm-pages ${generation} ${index}`;
}

/** The leader's side: answers until stopped. */
export function serve(channel: BroadcastChannel, store: OpfsStore): () => void {
  const have = (): void => channel.postMessage({ type: "have", bitmap: store.bitmap } satisfies Message);
  const answer = async ({ data }: MessageEvent<Message>): Promise<void> => {
    if (data.type === "hello") have();
    if (data.type !== "read") return;
    const pages = await store.read(data.pages);
    channel.postMessage({ type: "pages", to: data.from, id: data.id, pages } satisfies Message);
  };
  channel.addEventListener("message", answer);
  have();
  return () => channel.removeEventListener("message", answer);
}

/** The other tabs' side. What they download the leader downloads as well, so nothing is written. */
export class LeaderStore implements PageStore {
  readonly tier = "leader";
  readonly #channel: BroadcastChannel;
  readonly #self = `${performance.timeOrigin}-${Math.random()}`;
  readonly #answers = new Map<number, (pages: Map<number, Uint8Array>) => void>();
  readonly #replaced: Promise<PageStore>;
  #bitmap: Uint8Array = new Uint8Array();
  #last = 0;
  #heard: () => void = () => undefined;
  /** Settles when it is known what the leader has, or after a moment (it may be frozen). */
  readonly ready: Promise<void>;

  /** `replaced` settles with the store of this tab when it has become the leader. */
  constructor(channel: BroadcastChannel, replaced: Promise<PageStore>) {
    this.#channel = channel;
    this.#replaced = replaced;
    this.ready = new Promise((resolve) => {
      this.#heard = resolve;
      setTimeout(resolve, GREETING_MS);
    });
    channel.addEventListener("message", this.#receive);
    channel.postMessage({ type: "hello", from: this.#self } satisfies Message);
  }

  get count(): number {
    let count = 0;
    for (const byte of this.#bitmap) for (let bits = byte; bits > 0; bits &= bits - 1) count++;
    return count;
  }

  has(page: number): boolean {
    return ((this.#bitmap[page >> 3] ?? 0) & (1 << (page & 7))) !== 0;
  }

  async read(pages: readonly number[]): Promise<Map<number, Uint8Array>> {
    const id = ++this.#last;
    const answer = new Promise<Map<number, Uint8Array>>((resolve) => this.#answers.set(id, resolve));
    this.#channel.postMessage({ type: "read", from: this.#self, id, pages: [...pages] } satisfies Message);
    const late = new Promise<null>((resolve) => setTimeout(() => resolve(null), PATIENCE_MS));
    const own = this.#replaced.then((store) => store.read(pages));
    try {
      return (await Promise.race([answer, own, late])) ?? new Map();
    } finally {
      this.#answers.delete(id);
    }
  }

  async write(): Promise<void> {}

  forget(page: number): void {
    if (this.has(page)) this.#bitmap[page >> 3]! ^= 1 << (page & 7);
  }

  async flush(): Promise<void> {}

  close(): void {
    this.#channel.removeEventListener("message", this.#receive);
  }

  #receive = ({ data }: MessageEvent<Message>): void => {
    if (data.type === "have") {
      this.#bitmap = data.bitmap;
      this.#heard();
    }
    if (data.type === "pages" && data.to === this.#self) this.#answers.get(data.id)?.(data.pages);
  };
}
