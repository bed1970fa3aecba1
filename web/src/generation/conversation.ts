/** A conversation as a page sees it: what was said, and what to say next. */
import { PywasmError } from "../error.ts";
import { checkedRequest } from "./arguments.ts";
import { Generation } from "./generation.ts";
import type { GenerationEvent, SendRequest } from "./protocol.ts";
import type { ConversationOptions, GenerateOptions, GenerationEnd, Message } from "./types.ts";

/** What a conversation asks of the worker. */
export interface ConversationCalls {
  /** An answer to the last of the messages. */
  send(request: SendRequest, signal: AbortSignal, hear: (event: GenerationEvent) => void): Promise<GenerationEnd>;
  forget(messages: readonly Message[]): Promise<void>;
}

export class Conversation {
  readonly id: string;
  /** Kept out of storage: it ends with the page. */
  readonly private: boolean;
  readonly #sliding: boolean;
  readonly #calls: ConversationCalls;
  #messages: readonly Message[];
  #answering = false;
  #closed = false;

  constructor(id: string, { private: isPrivate = false, sliding = false }: ConversationOptions, messages: readonly Message[], calls: ConversationCalls) {
    this.id = id;
    this.private = isPrivate;
    this.#sliding = sliding;
    this.#messages = messages;
    this.#calls = calls;
  }

  /** What was said so far; an answer is there when it is complete, or was aborted. */
  get messages(): readonly Message[] {
    return this.#messages;
  }

  /** Says `text` and begins to answer. One at a time. */
  send(text: string, options: GenerateOptions = {}): Generation {
    if (this.#closed) throw new PywasmError("closed", "the conversation is closed");
    if (this.#answering) throw new PywasmError("argument", "the conversation waits for an answer: the next message can be sent behind it");
    const messages: Message[] = [...this.#messages, { role: "user", content: text }];
    const { prompt, ...request } = checkedRequest({ messages }, options);
    this.#answering = true;
    const { signal, onStart } = options;
    return new Generation(async (stop, hear) => {
      try {
        const { stats, answer } = await this.#calls.send({ ...request, id: this.id, private: this.private, sliding: this.#sliding, messages }, stop, hear);
        // Nothing was answered: nothing was said.
        if (answer !== "" || stats.reason !== "aborted") this.#messages = [...messages, { role: "assistant", content: answer }];
        return stats;
      } finally {
        this.#answering = false;
      }
    }, signal, onStart);
  }

  /** Nothing more will be said here now; unless it is private, it can be taken up again by its id. */
  close(): void {
    this.#closed = true;
  }

  /** Removes what was said, and its KV, from memory and storage. */
  async forget(): Promise<void> {
    this.close();
    const messages = this.#messages;
    this.#messages = [];
    await this.#calls.forget(messages);
  }
}
