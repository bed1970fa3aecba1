import { describe, expect, test } from "vitest";

import { answerBlocks, type Block, type Part } from "../demo/answer-text.ts";
import { isQuestion } from "../demo/question.ts";
import type { Citation } from "../src/ask_types.ts";

/** Parts as a line: `code` and *strong* marked, citations as <n>. */
const shown = (part: Part): string => {
  switch (part.kind) {
    case "text": return part.text;
    case "code": return `\`${part.text}\``;
    case "strong": return `*${part.text}*`;
    case "break": return "/";
    case "source": return `<${part.source}>`;
  }
};
const lines = (blocks: Block[]): string[] => blocks.map((block) => ("code" in block ? `{${block.code}}${block.sources.map((source) => `<${source}>`).join("")}` : block.parts.map(shown).join("")));
const after = (text: string, words: string, source: number): Citation => ({ source, start: 0, end: text.indexOf(words) + words.length, by: "words" });

describe("an answer", () => {
  test("in paragraphs, with code and what is strong", () => {
    expect(lines(answerBlocks("Use `f(x)`.\nIt is **fast**.\n\n\n1. one\n", []))).toEqual(["Use `f(x)`./It is *fast*.", "1. one"]);
    expect(lines(answerBlocks("So:\n```python\na = [1]\n\nb\n```\nDone", []))).toEqual(["So:", "{a = [1]\n\nb}", "Done"]);
  });

  test("while it is being written: what is open is shown as far as it goes", () => {
    expect(lines(answerBlocks("So:\n```python\na = ", []))).toEqual(["So:", "{a = }"]);
    expect(lines(answerBlocks("Use `f(", []))).toEqual(["Use `f("]);
    expect(lines(answerBlocks("", []))).toEqual([]);
  });

  test("with its sources behind their words, and in the place of marks", () => {
    const text = "One. Two `x.` three\n```\ncode\n```\nEnd [2, 3].";
    const mark = { start: text.indexOf("["), end: text.indexOf("]") + 1, by: "mark" } as const;
    expect(lines(answerBlocks(text, [after(text, "One.", 0), { source: 1, ...mark }, { source: 2, ...mark }]))).toEqual(
      ["One.<0> Two `x.` three", "{code}", "End <1><2>."]);
    expect(lines(answerBlocks(text, [after(text, "x.", 1)]))[0]).toBe("One. Two `x.`<1> three");
    expect(lines(answerBlocks(text, [after(text, "code\n```", 1)]))).toEqual(["One. Two `x.` three", "{code}<1>", "End [2, 3]."]);
  });

  test("cannot forge a citation", () => {
    expect(lines(answerBlocks("a \ue0000\ue001 b", []))).toEqual(["a  0  b"]);
  });
});

test("a question", () => {
  for (const text of ["How do I parse a date?", "parse a date?", "what does lru_cache do", "何ですか？"]) expect(isQuestion(text)).toBe(true);
  for (const text of ["", "parse a date", "how to", "json", "temporary directory"]) expect(isQuestion(text)).toBe(false);
});
