/**
 * Conversations in the worker: the exact tokens of what was said, so that the KV of all of it is
 * found again, in this visit or a later one. Text that is tokenised anew may come out as other
 * tokens than the model wrote.
 */
import type { KvCache } from "./cache.ts";
import type { Chat, Read, SavedConversations } from "./saved_conversations.ts";
import type { GenerationEvent, SendRequest } from "./protocol.ts";
import type { GenerationEnd, GenerationStats, Message, TextSegment } from "./types.ts";

/** What a conversation needs of the model. */
export interface ChatLanguage {
  /** The prompt of messages, one segment a message; the assistant's answer is begun. */
  segments(messages: readonly Message[]): readonly TextSegment[];
  encode(text: string): Int32Array;
}

/** The prompt of `messages`, of which the last is to be answered; begins with what `chat` has read where it can. */
export function chatPrompt({ read, messages: known }: Chat, messages: readonly Message[], language: ChatLanguage): Omit<Read, "messages"> {
  const parts = language.segments(messages);
  const text = parts.map((part) => part.text).join("");
  const goesOn = read && read.messages < messages.length && known.slice(0, read.messages).every(({ role, content }, index) => role === messages[index]!.role && content === messages[index]!.content);
  if (goesOn && text.startsWith(read.text)) {
    const tokens = language.encode(text.slice(read.text.length));
    return { text, tag: read.tag, segments: [...read.segments, { kind: "turn", tokens }] };
  }
  return { text, tag: "", segments: parts.map(({ kind, text: own }) => ({ kind, tokens: language.encode(own) })) };
}

/** What the model has read once `prompt` was answered. */
export function chatRead(prompt: Omit<Read, "messages">, messages: number, { text: answer, tokens, window }: Pick<Answer, "text" | "tokens" | "window">): Read {
  if (window) return { text: prompt.text + answer, tag: window.tag, segments: [{ kind: "turn", tokens: window.tokens }], messages };
  if (!tokens || tokens.length === 0) return { ...prompt, messages: messages - 1 };
  return { text: prompt.text + answer, tag: prompt.tag, segments: [...prompt.segments, { kind: "turn", tokens }], messages };
}

/** An answer as the model wrote it. */
export interface Answer {
  stats: GenerationStats;
  text: string;
  /** null: they say more than the text, and are to be read again. */
  tokens: Int32Array | null;
  /** What is left of prompt and answer where the sequence has slid (Lease.slide), and its tag. */
  window: { tag: string; tokens: Int32Array } | null;
}

export interface ConversationsSetup {
  language: ChatLanguage;
  cache: KvCache;
  /** null where nothing is stored. */
  saved: SavedConversations | null;
  answer: (prompt: Pick<Read, "segments" | "tag">, request: SendRequest, signal: AbortSignal, hear: (event: GenerationEvent) => void) => Promise<Answer>;
}

export class Conversations {
  readonly #setup: ConversationsSetup;
  #chats = new Map<string, Chat>();

  constructor(setup: ConversationsSetup) {
    this.#setup = setup;
  }

  /** What was said in an earlier visit; its KV is in the arena then. */
  async open(id: string): Promise<Message[]> {
    const chat = this.#chats.get(id) ?? (await this.#setup.saved?.load(id).catch(() => null));
    if (!chat) return [];
    this.#chats.set(id, chat);
    if (chat.read) (await this.#setup.cache.acquire(chat.read.segments, { tag: chat.read.tag })).release();
    return chat.messages;
  }

  /** Answers the last of the request's messages. */
  async send(request: SendRequest, signal: AbortSignal, hear: (event: GenerationEvent) => void): Promise<GenerationEnd> {
    const { id, messages } = request;
    const chats = this.#chats;
    const chat = chats.get(id) ?? { id, messages: [], read: null };
    const prompt = chatPrompt(chat, messages, this.#setup.language);
    const answer = await this.#setup.answer(prompt, request, signal, hear);
    const { stats, text } = answer;
    if (text === "" && stats.reason === "aborted") return { stats, answer: "" };
    chat.messages = [...messages, { role: "assistant", content: text }];
    chat.read = chatRead(prompt, chat.messages.length, answer);
    chats.set(id, chat);
    // A full disk loses the conversation with the tab, not the answer. After clear() nothing is written.
    if (!request.private && chats === this.#chats) await this.#setup.saved?.save(chat).catch(() => undefined);
    return { stats, answer: text };
  }

  /** Removes a conversation and its KV; `messages` as the page knows them. */
  async forget(id: string, messages: readonly Message[]): Promise<void> {
    const { saved, cache, language } = this.#setup;
    const chat = this.#chats.get(id) ?? (await saved?.load(id).catch(() => null)) ?? { id, messages: [], read: null };
    this.#chats.delete(id);
    await saved?.remove(id);
    if (chat.read) await cache.forget(chat.read.segments);
    else if (messages.length > 0) await cache.forget(chatPrompt(chat, messages, language).segments);
  }

  async ids(): Promise<string[]> {
    return (await this.#setup.saved?.ids()) ?? [];
  }

  clear(): void {
    this.#chats = new Map();
  }
}
