/**
 * One sequence while it runs: its block table, what of it is filled, and its way into the knowledge
 * tree. What it computed stays in the cache when it is released, finished or aborted.
 */
import { PywasmError } from "../error.ts";
import { BLOCK_TOKENS, blocksOf, slotsOf, type Blocks } from "./blocks.ts";
import { graft } from "./graft.ts";
import type { Boundary, Keep, Prompt } from "./prompt.ts";
import type { Arrival } from "./shipped_tier.ts";
import { prefixHash, type Tree, type TreeNode } from "./tree.ts";

/** Tokens of a prompt whose KV did not have to be computed, by where it was. */
export interface Sources {
  memory: number;
  storage: number;
  shipped: number;
}

export type Move = (source: Int32Array, from: number, table: Int32Array, to: number, rows: number) => void;

/** What a lease needs of the cache. */
export interface LeaseHost {
  readonly tree: Tree;
  readonly blocks: Blocks;
  /** A block, for which others may have to go; throws "memory". */
  allocate(): number;
  /** `node` was used by a sequence. */
  used(node: TreeNode): void;
  /** Tokens [from, to) took `ms` to compute. */
  measured(from: number, to: number, ms: number): void;
  /** Copies the KV of `rows` tokens from one sequence to another, keys turned by the difference of positions; null where no kernel does. */
  readonly move: Move | null;
  /** KV of `tokens` came from the site. */
  shipped(tokens: number): void;
  /** The lease is over; `tip` is the last node of its sequence. */
  released(lease: Lease, tip: TreeNode): void;
}

/** What acquire() found: `tip` ends at or after `cached`, and is pinned for the lease. */
export interface LeaseStart {
  prompt: Prompt;
  tip: TreeNode;
  /** Blocks of the first `cached` tokens, a reference held to each. */
  blocks: readonly number[];
  cached: number;
  sources: Sources;
  keep: Keep;
  /** KV of one of the prompt's segments that is being fetched. */
  arrival: Arrival | null;
  /** Of a sequence that has slid (slide()); else "". */
  tag: string;
}

/** How KV came about that was compressed on the site (tree.ts). */
export const SHIPPED = "shipped";
/** Tokens to run at once while more KV may come, and that are not worth waiting for. */
const FEW_TOKENS = 32;

export class Lease {
  readonly #host: LeaseHost;
  /** The tree when the lease began; clear() makes a new one, and then nothing is added any more. */
  readonly #root: TreeNode;
  #boundaries: readonly Boundary[];
  #tag: string;
  readonly #keep: Keep;
  #arrival: Arrival | null;
  /** Of the arrival, once it is here. */
  #record: Uint8Array | null = null;
  #waited = false;
  readonly sources: Sources;
  #tokens: Int32Array;
  #length: number;
  #table: Int32Array;
  #count: number;
  #tip: TreeNode;
  /** Tokens that are in the tree. */
  #grafted: number;
  #cached: number;
  /** Tokens for which there is room. */
  #reserved: number;
  #released = false;

  constructor(host: LeaseHost, start: LeaseStart) {
    this.#host = host;
    this.#root = host.tree.root;
    this.#boundaries = start.prompt.boundaries;
    this.#keep = start.keep;
    this.#tag = start.tag;
    this.#arrival = start.arrival;
    void start.arrival?.record.then((record) => {
      this.#record = record;
      if (!record) this.#arrival = null;
    });
    this.sources = start.sources;
    this.#tokens = start.prompt.tokens;
    this.#length = start.prompt.tokens.length;
    this.#table = Int32Array.from(start.blocks);
    this.#count = start.blocks.length;
    this.#tip = start.tip;
    this.#grafted = start.cached;
    this.#cached = start.cached;
    this.#reserved = start.cached;
  }

  /** Blocks of the sequence so far. Another array after reserve(). */
  get table(): Int32Array {
    return this.#table.subarray(0, this.#count);
  }

  /** The prompt and what was appended. */
  get tokens(): Int32Array {
    return this.#tokens.subarray(0, this.#length);
  }

  /** How its KV came about where it has slid, to be acquired by; else "". */
  get tag(): string {
    return this.#tag;
  }

  /** Tokens from the start whose KV is there: the next to run is this one. */
  get cached(): number {
    return this.#cached;
  }

  /** How many tokens to run at once at most: up to where KV is on its way, then few, since it may come. */
  get stretch(): number {
    if (!this.#arrival) return Infinity;
    return this.#cached < this.#arrival.start ? this.#arrival.start - this.#cached : FEW_TOKENS;
  }

  /** Waits for KV that is on its way, as long as that pays. */
  async wait(): Promise<void> {
    const arrival = this.#arrival;
    if (!arrival || this.#waited || this.#cached < arrival.start) return;
    this.#waited = true;
    let timer: ReturnType<typeof setTimeout> | undefined;
    await Promise.race([arrival.record, new Promise((resolve) => (timer = setTimeout(resolve, arrival.patience)))]);
    clearTimeout(timer);
  }

  /** Puts what has come into its place: runs a kernel. Answers `cached`. */
  advance(): number {
    this.#check();
    const arrival = this.#arrival;
    if (!arrival || this.#cached < arrival.start) return this.#cached;
    if (this.#cached > arrival.end - FEW_TOKENS && this.#cached > arrival.start) {
      this.#arrival = null;
      arrival.cancel();
    } else if (this.#record) {
      this.#arrival = null;
      this.#place(arrival, this.#record);
    }
    return this.#cached;
  }

  #place(arrival: Arrival, record: Uint8Array): void {
    this.reserve(arrival.end);
    try {
      arrival.place(record, this.table);
    } catch (error) {
      // Then it is computed.
      if (!(error instanceof PywasmError) || error.code !== "corrupt") throw error;
      return;
    }
    this.sources.shipped = arrival.end - arrival.start;
    this.#host.shipped(this.sources.shipped);
    this.#cached = arrival.end;
    this.#graft(arrival.end, { kind: "document" }, { tag: SHIPPED });
  }

  /** Makes room for the KV of positions below `tokens`. Throws "memory" where there is none; what there was stays. */
  reserve(tokens: number): void {
    this.#check();
    if (tokens <= this.#reserved) return;
    if (this.#reserved % BLOCK_TOKENS !== 0) this.#goOnIn(this.#count - 1, slotsOf(tokens, this.#count - 1));
    while (this.#count < blocksOf(tokens)) {
      const block = this.#host.allocate();
      this.#host.blocks.claim(block, 0, slotsOf(tokens, this.#count));
      if (this.#count === this.#table.length) this.#table = grown(this.#table);
      this.#table[this.#count++] = block;
    }
    this.#reserved = tokens;
  }

  /** The sequence goes on inside block `index`: in place if nobody else went on there, else in a copy. */
  #goOnIn(index: number, slots: number): void {
    const { blocks } = this.#host;
    const block = this.#table[index]!;
    const from = slotsOf(this.#reserved, index);
    if (blocks.claim(block, from, slots)) return;
    const copy = this.#host.allocate();
    blocks.arena.copyBlock(block, copy);
    blocks.claim(copy, 0, slots);
    this.#table[index] = copy;
    blocks.release(block);
  }

  /**
   * Drops `count` whole blocks behind the first `sinks` ones, whose tokens hold the attention that
   * has nowhere to go (StreamingLLM, arXiv 2309.17453); what is behind them moves down by as many
   * positions, its keys turned by a kernel. Answers the tokens dropped. What has slid is kept apart
   * from what was computed behind the same tokens.
   */
  slide(sinks: number, count: number): number {
    this.#check();
    const { blocks, move } = this.#host;
    const from = (sinks + count) * BLOCK_TOKENS;
    if (!move) throw new PywasmError("unsupported", "the model has no kernel that moves KV: the conversation can't slide");
    if (sinks < 1 || count < 1 || from > this.#cached) throw new PywasmError("argument", `can't drop ${count} blocks behind ${sinks} of ${this.#cached} tokens`);
    const old = this.table.slice();
    const kept = this.#cached - from;
    const fresh: number[] = [];
    try {
      for (let index = 0; index < blocksOf(kept); index++) fresh.push(this.#host.allocate());
    } catch (error) {
      for (const block of fresh) blocks.release(block);
      throw error;
    }
    const table = Int32Array.of(...old.subarray(0, sinks), ...fresh);
    if (kept > 0) move(old, from, table, sinks * BLOCK_TOKENS, kept);
    for (const block of old.subarray(sinks)) blocks.release(block);
    this.#arrival?.cancel();
    this.#arrival = null;
    this.#tag = `window ${prefixHash(`${this.#tag} ${sinks} ${count}`, this.tokens.subarray(0, this.#cached))}`;
    const tokens = [...this.tokens.subarray(0, sinks * BLOCK_TOKENS), ...this.tokens.subarray(from)];
    this.#tokens = Int32Array.from(tokens);
    this.#length = tokens.length;
    this.#boundaries = [];
    this.#table = table;
    this.#count = table.length;
    this.#cached -= count * BLOCK_TOKENS;
    this.#reserved = this.#cached;
    for (const [index, block] of fresh.entries()) blocks.claim(block, 0, slotsOf(kept, index));
    this.#graftAnew();
    return count * BLOCK_TOKENS;
  }

  /** From here on the sequence is a path of its own from the root. */
  #graftAnew(): void {
    this.#tip.pins--;
    this.#tip = this.#root;
    this.#root.pins++;
    this.#grafted = 0;
  }

  /** Positions below `tokens` are filled now; the last of them took `ms`. */
  computed(tokens: number, ms: number): void {
    this.#check();
    if (tokens > this.#reserved || tokens > this.#length) {
      throw new PywasmError("argument", `KV of ${tokens} tokens is said to be computed, where ${this.#reserved} have room and ${this.#length} are known`);
    }
    if (tokens <= this.#cached) return;
    this.#host.measured(this.#cached, tokens, ms);
    this.#cached = tokens;
    // A segment that is complete serves others from here on.
    for (const boundary of this.#boundaries) {
      if (boundary.end > this.#grafted && boundary.end <= tokens) this.#graft(boundary.end, boundary);
    }
  }

  /** A generated token: known from now on, computed with the next run. */
  append(token: number): void {
    this.#check();
    if (this.#length === this.#tokens.length) this.#tokens = grown(this.#tokens);
    this.#tokens[this.#length++] = token;
  }

  /** Gives everything back; the second time nothing happens. */
  release(): void {
    if (this.#released) return;
    this.#arrival?.cancel();
    if (this.#cached > this.#grafted) {
      const boundary = this.#boundaries.find(({ end }) => end > this.#grafted);
      this.#graft(this.#cached, boundary ?? { kind: "turn" }, { generated: !boundary });
    }
    this.#released = true;
    const { blocks } = this.#host;
    const last = blocksOf(this.#cached) - 1;
    // Room that was claimed and not filled: nobody else can have come after it.
    if (this.#reserved > this.#cached && last >= 0) blocks.trim(this.#table[last]!, slotsOf(this.#cached, last));
    for (const block of this.table) blocks.release(block);
    this.#tip.pins--;
    this.#host.released(this, this.#tip);
  }

  #graft(end: number, { kind }: Pick<Boundary, "kind">, { tag = this.#tag, generated = false } = {}): void {
    const { tree, blocks } = this.#host;
    if (tree.root !== this.#root) return;
    const sequence = { tokens: this.tokens, table: this.table, private: this.#keep === "memory" || (generated && this.#keep === "prompt") };
    const tip = graft(tree, blocks, this.#tip, this.#grafted, end, sequence, { kind, tag }, (node) => this.#host.used(node));
    tip.pins++;
    this.#tip.pins--;
    this.#tip = tip;
    this.#grafted = end;
  }

  #check(): void {
    if (this.#released) throw new PywasmError("closed", "the KV lease was released");
  }
}

function grown(array: Int32Array): Int32Array {
  const larger = new Int32Array(Math.max(16, array.length * 2));
  larger.set(array);
  return larger;
}
