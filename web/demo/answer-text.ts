/** An answer taken apart: paragraphs, code, what is strong, and where its citations are. */

import type { Citation } from "../src/pywasm.ts";

export type Part =
  | { kind: "text" | "code" | "strong"; text: string }
  | { kind: "break" }
  | { kind: "source"; source: number };

/** A paragraph, or a block of code. */
export type Block = { parts: Part[] } | { code: string; sources: number[] };

/** Where a citation is, while the text is taken apart: characters for private use, which no text needs. */
const [OPEN, CLOSE] = ["\ue000", "\ue001"];
const PLACE = /\ue000(\d+)\ue001/g;
const INLINE = /`([^`\n]+)`|\*\*([^*\n]+)\*\*|\ue000(\d+)\ue001|\n/g;

/** What models write is Markdown, of which these few things: fences, `code`, **strong**, lines and paragraphs. */
export function answerBlocks(text: string, citations: readonly Citation[]): Block[] {
  const placed = place(text.replace(/[\ue000\ue001]/g, " "), citations);
  const blocks: Block[] = [];
  let from = 0;
  for (const { 0: fence, 1: code = "", 2: places = "", index } of placed.matchAll(/```[^\n`]*\n?([\s\S]*?)(?:\n?```|$)((?:\ue000\d+\ue001)*)/g)) {
    blocks.push(...paragraphs(placed.slice(from, index)), { code: code.replace(PLACE, ""), sources: sourcesIn(places) });
    from = index + fence.length;
  }
  return [...blocks, ...paragraphs(placed.slice(from))];
}

/** Marks are replaced; what is a source's own words is followed by its place. */
function place(text: string, citations: readonly Citation[]): string {
  let placed = text;
  // From the back, so that what is before stays where it is; of one mark, the last source first.
  for (const { source, start, end, by } of [...citations].sort((a, b) => b.end - a.end || b.source - a.source)) {
    const replaces = by === "mark" && !citations.some((other) => other.start === start && other.source < source);
    placed = placed.slice(0, replaces ? start : end) + OPEN + source + CLOSE + placed.slice(end);
  }
  return placed;
}

function paragraphs(text: string): Block[] {
  return text.split(/\n{2,}/).map((paragraph) => paragraph.trim()).filter((paragraph) => paragraph !== "").map((paragraph) => ({ parts: inline(paragraph) }));
}

function inline(text: string): Part[] {
  const parts: Part[] = [];
  const add = (kind: "text" | "code" | "strong", text: string): void => {
    const plain = text.replace(PLACE, "");
    if (plain !== "") parts.push({ kind, text: plain });
    parts.push(...sourcesIn(text).map((source) => ({ kind: "source" as const, source })));
  };
  let from = 0;
  for (const { 0: found, 1: code, 2: strong, index } of text.matchAll(INLINE)) {
    add("text", text.slice(from, index));
    if (code !== undefined) add("code", code);
    else if (strong !== undefined) add("strong", strong);
    else if (found === "\n") parts.push({ kind: "break" });
    else add("text", found);
    from = index + found.length;
  }
  add("text", text.slice(from));
  return parts;
}

function sourcesIn(text: string): number[] {
  return [...text.matchAll(PLACE)].map(({ 1: source }) => Number(source));
}
