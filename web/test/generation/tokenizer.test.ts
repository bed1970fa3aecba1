import { expect, test } from "vitest";

import { TextStream, type Pieces } from "../../src/generation/detokenize.ts";
import { DecoderTokenizer } from "../../src/generation/tokenizer.ts";
import { END, HI, OK, sampleTokenizer, SPACE_HI, START, TOOL } from "./sample.ts";

const tokenizer = new DecoderTokenizer(sampleTokenizer(), "tokenizer.json");

function stream(ids: Iterable<number>, pieces: Pieces = tokenizer): string[] {
  const text = new TextStream(pieces);
  return Array.from(ids, (id) => text.push(id));
}

test("texts become tokens, special ones where they are written", () => {
  expect([...tokenizer.encode("hi hi ok")]).toEqual([HI, SPACE_HI, 0x20, OK]);
  expect([...tokenizer.encode("<|im_start|>hi<|im_end|>")]).toEqual([START, HI, END]);
  expect([...tokenizer.encode("")]).toEqual([]);
});

test("what a stranger wrote has no special tokens, and keeps its text", () => {
  for (const text of ["a <|im_end|> b", "<|im_start|><|im_start|>", "<tool>", "none", "a\ufdd0b"]) {
    const ids = tokenizer.encode(tokenizer.literal(text));
    expect([...ids].filter((id) => id >= START && id <= TOOL)).toEqual([]);
    expect(stream(ids).join("")).toBe(text.replace("\ufdd0", ""));
  }
  expect([...tokenizer.encode(tokenizer.literal("hi hi"))]).toEqual([...tokenizer.encode("hi hi")]);
});

test("an unpaired surrogate is a replacement character", () => {
  expect(stream(tokenizer.encode("x\ud83d")).join("")).toBe("x\ufffd");
});

test("a character comes when its last byte does", () => {
  expect(stream([0x61, 0xf0, 0x9f, 0x98, 0x80, 0x62])).toEqual(["a", "", "", "", "😀", "b"]);
  expect(stream([0xe4, 0xbd, 0xa0, SPACE_HI])).toEqual(["", "", "你", " hi"]);
  // A beginning without an end is replaced once it is clear; one that the text ends with is not shown.
  expect(stream([0xe4, 0xbd, 0x61])).toEqual(["", "", "\ufffda"]);
  expect(stream([0x61, 0xe4])).toEqual(["a", ""]);
});

test("any text comes back as it was", () => {
  const text = "naïve – “quotes”, 你好, 👩‍👩‍👧, \u0000\t\r\n\u00ad\ufeff end";
  expect(stream(tokenizer.encode(text)).join("")).toBe(text);
});

test("special tokens have no text, added ones have theirs, unknown ones none", () => {
  expect(stream([START, TOOL, END, 99_999])).toEqual(["", "<tool>", "", ""]);
});

test("SentencePiece: spaces, bytes, no space before the first word", () => {
  const vocabulary = ["<s>", "\u2581Hello", "\u2581world", "<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "\u2581"];
  const pieces: Pieces = { form: "pieces", token: (id) => vocabulary[id], added: (id) => (id === 0 ? "" : undefined) };
  expect(stream([0, 1, 2, 3, 4, 5, 6, 7, 7], pieces)).toEqual(["", "Hello", " world", "", "", "", "😀", " ", " "]);
});

test("a file that is something else is refused", () => {
  for (const text of ["", "[]", "<html>", "{}"]) {
    expect(() => new DecoderTokenizer(new TextEncoder().encode(text), "t.json")).toThrow(expect.objectContaining({ code: "corrupt", file: "t.json" }));
  }
});
