import { expect, test } from "vitest";

import { findCitations } from "../src/citations.ts";

const SOURCES = [
  { id: "a", title: "gzip.compress", text: "gzip.compress(data, compresslevel=9)\n\nCompress data in one shot and return the compressed string." },
  { id: "b", title: "datetime.date.fromisoformat", text: "datetime.date.fromisoformat\n\nstr -> Construct a date from a string in ISO 8601 format." },
  { id: "c", title: "list.sort", text: "Sort the list in ascending order and return None. The sort is in-place and stable." },
];
const cited = (answer: string, question = ""): [number, string, string][] =>
  findCitations(answer, SOURCES, question).map(({ source, start, end, by }) => [source, answer.slice(start, end), by]);

test("marks are taken as they stand", () => {
  expect(cited("Compress it [1]. Parse it [2, 3], or not [1][2].")).toEqual([
    [0, "[1]", "mark"], [1, "[2, 3]", "mark"], [2, "[2, 3]", "mark"], [0, "[1]", "mark"], [1, "[2]", "mark"],
  ]);
});

test("what only looks like a mark is none", () => {
  const answer = "Take `x [1]` or items[1] or [9], f(x)[1], and:\n```\nlist [2]\n```\nunfinished `[1]";
  expect(cited(answer).filter(([, , by]) => by === "mark")).toEqual([[0, "[1]", "mark"]]);  // an open ` is no code
  expect(findCitations("[0] [4] [999]", SOURCES, "")).toEqual([]);
});

test("a source is cited where it is named, whole or by its own name", () => {
  expect(cited("You can call `gzip.compress(data)`. Then you are done.")).toEqual([[0, "You can call `gzip.compress(data)`.", "words"]]);
  expect(cited("Use date.fromisoformat() for it.")).toEqual([[1, "Use date.fromisoformat() for it.", "words"]]);
  expect(cited("Or plain fromisoformat() for it.")).toHaveLength(1);
  expect(cited("Use datetime.fromisoformat() for it.")).toEqual([]);  // another one
  expect(cited("Use zgzip.compressed, compression, or a list of sorts.")).toEqual([]);
  expect(cited("Python can sort.")).toEqual([]);  // "sort" is no name of its own
});

test("or where a sentence shares its words; what the question asked for does not count", () => {
  expect(cited("It sorts in ascending order, is stable, and returns None.")).toEqual([[2, "It sorts in ascending order, is stable, and returns None.", "words"]]);
  expect(cited("It sorts in ascending order, is stable, and returns None.", "ascending order stable none?")).toEqual([]);
  expect(cited("The stable door is open in summer order.")).toEqual([]);
});

test("neighbouring sentences of one source are one citation; paragraphs and code are their own", () => {
  const answer = "Use gzip.compress for that. The compressed string of the data is returned in one shot.\n\nHere is an example:\n```python\nimport gzip. # x\ngzip.compress(b'1')\n```\nNothing else. See list.sort!";
  expect(cited(answer)).toEqual([
    [0, "Use gzip.compress for that. The compressed string of the data is returned in one shot.", "words"],
    [0, "```python\nimport gzip. # x\ngzip.compress(b'1')\n```", "words"],
    [2, "See list.sort!", "words"],
  ]);
});

test("no sources, no answer", () => {
  expect(findCitations("Some text [1].", [], "")).toEqual([]);
  expect(findCitations("", SOURCES, "?")).toEqual([]);
});
