/**
 * The KV cache: prompts are looked up in the knowledge tree, what is known of them is shared, and
 * what has to go when the arena is full goes by policy, leaves first.
 */
import { PywasmError, throwIfAborted } from "../error.ts";
import { BLOCK_TOKENS, Blocks, blocksOf, type Arena } from "./blocks.ts";
import type { KvStore } from "./kv_store.ts";
import { Lease, SHIPPED, type LeaseHost, type LeaseStart, type Move } from "./lease.ts";
import { Policy, victim, type PolicyName } from "./policy.ts";
import { joinSegments, type Keep, type Prompt, type Segment } from "./prompt.ts";
import { Rates } from "./rates.ts";
import type { BlockShape } from "./records.ts";
import { ShippedTier, type Arrival, type ShippedTierOptions } from "./shipped_tier.ts";
import { StorageTier } from "./storage_tier.ts";
import { Tree, type Match, type TreeNode } from "./tree.ts";

export interface KvCacheOptions {
  arena: Arena;
  /** All that the bits of KV depend on but the tokens: weights, tokenizer, RoPE, format, numeric class, kernels. */
  identity: string;
  /** The most blocks of the arena to use. */
  budget: number;
  policy?: PolicyName;
  storage?: {
    store: KvStore;
    shape: BlockShape;
    /** The most bytes to store. */
    budget: number | Promise<number>;
  } | null;
  /** Moves KV (kv_kernels.ts); absent where the model has no kernel for it: then nothing slides. */
  move?: Move | null;
  /** KV that the site ships, where its loss is acceptable. */
  shipped?: Pick<ShippedTierOptions, "source" | "unpack"> | null;
}

export interface AcquireOptions {
  signal?: AbortSignal;
  keep?: Keep;
  /** Of a sequence that has slid: what it goes on from (Lease.tag). */
  tag?: string;
}

/** Nodes that are remembered after they went, so that what comes back is known to be popular. */
const MOST_GONE = 1024;
/** Of the bytes that may be stored, those for records of the site beside the others. */
const SHIPPED_SHARE = 0.25;
/** Bytes of a record of the site for one of KV in memory: 4 bits for 16. */
const COMPRESSED = 0.25;

export class KvCache {
  readonly #blocks: Blocks;
  readonly #tree = new Tree();
  readonly #policy: Policy;
  readonly #rates = new Rates();
  readonly #leases = new Set<Lease>();
  /** Those of them that were evicted, the first first; some came back since. */
  readonly #gone = new Set<TreeNode>();
  readonly #host: LeaseHost;
  readonly #storage: StorageTier | null;
  readonly #shipped: ShippedTier | null;
  /** Tokens whose KV was needed so far, by where it came from. */
  readonly #tokens = { memory: 0, storage: 0, shipped: 0, computed: 0 };

  constructor({ arena, identity, budget, policy = "pgdsf", storage = null, move = null, shipped = null }: KvCacheOptions) {
    this.#blocks = new Blocks(arena, budget);
    this.#policy = new Policy(policy);
    this.#host = {
      tree: this.#tree,
      blocks: this.#blocks,
      move,
      allocate: () => this.#allocate(),
      used: (node) => this.#use(node),
      measured: (from, to, ms) => {
        this.#tokens.computed += to - from;
        this.#rates.computed(from, to - from, ms);
      },
      shipped: (tokens) => void (this.#tokens.shipped += tokens),
      released: (lease, tip) => {
        this.#leases.delete(lease);
        this.#storage?.demote(tip);
      },
    };
    const { tree, blocks, allocate } = this.#host;
    this.#storage = storage && new StorageTier({ ...storage, identity, policy, tree, blocks, rates: this.#rates, allocate });
    const kept = { store: storage?.store ?? null, budget: Promise.resolve(storage?.budget ?? 0).then((bytes) => bytes * SHIPPED_SHARE) };
    this.#shipped = shipped && new ShippedTier({ ...shipped, ...kept, identity, rates: this.#rates });
  }

  /**
   * What is known of the prompt, to be gone on from. The last token is never taken as known: its
   * logits are wanted.
   */
  async acquire(segments: readonly Segment[], { signal, keep = "storage", tag = "" }: AcquireOptions = {}): Promise<Lease> {
    throwIfAborted(signal);
    const prompt = joinSegments(segments);
    await this.#storage?.ready;
    throwIfAborted(signal);
    const { path, length } = this.#match(prompt.tokens.subarray(0, -1), tag);
    const memory = residentEnd(path, length);
    for (const node of path) node.pins++;
    try {
      if (memory < length) await this.#load(path, signal);
      const last = path.at(-1) ?? this.#tree.root;
      const arrival = tag === "" ? await this.#request(prompt, residentEnd(last.path(), length)) : null;
      return this.#lease(prompt, Math.min(length, arrival?.start ?? length), memory, last, { keep, arrival, tag });
    } finally {
      for (const node of path) node.pins--;
    }
  }

  #match(tokens: Int32Array, wanted = ""): Match {
    return this.#tree.match(tokens, (tag) => tag === wanted || (wanted === "" && tag === SHIPPED && this.#shipped !== null));
  }

  /** Has a segment of the prompt fetched that the site ships and of which less than half is known. */
  async #request({ tokens, boundaries }: Prompt, known: number): Promise<Arrival | null> {
    if (!this.#shipped) return null;
    for (const [index, { end, kind }] of boundaries.entries()) {
      const start = boundaries[index - 1]?.end ?? 0;
      if (kind !== "document" || known > (start + end) / 2 || end >= tokens.length) continue;
      const arrival = await this.#shipped.request(tokens.subarray(0, end), start);
      if (arrival) return arrival;
    }
    return null;
  }

  async #load(path: readonly TreeNode[], signal: AbortSignal | undefined): Promise<void> {
    try {
      await this.#storage?.load(path, signal);
    } catch (error) {
      // What does not fit now is computed as far as it does.
      if (!(error instanceof PywasmError) || error.code !== "memory") throw error;
    }
  }

  #lease(prompt: Prompt, length: number, memory: number, last: TreeNode, how: Pick<LeaseStart, "keep" | "arrival" | "tag">): Lease {
    const table: number[] = [];
    let tip = this.#tree.root;
    for (const node of last.path()) {
      if (!node.blocks || node.start >= length) break;
      // The deepest node that has a block has all of it.
      node.blocks.forEach((block, index) => (table[node.firstBlock + index] = block));
      if (how.keep !== "memory") node.private = false;
      this.#use(node);
      tip = node;
    }
    const cached = Math.min(length, tip.end);
    // Only what is shared is needed: the rest of the node may go to make room.
    if (tip.end - cached >= BLOCK_TOKENS) tip = this.#tree.split(tip, cached, (block) => this.#blocks.retain(block));
    table.length = blocksOf(cached);
    for (const block of table) this.#blocks.retain(block);
    tip.pins++;
    const sources = { memory: Math.min(memory, cached), storage: Math.max(0, cached - memory), shipped: 0 };
    this.#tokens.memory += sources.memory;
    this.#tokens.storage += sources.storage;
    const lease = new Lease(this.#host, { prompt, tip, blocks: table, cached, sources, ...how });
    this.#leases.add(lease);
    return lease;
  }

  /** How many of the tokens at the beginning of `tokens` are in memory or stored. */
  known(tokens: Int32Array): number {
    const { path, length } = this.#match(tokens);
    return Math.min(length, path.find(({ blocks, record }) => !blocks && !record)?.start ?? length);
  }

  #use(node: TreeNode): void {
    this.#policy.use(node.memory, this.#costOf(node), node.tokens.length);
    if (node.record) this.#storage?.used(node.record);
  }

  /** ms to have the node's KV in the arena again if it went from there. */
  #costOf(node: TreeNode): number {
    const compute = this.#rates.computeMs(node.start, node.tokens.length);
    const bytes = (node.tokens.length * this.#blocks.arena.blockBytes) / BLOCK_TOKENS;
    if (node.traits.tag === SHIPPED) return Math.min(compute, this.#rates.network.ms(bytes * COMPRESSED));
    return node.record ? Math.min(compute, this.#rates.storage.ms(bytes)) : compute;
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
    this.#gone.delete(node);
    this.#gone.add(node);
    if (this.#gone.size <= MOST_GONE) return;
    const [oldest] = this.#gone;
    this.#gone.delete(oldest!);
    this.#tree.prune(oldest!);
  }

  status() {
    let nodes = 0;
    for (const { blocks, record } of this.#tree.nodes()) if (blocks || record) nodes++;
    const { used, budget, arena } = this.#blocks;
    return { blocks: used, budget, bytes: used * arena.blockBytes, nodes, leases: this.#leases.size, tokens: { ...this.#tokens }, storage: this.#storage?.status() ?? null };
  }

  /** Fulfilled when all that is to be stored is. */
  async settled(): Promise<void> {
    await this.#storage?.settled();
  }

  /** Forgets everything, stored or not; running sequences keep what they use until they are released. */
  async clear(): Promise<void> {
    this.#forget();
    await this.#storage?.clear();
    this.#shipped?.forget();
    this.#forget();  // what came meanwhile
  }

  /** Forgets the end of a prompt, as far as nothing else stands on it; system prompts and documents are others' too. */
  async forget(segments: readonly Segment[]): Promise<void> {
    await this.settled();
    const { path } = this.#tree.match(joinSegments(segments).tokens, () => true);
    for (const node of path.reverse()) {
      if (node.children.length > 0 || node.pins > 0 || node.traits.kind === "system" || node.traits.kind === "document") return;
      for (const block of node.blocks ?? []) this.#blocks.release(block);
      node.blocks = null;
      if (node.record) await this.#storage?.remove(node.record);
      else this.#tree.prune(node);
    }
  }

  /** Stored KV is left for the next visit. */
  close(): void {
    this.#storage?.close();
  }

  #forget(): void {
    for (const node of this.#tree.nodes()) {
      for (const block of node.blocks ?? []) this.#blocks.release(block);
      node.blocks = null;
    }
    this.#gone.clear();
    this.#tree.clear();
  }
}

/** Tokens of the first `length` of a path that are in the arena. */
function residentEnd(path: readonly TreeNode[], length: number): number {
  const missing = path.find(({ blocks }) => !blocks);
  return missing ? missing.start : length;
}
