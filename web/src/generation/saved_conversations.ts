/** Conversations that outlast the visit: a file each, beside the KV, with all that resuming takes. */
import { Sha256 } from "../inference/sha256.ts";
import type { KvStore } from "./kv_store.ts";
import type { Segment, SegmentKind } from "./prompt.ts";
import type { Message } from "./types.ts";

/** What the model has read and written. */
export interface Read {
  /** Prompts and answers so far, as tokens were made of it. */
  text: string;
  segments: Segment[];
  /** How their KV came about (Lease.tag). */
  tag: string;
  /** Messages it covers. */
  messages: number;
}

export interface Chat {
  readonly id: string;
  messages: Message[];
  read: Read | null;
}

const NAME = "chat-";
const VERSION = 1;

export class SavedConversations {
  readonly #store: KvStore;
  readonly #identity: string;

  /** `identity`: the tokens of another model mean nothing. */
  constructor(store: KvStore, identity: string) {
    this.#store = store;
    this.#identity = identity;
  }

  async ids(): Promise<string[]> {
    return (await this.#store.names()).filter((name) => name.startsWith(NAME)).map((name) => decodeURIComponent(name.slice(NAME.length)));
  }

  /** null if there is none, or none that can be read. */
  async load(id: string): Promise<Chat | null> {
    const file = await this.#store.open(fileName(id));
    if (!file) return null;
    try {
      const bytes = new Uint8Array(file.size);
      if (!(await file.read(0, bytes.length, () => bytes))) return null;
      return this.#decode(id, bytes);
    } finally {
      file.close();
    }
  }

  #decode(id: string, bytes: Uint8Array): Chat | null {
    const text = new TextDecoder().decode(bytes);
    const end = text.indexOf("\n");
    const body = text.slice(end + 1);
    if (end < 0 || text.slice(0, end) !== sum(body)) return null;
    const stored = JSON.parse(body) as Stored;
    if (stored.version !== VERSION || stored.id !== id) return null;
    const { messages, read } = stored;
    // Of another model the words are good, the tokens are not.
    if (!read || stored.identity !== this.#identity) return { id, messages, read: null };
    return { id, messages, read: { ...read, segments: read.segments.map(([kind, tokens]) => ({ kind, tokens: Int32Array.from(tokens) })) } };
  }

  async save({ id, messages, read }: Chat): Promise<void> {
    const stored: Stored = {
      version: VERSION, identity: this.#identity, id, messages,
      read: read && { ...read, segments: read.segments.map(({ kind, tokens }) => [kind, Array.from(tokens)]) },
    };
    const body = JSON.stringify(stored);
    await this.#store.write(fileName(id), [new TextEncoder().encode(`${sum(body)}\n${body}`)]);
  }

  async remove(id: string): Promise<void> {
    await this.#store.remove(fileName(id));
  }
}

interface Stored {
  version: number;
  identity: string;
  id: string;
  messages: Message[];
  read: { text: string; tag: string; messages: number; segments: [SegmentKind, number[]][] } | null;
}

function fileName(id: string): string {
  return NAME + encodeURIComponent(id);
}

function sum(text: string): string {
  return new Sha256().update(new TextEncoder().encode(text)).digest();
}
