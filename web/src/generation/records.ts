/**
 * KV on disk. A record holds the blocks of one token range of a prompt as they are in the arena, and
 * all tokens of the prompt up to its end, so that each stands for itself:
 *
 *   u32 magic, version, bytes of the head, bytes of a block, start, end, bytes of the text
 *   text: JSON [identity, tag, kind] in UTF-8, zeros up to a multiple of 4
 *   i32 tokens[end]
 *   i32 checksum[4] of the head so far
 *   blocks floor(start/32) to ceil(end/32) - 1; slots of tokens from `end` on are zeros
 *   i32 checksum[4] of each block
 *
 * All little-endian. What does not add up is no record: it is removed, and computed again.
 */
import { checksum } from "../inference/seal.ts";
import { BLOCK_TOKENS, blocksOf } from "./blocks.ts";
import type { SegmentKind } from "./prompt.ts";
import { prefixHash } from "./tree.ts";

/** "pwkv". */
const MAGIC = 0x766b7770;
const VERSION = 1;
const FIXED_BYTES = 28;
const SUM_BYTES = 16;
/** Bytes that hold the fixed part of a head. */
export const PREAMBLE_BYTES = FIXED_BYTES;
/** A head larger than this is damaged. */
const MOST_HEAD_BYTES = 8 << 20;

export interface RecordHead {
  start: number;
  end: number;
  /** Of the prompt from its start to `end`. */
  tokens: Int32Array;
  /** How all nodes of the path came about (tree.ts). */
  tag: string;
  kind: SegmentKind;
}

/** What of a model its records must fit. */
export interface RecordForm {
  identity: string;
  blockBytes: number;
}

/** What the record is called: the content tells, so the same one written twice is the same. */
export function recordName({ identity }: RecordForm, { tag, tokens, start, end }: RecordHead): string {
  return `${prefixHash(`${identity}\n${tag}`, tokens)}-${start}-${end}`;
}

export function blockCount({ start, end }: Pick<RecordHead, "start" | "end">): number {
  return blocksOf(end) - Math.floor(start / BLOCK_TOKENS);
}

export function recordBytes(form: RecordForm, head: RecordHead): number {
  return headBytes(textOf(form, head), head.end) + blockCount(head) * (form.blockBytes + SUM_BYTES);
}

export function encodeHead(form: RecordForm, head: RecordHead): Uint8Array {
  const text = textOf(form, head);
  const words = new Int32Array(headBytes(text, head.end) / 4);
  const bytes = new Uint8Array(words.buffer);
  words.set([MAGIC, VERSION, bytes.length, form.blockBytes, head.start, head.end, text.length]);
  bytes.set(text, FIXED_BYTES);
  words.set(head.tokens, padded(FIXED_BYTES + text.length) / 4);
  words.set(checksum(bytes.subarray(0, -SUM_BYTES)), words.length - 4);
  return bytes;
}

/** Bytes of the head that begins with `preamble`; null if it is none. */
export function headLength(preamble: Uint8Array): number | null {
  const [magic, version, bytes] = new Int32Array(preamble.slice(0, FIXED_BYTES).buffer);
  const possible = magic === MAGIC && version === VERSION && bytes! > FIXED_BYTES + SUM_BYTES && bytes! <= MOST_HEAD_BYTES && bytes! % 4 === 0;
  return possible ? bytes! : null;
}

/** The head of the record `name` of `size` bytes; null if it is damaged, or of another model, version or format. */
export function decodeHead(form: RecordForm, name: string, size: number, encoded: Uint8Array): RecordHead | null {
  const bytes = encoded.slice();  // aligned
  const words = new Int32Array(bytes.buffer);
  if (headLength(bytes) !== bytes.length) return null;
  const [, , , blockBytes, start, end, textBytes] = words as unknown as number[] & { 3: number; 4: number; 5: number; 6: number };
  const sum = checksum(bytes.subarray(0, -SUM_BYTES));
  if (sum.some((word, index) => word !== words[words.length - 4 + index])) return null;
  if (blockBytes !== form.blockBytes || start < 0 || start >= end || textBytes < 0 || padded(FIXED_BYTES + textBytes) + end * 4 + SUM_BYTES !== bytes.length) return null;
  let identity: unknown;
  let tag: unknown;
  let kind: unknown;
  try {
    [identity, tag, kind] = JSON.parse(new TextDecoder().decode(bytes.subarray(FIXED_BYTES, FIXED_BYTES + textBytes))) as unknown[];
  } catch {
    return null;
  }
  if (identity !== form.identity || typeof tag !== "string" || typeof kind !== "string") return null;
  const tokens = words.slice(padded(FIXED_BYTES + textBytes) / 4, words.length - 4);
  const head = { start, end, tokens, tag, kind: kind as SegmentKind };
  return recordName(form, head) === name && recordBytes(form, head) === size ? head : null;
}

/** Where in the record the block with index `index` of the prompt begins. */
export function blockOffset(form: RecordForm, headLength: number, { start }: Pick<RecordHead, "start">, index: number): number {
  return headLength + (index - Math.floor(start / BLOCK_TOKENS)) * form.blockBytes;
}

/** Checksums of the blocks of a record, from its end. */
export function sumBytes(head: Pick<RecordHead, "start" | "end">): number {
  return blockCount(head) * SUM_BYTES;
}

/** Whether `bytes` are the block whose checksum is the `index`-th of `sums`. */
export function isWhole(bytes: Uint8Array, sums: Int32Array, index: number): boolean {
  return checksum(bytes).every((word, at) => word === sums[index * 4 + at]);
}

/** The tensor sizes that a block's layout depends on. */
export interface BlockShape {
  layers: number;
  kvHeads: number;
  headDim: number;
}

/**
 * Zeroes the slots from `slots` on of a block: f16 K[kv_heads, head_dim, 32], V[kv_heads, 32,
 * head_dim] for each layer. Another sequence may have written there, whose text is nobody's business.
 */
export function blank(bytes: Uint8Array, { layers, kvHeads, headDim }: BlockShape, slots: number): void {
  if (slots >= BLOCK_TOKENS) return;
  const halves = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
  const rows = kvHeads * headDim;
  for (let at = 0; at < layers * 2 * rows * BLOCK_TOKENS; at += 2 * rows * BLOCK_TOKENS) {
    for (let row = 0; row < rows; row++) halves.fill(0, at + row * BLOCK_TOKENS + slots, at + (row + 1) * BLOCK_TOKENS);
    const values = at + rows * BLOCK_TOKENS;
    for (let head = 0; head < kvHeads; head++) {
      halves.fill(0, values + (head * BLOCK_TOKENS + slots) * headDim, values + (head + 1) * BLOCK_TOKENS * headDim);
    }
  }
}

function textOf({ identity }: RecordForm, { tag, kind }: RecordHead): Uint8Array {
  return new TextEncoder().encode(JSON.stringify([identity, tag, kind]));
}

function headBytes(text: Uint8Array, tokens: number): number {
  return padded(FIXED_BYTES + text.length) + tokens * 4 + SUM_BYTES;
}

function padded(bytes: number): number {
  return (bytes + 3) & ~3;
}
