/**
 * The blocks of the KV arena: who uses which, how far each is filled, and copies where two
 * sequences part inside one. A block holds the keys and values of 32 neighbouring tokens in all
 * layers; a sequence is a list of blocks.
 */
import { PywasmError } from "../error.ts";

/** Tokens of a block: block b of a sequence holds its positions [32 b, 32 b + 32). */
export const BLOCK_TOKENS = 32;

/** The memory that the kernels read. Views are of the moment: growing moves them. */
export interface Arena {
  readonly blockBytes: number;
  /** Blocks that are there now. */
  readonly capacity: number;
  /** Adds `blocks`; false where the memory can't grow so far. */
  grow(blocks: number): boolean;
  bytes(block: number): Uint8Array;
  copyBlock(from: number, to: number): void;
}

/** Blocks of which the arena is grown at once, at least. */
const GROWTH = 8;

/** Number of blocks that `tokens` take from position 0. */
export function blocksOf(tokens: number): number {
  return Math.ceil(tokens / BLOCK_TOKENS);
}

/** Slots of block `index` that a sequence of `tokens` fills. */
export function slotsOf(tokens: number, index: number): number {
  return Math.max(0, Math.min(BLOCK_TOKENS, tokens - index * BLOCK_TOKENS));
}

export class Blocks {
  readonly arena: Arena;
  /** The most blocks that may be in use. */
  readonly budget: number;
  #references: Uint32Array;
  /** Slots [0, end) of a block that somebody uses or is about to write. */
  #ends: Uint8Array;
  readonly #free: number[] = [];
  /** Blocks below this one were handed out at least once. */
  #fresh = 0;

  constructor(arena: Arena, budget: number) {
    this.arena = arena;
    this.budget = budget;
    this.#references = new Uint32Array(budget);
    this.#ends = new Uint8Array(budget);
  }

  /** Blocks in use. */
  get used(): number {
    return this.#fresh - this.#free.length;
  }

  /** A block with one reference and no slot in use; null where the budget or the memory is spent. */
  allocate(): number | null {
    let block = this.#free.pop();
    if (block === undefined) {
      if (this.#fresh >= this.budget) return null;
      if (this.#fresh >= this.arena.capacity && !this.#grow()) return null;
      block = this.#fresh++;
    }
    this.#references[block] = 1;
    this.#ends[block] = 0;
    return block;
  }

  #grow(): boolean {
    const wanted = Math.min(this.budget - this.arena.capacity, Math.max(GROWTH, this.arena.capacity >> 2));
    return this.arena.grow(wanted) || (wanted > 1 && this.arena.grow(1));
  }

  /** How many use the block. */
  references(block: number): number {
    return this.#references[block] ?? 0;
  }

  retain(block: number): void {
    if (this.references(block) === 0) throw new PywasmError("worker", `KV block ${block} is used, but nobody holds it`);
    this.#references[block]!++;
  }

  release(block: number): void {
    if (this.references(block) === 0) throw new PywasmError("worker", `KV block ${block} is released, but nobody holds it`);
    if (--this.#references[block]! === 0) this.#free.push(block);
  }

  /**
   * Takes slots [from, to) of a block that the caller holds, to write them; false where others use
   * them, and the caller needs a copy. Nobody else gets slots after `from` from then on.
   */
  claim(block: number, from: number, to: number): boolean {
    if (this.#references[block] !== 1 && this.#ends[block]! > from) return false;
    this.#ends[block] = to;
    return true;
  }

  /** Slots of the block from `slots` on are used no more, says who claimed them. */
  trim(block: number, slots: number): void {
    this.#ends[block] = Math.min(this.#ends[block]!, slots);
  }
}
