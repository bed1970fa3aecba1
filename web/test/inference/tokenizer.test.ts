import { beforeAll, expect, test } from "vitest";

import { Tokenizer } from "../../src/inference/tokenizer.ts";
import { sampleFile, samplePlan } from "./sample.ts";

let json: Uint8Array;
beforeAll(async () => (json = await sampleFile((await samplePlan()).encoder!.tokenizer.file)));

const encode = (text: string, most = 16) => new Tokenizer(json, most, "tokenizer.json").encode(text);

test("words, pieces and special tokens", () => {
  expect(encode("Red  trees, ONE")).toEqual([2, 4, 10, 11, 1, 7, 3]);
  expect(encode("")).toEqual([2, 3]);
  expect(encode("[SEP] red")).toEqual([2, 3, 4, 3]);
});

test("what is no text: lone surrogates, controls, final sigmas", () => {
  expect(encode("red \ud800 one\udc00")).toEqual([2, 4, 7, 3]);
  expect(encode("re\u0000d")).toEqual([2, 4, 3]);
  expect(encode("\u{1f600}")).toEqual([2, 1, 3]);
});

test("a long text is cut to the same tokens as if all of it were read, in the time its beginning takes", () => {
  const long = "one trees two, ".repeat(80_000);
  const started = performance.now();
  expect(encode(long, 12)).toEqual([2, 7, 10, 11, 8, 1, 7, 10, 11, 8, 1, 3]);
  expect(performance.now() - started).toBeLessThan(200);
  expect(encode(`${" ".repeat(100_000)}one ${"x".repeat(100_000)} two`, 12)).toEqual([2, 7, 1, 8, 3]);
  expect(encode("红".repeat(100_000), 6)).toEqual([2, 1, 1, 1, 1, 3]);
});

test("what is no tokenizer is refused", () => {
  for (const wrong of ["", "{}", "[]", '{"model": {"type": "other"}}']) {
    expect(() => new Tokenizer(new TextEncoder().encode(wrong), 16, "t.json")).toThrow(expect.objectContaining({ code: "corrupt", file: "t.json" }));
  }
});
