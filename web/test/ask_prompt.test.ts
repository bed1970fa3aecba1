import { readFileSync } from "node:fs";

import { expect, test } from "vitest";

import { documentSegment, fill, fitDocuments, promptSegments, shares, type Measure } from "../src/ask_prompt.ts";
import type { AnswerPrompt } from "../src/generated/manifest.ts";
import type { TextSegment } from "../src/generation/types.ts";

const PROMPT: AnswerPrompt = { system: "S:", document: "\n\n{title}\n{text}", question: "Q: {question}", answer: "A:", characters: 40, documents: 2 };
const source = (id: string, text: string, title = ""): { id: string; title: string; text: string } => ({ id, title, text });
/** A token is two UTF-16 units. */
const measure = (context: number): Measure => ({
  info: { context },
  tokenize: async (prompt) => (prompt as { segments: readonly TextSegment[] }).segments.map(({ text }) => new Int32Array(Math.ceil(text.length / 2))),
});
const fit = (context: number, sources: ReturnType<typeof source>[], maxTokens = 10): ReturnType<typeof fitDocuments> => fitDocuments(measure(context), PROMPT, "why?", sources, maxTokens);

test("what is put in is not looked at again", () => {
  expect(fill("{title} {text} {other}", { title: "{text}", text: "$& {title}" })).toBe("{text} $& {title} {other}");
});

test("a document says its title once, and is cut by code points", () => {
  expect(documentSegment(PROMPT, source("1", "body", "Title"))).toEqual({ kind: "document", text: "\n\nTitle\nbody", id: "1" });
  expect(documentSegment(PROMPT, source("1", "Title and more", "Title")).text).toBe("\n\nTitle and more");
  expect(documentSegment(PROMPT, source("1", "body")).text).toBe("\n\nbody");
  expect(documentSegment(PROMPT, source("1", "😀".repeat(50))).text).toBe(`\n\n${"😀".repeat(40)}`);
  expect(documentSegment(PROMPT, source("1", "abcdef"), 3).text).toBe("\n\nabc");
});

test("documents are what the build makes of them", () => {
  const file = new URL("../../tests/data/answer_prompt.json", import.meta.url);
  const { prompt, documents } = JSON.parse(readFileSync(file, "utf-8")) as { prompt: AnswerPrompt; documents: { title: string; text: string; segment: string }[] };
  expect(documents.map(({ title, text }) => documentSegment(prompt, { id: "1", title, text }).text)).toEqual(documents.map(({ segment }) => segment));
});

test("the segments in their order", () => {
  expect(promptSegments(PROMPT, [documentSegment(PROMPT, source("1", "body"))], "why?").map(({ kind, text }) => [kind, text])).toEqual([
    ["system", "S:"], ["document", "\n\nbody"], ["question", "Q: why?"], ["text", "A:"],
  ]);
});

test("short documents leave their share to the others", () => {
  expect(shares([10, 100, 50], 90)).toEqual([10, 40, 40]);
  expect(shares([10, 20], 90)).toEqual([10, 20]);
  expect(shares([], 5)).toEqual([]);
});

test("documents that fit stay as they are", async () => {
  const { documents, order } = await fit(200, [source("1", "one"), source("2", "two")]);
  expect(documents.map(({ text }) => text)).toEqual(["\n\none", "\n\ntwo"]);
  expect(order).toEqual([0, 1]);
});

test("long ones are cut to their share, the last ones left out", async () => {
  const sources = [source("1", "a".repeat(90)), source("2", "b"), source("3", "c".repeat(90))];
  // 1 + 4 + 1 tokens of prompt and question's, 10 of the answer; a document of 40 characters has 21.
  const tight = await fit(1 + 4 + 1 + 10 + 30, sources);
  expect(tight.order).toEqual([0]);
  const cut = await fitDocuments(measure(1 + 4 + 1 + 10 + 80), { ...PROMPT, characters: 90 }, "why?", sources, 10);
  expect(cut.order).toEqual([0, 1, 2]);
  expect(cut.documents.map(({ text }) => Math.ceil(text.length / 2))).toEqual([39, 2, 39]);
  expect(cut.documents[0]!.text).toBe(`\n\n${"a".repeat(76)}`);
});

test("a question that leaves no room is an error that says so", async () => {
  await expect(fit(30, [source("1", "one")])).rejects.toMatchObject({ code: "argument", message: expect.stringContaining("context of 30") });
});
