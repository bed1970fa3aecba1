/**
 * An arena with the layout of a small model (2 layers, 1 head of 2) in which the "KV" of a token is
 * a number that depends on all tokens up to it, so that a wrong block, slot or prefix shows.
 */
import type { Arena } from "../../src/generation/blocks.ts";

export const SHAPE = { layers: 2, kvHeads: 1, headDim: 2 };
const LAYER_HALVES = 32 * 2 * 2;

export class ToyArena implements Arena {
  readonly blockBytes = SHAPE.layers * LAYER_HALVES * 2;
  readonly limit: number;
  #memory: Uint8Array;

  /** `limit`: blocks up to which it grows. */
  constructor(limit: number, capacity = 0) {
    this.limit = limit;
    this.#memory = new Uint8Array(capacity * this.blockBytes);
  }

  get capacity(): number {
    return this.#memory.length / this.blockBytes;
  }

  grow(blocks: number): boolean {
    if (this.capacity + blocks > this.limit) return false;
    const larger = new Uint8Array((this.capacity + blocks) * this.blockBytes);
    larger.set(this.#memory);
    this.#memory = larger;
    return true;
  }

  bytes(block: number): Uint8Array {
    if (block >= this.capacity) throw new Error(`no block ${block}`);
    return this.#memory.subarray(block * this.blockBytes, (block + 1) * this.blockBytes);
  }

  copyBlock(from: number, to: number): void {
    this.bytes(to).set(this.bytes(from));
  }

  /** What a model would do: fills positions [from, to) of a sequence. */
  run(tokens: ArrayLike<number>, table: Int32Array, from: number, to: number): void {
    const states = statesOf(tokens, to);
    for (let position = from; position < to; position++) {
      this.#slots(table, position, (halves, at, salt) => (halves[at] = mix(states[position]!, salt) & 0xffff));
    }
  }

  /** As kv_move does, but for turning the keys. */
  move(source: Int32Array, from: number, table: Int32Array, to: number, rows: number): void {
    for (let row = 0; row < rows; row++) {
      const found: number[] = [];
      this.#slots(source, from + row, (halves, at) => found.push(halves[at]!));
      this.#slots(table, to + row, (halves, at) => (halves[at] = found.shift()!));
    }
  }

  /** The first position below `to` whose KV is not that of a full run; -1: all are right. */
  wrong(tokens: ArrayLike<number>, table: Int32Array, to: number): number {
    const states = statesOf(tokens, to);
    for (let position = 0; position < to; position++) {
      let right = true;
      this.#slots(table, position, (halves, at, salt) => (right &&= halves[at] === (mix(states[position]!, salt) & 0xffff)));
      if (!right) return position;
    }
    return -1;
  }

  /** Keys are f16[head_dim, 32], values f16[32, head_dim], layer after layer. */
  #slots(table: Int32Array, position: number, visit: (halves: Uint16Array, at: number, salt: number) => void): void {
    const block = this.bytes(table[position >> 5]!);
    const halves = new Uint16Array(block.buffer, block.byteOffset, block.byteLength / 2);
    const slot = position & 31;
    for (let layer = 0; layer < SHAPE.layers; layer++) {
      for (let d = 0; d < SHAPE.headDim; d++) {
        visit(halves, layer * LAYER_HALVES + d * 32 + slot, layer * 16 + d);
        visit(halves, layer * LAYER_HALVES + 64 + slot * SHAPE.headDim + d, layer * 16 + 8 + d);
      }
    }
  }
}

function statesOf(tokens: ArrayLike<number>, end: number): number[] {
  const states: number[] = [];
  for (let position = 0, state = 1; position < end; position++) states.push((state = mix(state, tokens[position]!)));
  return states;
}

function mix(state: number, value: number): number {
  let mixed = Math.imul(state ^ value, 0x9e3779b1) + 0x7f4a7c15;
  mixed ^= mixed >>> 15;
  mixed = Math.imul(mixed, 0x85ebca6b);
  return mixed ^ (mixed >>> 13);
}
