import { expect, test } from "vitest";

import { Engine } from "../src/engine.ts";
import { Matcher, snippet } from "../src/highlight.ts";
import { decodeTokens } from "../src/messages.ts";
import { modules } from "./sample_site.ts";

const engine = await Engine.create((await modules()).search);
const tokenize = (utf8: Uint8Array) => decodeTokens(engine.tokenize(utf8));
const marked = (query: string, text: string, prefix = false): string[] => new Matcher(query, prefix, tokenize).highlights(text).map(([start, end]) => text.slice(start, end));

test("matches are folded as the index folds them", () => {
  expect(marked("CAFÉ", "a café, cafe and Café")).toContain("café");
  expect(marked("date", "update the Dates")).toEqual(["Dates"]);
});

test("offsets count UTF-16 units, also behind characters of four bytes", () => {
  expect(marked("date", "😀 é date 😀 date")).toEqual(["date", "date"]);
});

test("with prefix the last word also matches beginnings", () => {
  expect(marked("par", "parse the party")).toEqual([]);
  expect(marked("par", "parse the party", true)).toEqual(["parse", "party"]);
});

test("a snippet shows where the matches are densest and keeps their places", () => {
  const text = `${"before ".repeat(50)}one date two date three ${"after ".repeat(50)}`;
  const shown = snippet(text, new Matcher("date", false, tokenize).highlights(text), 80);
  expect(shown.text.length).toBeLessThan(120);
  expect(shown.highlights.map(([start, end]) => shown.text.slice(start, end))).toEqual(["date", "date"]);
});

test("a short text is shown whole", () => {
  expect(snippet("short", [[0, 5]], 80)).toEqual({ text: "short", highlights: [[0, 5]] });
});
