/**
 * A prompt is a list of segments, each tokenised on its own and concatenated, at build time and in
 * the browser alike: the tokens of a document do not depend on what stands before it.
 */
import { PywasmError } from "../error.ts";

export type SegmentKind = "system" | "document" | "question" | "turn" | "text";

export interface Segment {
  kind: SegmentKind;
  tokens: Int32Array;
  /** Of a document: what the site calls it. */
  id?: string;
}

/** Where a segment of the prompt ends, in tokens from its start. */
export interface Boundary {
  end: number;
  kind: SegmentKind;
}

export interface Prompt {
  tokens: Int32Array;
  boundaries: Boundary[];
}

export function joinSegments(segments: readonly Segment[]): Prompt {
  const tokens = new Int32Array(segments.reduce((sum, segment) => sum + segment.tokens.length, 0));
  if (tokens.length === 0) throw new PywasmError("argument", "the prompt has no tokens");
  const boundaries: Boundary[] = [];
  let end = 0;
  for (const { kind, tokens: own } of segments) {
    if (own.length === 0) continue;
    tokens.set(own, end);
    end += own.length;
    boundaries.push({ end, kind });
  }
  return { tokens, boundaries };
}

/**
 * Where what a prompt computes may be kept: all of it in storage, so that it survives a reload; the
 * prompt there and what is generated in memory alone; nothing but in memory.
 */
export type Keep = "storage" | "prompt" | "memory";
