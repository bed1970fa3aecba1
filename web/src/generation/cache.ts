/**
 * The KV cache: prompts are looked up in the knowledge tree, what is known of them is shared, and
 * what has to go when the arena is full goes by policy, leaves first.
 */
import { PywasmError, throwIfAborted } from "../error.ts";
import { Blocks, blocksOf, type Arena } from "./blocks.ts";
import { Lease, type LeaseHost } from "./lease.ts";
import { Policy, victim, type PolicyName } from "./policy.ts";
import { joinSegments, type Segment } from "./prompt.ts";
import { Rates } from "./rates.ts";
import { Tree, type TreeNode } from "./tree.ts";

/**
 * How long what a prompt computes may be kept: in storage, so that it survives a reload, or in
 * memory alone, as long as there is room.
 */
export type Keep = "storage" | "memory";

export interface KvCacheOptions {
  arena: Arena;
  /** All that the bits of KV depend on but the tokens: weights, tokenizer, RoPE, format, numeric class, kernels. */
  identity: string;
  /** The most blocks of the arena to use. */
  budget: number;
  policy?: PolicyName;
}

export interface AcquireOptions {
  signal?: AbortSignal;
  keep?: Keep;
}

export class KvCache {
  readonly #blocks: Blocks;
  readonly #tree = new Tree();
  readonly #policy: Policy;
  readonly #rates = new Rates();
  readonly #leases = new Set<Lease>();
  readonly #host: LeaseHost;

  constructor({ arena, budget, policy = "pgdsf" }: KvCacheOptions) {
    this.#blocks = new Blocks(arena, budget);
    this.#policy = new Policy(policy);
    this.#host = {
      tree: this.#tree,
      blocks: this.#blocks,
      allocate: () => this.#allocate(),
      used: (node) => this.#use(node),
      measured: (from, to, ms) => this.#rates.computed(from, to - from, ms),
      released: (lease) => void this.#leases.delete(lease),
    };
  }

  /**
   * What is known of the prompt, to be gone on from. The last token is never taken as known: its
   * logits are wanted.
   */
  async acquire(segments: readonly Segment[], { signal, keep = "storage" }: AcquireOptions = {}): Promise<Lease> {
    throwIfAborted(signal);
    const prompt = joinSegments(segments);
    const { path, length } = this.#tree.match(prompt.tokens.subarray(0, -1), (tag) => tag === "");
    const lease = this.#lease(prompt, path, length, keep);
    this.#leases.add(lease);
    return lease;
  }

  #lease(prompt: ReturnType<typeof joinSegments>, path: readonly TreeNode[], length: number, keep: Keep): Lease {
    const table: number[] = [];
    let tip = this.#tree.root;
    for (const node of path) {
      if (!node.blocks) break;
      // The deepest node that has a block has all of it.
      node.blocks.forEach((block, index) => (table[node.firstBlock + index] = block));
      if (keep === "storage") node.private = false;
      this.#use(node);
      tip = node;
    }
    const cached = Math.min(length, tip.end);
    table.length = blocksOf(cached);
    for (const block of table) this.#blocks.retain(block);
    tip.pins++;
    const sources = { memory: cached, storage: 0, shipped: 0 };
    return new Lease(this.#host, { prompt, tip, blocks: table, cached, sources, private: keep !== "storage", tag: "" });
  }

  #use(node: TreeNode): void {
    this.#policy.use(node.memory, this.#costOf(node), node.tokens.length);
  }

  /** ms to have the node's KV in the arena again if it went from there. */
  #costOf(node: TreeNode): number {
    return this.#rates.computeMs(node.start, node.tokens.length);
  }

  #allocate(): number {
    for (;;) {
      const block = this.#blocks.allocate();
      if (block !== null) return block;
      const node = victim(this.#evictable(), ({ memory }) => memory);
      if (!node) {
        const { used, arena } = this.#blocks;
        throw new PywasmError("memory", `the KV cache is full: ${used} blocks of ${arena.blockBytes} bytes are in use by running prompts`);
      }
      this.#evict(node);
    }
  }

  *#evictable(): Generator<TreeNode> {
    for (const node of this.#tree.nodes()) {
      if (node.blocks && node.pins === 0 && node.children.every(({ blocks, pins }) => !blocks && pins === 0)) yield node;
    }
  }

  #evict(node: TreeNode): void {
    this.#policy.evicted(node.memory);
    for (const block of node.blocks!) this.#blocks.release(block);
    node.blocks = null;
    this.#tree.prune(node);
  }

  status() {
    let nodes = 0;
    for (const _ of this.#tree.nodes()) nodes++;
    const { used, budget, arena } = this.#blocks;
    return { blocks: used, budget, bytes: used * arena.blockBytes, nodes, leases: this.#leases.size };
  }

  /** Forgets everything; running sequences keep what they use until they are released. */
  async clear(): Promise<void> {
    for (const node of this.#tree.nodes()) {
      for (const block of node.blocks ?? []) this.#blocks.release(block);
      node.blocks = null;
    }
    this.#tree.clear();
  }
}
