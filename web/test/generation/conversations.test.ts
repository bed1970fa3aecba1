import { describe, expect, test } from "vitest";
import { chatPrompt, chatRead, Conversations, type ChatLanguage } from "../../src/generation/conversations.ts";
import { SavedConversations } from "../../src/generation/saved_conversations.ts";
import type { GenerationStats, Message } from "../../src/generation/types.ts";
import { MemoryStore } from "./memory_store.ts";
import { SHAPE } from "./toy_arena.ts";
import { run, setUp } from "./toy_generator.ts";

/** Letters in pairs are tokens: text that is tokenised in other parts comes out otherwise. */
const encode = (text: string): Int32Array => Int32Array.from(text.match(/..?/gs) ?? [], (pair) => pair.charCodeAt(0) * 256 + (pair.charCodeAt(1) || 0));
const language: ChatLanguage = {
  encode,
  segments: (messages) => [
    ...messages.map(({ role, content }) => ({ kind: "turn" as const, text: `<${role}>${content.trim()}</>` })),
    { kind: "text", text: "<assistant>" },
  ],
};

function said(...contents: string[]): Message[] {
  return contents.map((content, index) => ({ role: index % 2 === 0 ? "user" : "assistant", content }));
}

function tokensOf(segments: readonly { tokens: Int32Array }[]): number[] {
  return segments.flatMap(({ tokens }) => [...tokens]);
}

describe("the prompt of the next turn", () => {
  test("begins with the very tokens that were read and written", () => {
    const first = chatPrompt({ id: "a", messages: [], read: null }, said("hi"), language);
    const written = Int32Array.of(1, 2, 3);  // not what encode() makes of the text
    const messages = said("hi", "hello");
    const read = chatRead(first, 2, { text: "hello", tokens: written, window: null });
    const second = chatPrompt({ id: "a", messages, read }, [...messages, { role: "user", content: "more" }], language);
    expect(tokensOf(second.segments)).toEqual([...tokensOf(first.segments), 1, 2, 3, ...encode("</><user>more</><assistant>")]);
  });

  test("reads an answer again that was not kept word for word, or that the template trims", () => {
    const first = chatPrompt({ id: "a", messages: [], read: null }, said("hi"), language);
    for (const [answer, tokens] of [["hello", null], [" hello ", Int32Array.of(1)]] as const) {
      const messages = said("hi", answer);
      const read = chatRead(first, 2, { text: answer, tokens, window: null });
      const next = [...messages, { role: "user", content: "more" }];
      const { segments, text } = chatPrompt({ id: "a", messages, read }, next, language);
      expect(text).toBe("<user>hi</><assistant>hello</><user>more</><assistant>");
      expect(tokensOf(segments)).not.toContain(1);
    }
  });

  test("is made anew where earlier messages are others", () => {
    const first = chatPrompt({ id: "a", messages: [], read: null }, said("hi"), language);
    const chat = { id: "a", messages: said("hi", "hello"), read: chatRead(first, 2, { text: "hello", tokens: Int32Array.of(1), window: null }) };
    const { segments } = chatPrompt(chat, said("HI", "hello", "more"), language);
    expect(tokensOf(segments)).toEqual(tokensOf(language.segments(said("HI", "hello", "more")).map(({ text }) => ({ tokens: encode(text) }))));
  });
});

describe("conversations", () => {
  function visit(store: MemoryStore) {
    const toy = setUp(64, { storage: { store, shape: SHAPE, budget: Infinity } });
    const sources: number[] = [];
    const conversations = new Conversations({
      cache: toy.cache,
      language,
      saved: new SavedConversations(store, "toy"),
      answer: async ({ segments }, request) => {
        const generated = [7, 8, 9];
        const lease = await run(toy, [...segments], generated, { keep: request.private ? "memory" : "storage" });
        sources.push(lease.sources.memory + lease.sources.storage);
        lease.release();
        return { stats: { reason: "stop" } as GenerationStats, text: "yes", tokens: Int32Array.from(generated), window: null };
      },
    });
    const send = async (id: string, messages: Message[], isPrivate = false): Promise<Message[]> => {
      const request = { id, private: isPrivate, sliding: false, messages, maxTokens: 3, sampling: { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 1 }, stop: [] };
      const { answer } = await conversations.send(request, new AbortController().signal, () => undefined);
      await toy.cache.settled();
      return [...messages, { role: "assistant", content: answer }];
    };
    return { toy, conversations, send, sources };
  }

  test("are resumed in a later visit without reading anything again", async () => {
    const store = new MemoryStore();
    const messages = await visit(store).send("a", said("a rather long message to begin with, of many tokens"));
    const later = visit(store);
    expect(await later.conversations.ids()).toEqual(["a"]);
    expect(await later.conversations.open("a")).toEqual(messages);
    const blocks = later.toy.cache.status().blocks;
    expect(blocks).toBeGreaterThan(0);  // it is in memory before anything is said
    await later.send("a", [...messages, { role: "user", content: "and now?" }]);
    // All that was read and written, but for the last token and what is new.
    expect(later.sources).toEqual([encode("<user>a rather long message to begin with, of many tokens</><assistant>").length + 3]);
  });

  test("that are private leave nothing on the disk, and go on within the visit", async () => {
    const store = new MemoryStore();
    const { send, sources, conversations } = visit(store);
    const messages = await send("p", said("a secret that is long enough for a block or two, I hope, is it not?"), true);
    await send("p", [...messages, { role: "user", content: "more" }], true);
    expect(store.files.size).toBe(0);
    expect(sources[1]).toBeGreaterThan(30);
    expect(await conversations.ids()).toEqual([]);
    expect(await visit(store).conversations.open("p")).toEqual([]);
  });

  test("that are forgotten are gone from memory and disk; others stay", async () => {
    const store = new MemoryStore();
    const { send, conversations, toy } = visit(store);
    const other = await send("b", said("something else entirely, to be kept for a while"));
    const before = { files: store.files.size, blocks: toy.cache.status().blocks };
    const messages = await send("a", said("to be forgotten again, all of it, as soon as it is said"));
    await conversations.forget("a", messages);
    expect({ files: store.files.size, blocks: toy.cache.status().blocks }).toEqual(before);
    expect(await conversations.ids()).toEqual(["b"]);
    expect(await visit(store).conversations.open("b")).toEqual(other);
  });

  test("a damaged file is no conversation; of another model only the words are good", async () => {
    const store = new MemoryStore();
    const messages = await visit(store).send("a", said("hello there"));
    const saved = await new SavedConversations(store, "another model").load("a");
    expect(saved).toEqual({ id: "a", messages, read: null });
    const bytes = store.files.get("chat-a")!;
    bytes[bytes.length - 9]! ^= 1;
    expect(await visit(store).conversations.open("a")).toEqual([]);
  });
});
