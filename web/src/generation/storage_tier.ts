/**
 * The tier below the arena: nodes of the knowledge tree as records in local storage. They are
 * written in the background, a block at a time, soon after they were computed, so that losing them
 * in memory, or the tab, costs little; they are read straight into blocks of the arena.
 */
import { isQuota, throwIfAborted } from "../error.ts";
import { checksum } from "../inference/seal.ts";
import { holdLock } from "../locks.ts";
import { BLOCK_TOKENS, blocksOf, slotsOf, type Blocks } from "./blocks.ts";
import { carve } from "./graft.ts";
import type { KvStore, StoredFile } from "./kv_store.ts";
import { before, newEntry, Policy, victim, type PolicyName } from "./policy.ts";
import type { Rates } from "./rates.ts";
import {
  blank, blockOffset, decodeHead, encodeHead, headLength, isWhole, PREAMBLE_BYTES, recordBytes, recordName, sumBytes,
  type BlockShape, type RecordForm, type RecordHead,
} from "./records.ts";
import type { StoredRecord, Tree, TreeNode } from "./tree.ts";

export interface StorageTierOptions {
  store: KvStore;
  identity: string;
  shape: BlockShape;
  /** The most bytes of records; may come late. */
  budget: number | Promise<number>;
  policy: PolicyName;
  tree: Tree;
  blocks: Blocks;
  rates: Rates;
  /** A block of the arena, for which others may have to go; throws "memory". */
  allocate: () => number;
}

/** Names of records begin with a hash; other files of the store are not this tier's. */
const RECORD_NAME = /^[0-9a-f]{64}-\d+-\d+$/;

export class StorageTier {
  readonly #options: StorageTierOptions;
  readonly #form: RecordForm;
  readonly #policy: Policy;
  readonly #records = new Map<string, StoredRecord>();
  readonly #queue = new Set<TreeNode>();
  /** What is stored is known. */
  readonly ready: Promise<void>;
  #budget = Infinity;
  #bytes = 0;
  #full = false;
  #draining: Promise<void> | null = null;
  /** Aborted by clear() and close(): what was being written is not to be. */
  #writing = new AbortController();

  constructor(options: StorageTierOptions) {
    this.#options = options;
    this.#form = { identity: options.identity, blockBytes: options.blocks.arena.blockBytes };
    this.#policy = new Policy(options.policy);
    this.ready = this.#open();
  }

  async #open(): Promise<void> {
    const damaged = await this.#refresh().catch(() => []);
    this.#budget = await this.#options.budget;
    if (damaged.length > 0) void this.#removeDamaged(damaged);
  }

  /** Learns what is stored now, by other tabs too; answers what is no record of this model. */
  async #refresh(): Promise<string[]> {
    const names = (await this.#options.store.names()).filter((name) => RECORD_NAME.test(name));
    const there = new Set(names);
    for (const record of [...this.#records.values()]) if (!there.has(record.name)) this.#forget(record);
    const damaged = await Promise.all(names.map(async (name) => (this.#records.has(name) || (await this.#learn(name)) ? null : name)));
    return damaged.filter((name) => name !== null);
  }

  /** Reads the head of record `name`; false if it is none. */
  async #learn(name: string): Promise<boolean> {
    const file = await this.#options.store.open(name);
    if (!file) return true;  // gone meanwhile
    try {
      const preamble = new Uint8Array(PREAMBLE_BYTES);
      const length = (await file.read(0, preamble.length, () => preamble)) ? headLength(preamble) : null;
      if (length === null) return false;
      const bytes = new Uint8Array(length);
      const head = (await file.read(0, length, () => bytes)) ? decodeHead(this.#form, name, file.size, bytes) : null;
      if (head) this.#plant(name, head, length);
      return head !== null;
    } finally {
      file.close();
    }
  }

  /** Removes damaged files, unless they turn out to have been half-written by another tab. */
  async #removeDamaged(names: readonly string[]): Promise<void> {
    const release = await holdLock(this.#options.store.lock);
    try {
      for (const name of names) if (!(await this.#learn(name))) await this.#options.store.remove(name);
    } finally {
      release();
    }
  }

  #plant(name: string, head: RecordHead, headBytes: number): void {
    if (this.#records.has(name)) return;
    const { tree, blocks } = this.#options;
    const record: StoredRecord = { name, start: head.start, end: head.end, bytes: recordBytes(this.#form, head), headBytes, entry: newEntry() };
    this.#records.set(name, record);
    this.#bytes += record.bytes;
    this.used(record);
    for (const node of carve(tree, blocks, head.tokens, head.start, { kind: head.kind, tag: head.tag })) node.record ??= record;
  }

  /** The record is gone, or no good. */
  #forget(record: StoredRecord): void {
    if (!this.#records.delete(record.name)) return;
    this.#bytes -= record.bytes;
    for (const node of [...this.#options.tree.nodes()]) {
      if (node.record !== record) continue;
      node.record = null;
      this.#options.tree.prune(node);
    }
  }

  /** A prompt needed what the record holds, wherever it was found. */
  used(record: StoredRecord): void {
    this.#policy.use(record.entry, this.#costOf(record), record.end - record.start);
  }

  /** ms to have it again if it went. */
  #costOf({ start, end }: Pick<StoredRecord, "start" | "end">): number {
    return this.#options.rates.computeMs(start, end - start);
  }

  /**
   * Brings nodes into the arena: those of `path` from its first one that is not there on, as far as
   * they are stored and reading is quicker than computing. The caller has pinned them.
   */
  async load(path: readonly TreeNode[], signal?: AbortSignal): Promise<void> {
    const { rates } = this.#options;
    let nodes = path.slice(path.findIndex(({ blocks }) => !blocks));
    const end = nodes.findIndex(({ record, start, tokens }) => !record || rates.storage.ms(tokens.length * this.#tokenBytes) > rates.computeMs(start, tokens.length));
    if (end >= 0) nodes = nodes.slice(0, end);
    while (nodes.length > 0) {
      const broken = await this.#loadAll(nodes, signal);
      if (broken === null) return;
      // Now that it is closed: what is open can't be removed.
      if (broken.record) await this.remove(broken.record);
      nodes = nodes.slice(0, nodes.indexOf(broken));
    }
  }

  get #tokenBytes(): number {
    return this.#form.blockBytes / BLOCK_TOKENS;
  }

  /** Answers the node at which it failed; then none of them was loaded. */
  async #loadAll(nodes: readonly TreeNode[], signal: AbortSignal | undefined): Promise<TreeNode | null> {
    const { blocks, store, rates } = this.#options;
    const loaded = new Map<number, number>();
    const began = performance.now();
    const files = await Promise.all(nodes.map(({ record }) => (record ? store.open(record.name) : null)));
    try {
      // The last first: where two nodes meet in a block, the later one's has it all.
      for (let at = nodes.length - 1; at >= 0; at--) {
        const node = nodes[at]!;
        const { record } = node;
        const file = files[at];
        const missing: number[] = [];
        for (let index = node.firstBlock; index < blocksOf(node.end); index++) if (!loaded.has(index)) missing.push(index);
        const whole = record && file && (await this.#read(file, record, missing, loaded));
        throwIfAborted(signal);
        if (whole) continue;
        return node;
      }
      rates.storage.learn(loaded.size * this.#form.blockBytes, performance.now() - began);
      this.#adopt(nodes.at(-1)!, loaded);
      return null;
    } finally {
      for (const file of files) file?.close();
      for (const block of loaded.values()) blocks.release(block);
    }
  }

  /** Reads blocks `indexes` of the prompt from a record into new blocks of the arena; false if it is damaged. */
  async #read(file: StoredFile, record: StoredRecord, indexes: readonly number[], loaded: Map<number, number>): Promise<boolean> {
    const { blocks, allocate } = this.#options;
    const first = Math.floor(record.start / BLOCK_TOKENS);
    const sums = new Uint8Array(sumBytes(record));
    if (!(await file.read(record.bytes - sums.length, sums.length, () => sums))) return false;
    const expected = new Int32Array(sums.buffer);
    for (const index of indexes) {
      const block = allocate();
      loaded.set(index, block);
      blocks.claim(block, 0, slotsOf(record.end, index));
    }
    // All of them settle before a block may be given back.
    const read = await Promise.allSettled(indexes.map((index) => {
      const bytes = (): Uint8Array => blocks.arena.bytes(loaded.get(index)!);
      const at = blockOffset(this.#form, record.headBytes, record, index);
      return file.read(at, this.#form.blockBytes, bytes).then((all) => all && isWhole(bytes(), expected, index - first));
    }));
    return read.every((result) => result.status === "fulfilled" && result.value);
  }

  /** Gives what was loaded to the nodes up to `last`, which may have been split or computed meanwhile. */
  #adopt(last: TreeNode, loaded: ReadonlyMap<number, number>): void {
    const { blocks, tree } = this.#options;
    const path = last.path();
    if (path[0]?.parent !== tree.root) return;  // cleared meanwhile
    for (const node of path) {
      const indexes = Array.from({ length: blocksOf(node.end) - node.firstBlock }, (_, at) => node.firstBlock + at);
      if (node.blocks || !indexes.every((index) => loaded.has(index))) continue;
      node.blocks = Int32Array.from(indexes, (index) => loaded.get(index)!);
      for (const block of node.blocks) blocks.retain(block);
    }
  }

  /** Removes a record that is damaged, or not wanted any more. */
  async remove(record: StoredRecord): Promise<void> {
    this.#forget(record);
    await this.#options.store.remove(record.name).catch(() => undefined);
  }

  /** Has the path to `tip` written, as far as it may be and is not. */
  demote(tip: TreeNode): void {
    if (tip.path().every(({ record }) => record)) return;
    this.#queue.add(tip);
    this.#draining ??= this.#drain()
      .catch(() => this.#queue.clear())  // storage that fails is tried again with the next prompt
      .finally(() => (this.#draining = null));
  }

  /** Fulfilled when nothing waits to be written. */
  async settled(): Promise<void> {
    await this.ready;
    while (this.#draining) await this.#draining;
  }

  async #drain(): Promise<void> {
    await this.ready;
    const { store } = this.#options;
    const { signal } = this.#writing;
    const release = await holdLock(store.lock, "exclusive", signal);
    try {
      await store.sweep();
      for (const name of await this.#refresh()) await store.remove(name);
      for (const tip of this.#queue) {
        this.#queue.delete(tip);
        for (const node of tip.path()) {
          throwIfAborted(signal);
          // Nothing is found behind a gap.
          if (!node.record && !(await this.#write(node, signal))) break;
        }
      }
    } finally {
      release();
    }
  }

  /** Writes one node; false if it can't be, or may not be. */
  async #write(node: TreeNode, signal: AbortSignal): Promise<boolean> {
    const { blocks, store, shape } = this.#options;
    const { kind, tag } = node.traits;
    if (!node.blocks || node.private || node.path().some(({ traits }) => traits.tag !== tag)) return false;
    const head: RecordHead = { start: node.start, end: node.end, tokens: node.prefix(), tag, kind };
    const name = recordName(this.#form, head);
    const encoded = encodeHead(this.#form, head);
    if (!(await this.#makeRoom(recordBytes(this.#form, head), node))) return false;
    const held = node.blocks;  // a split meanwhile gives the node others
    if (!held || node.end !== head.end || node.start !== head.start) return false;
    for (const block of held) blocks.retain(block);
    try {
      await store.write(name, this.#parts(head, encoded, held, shape, signal));
    } catch (error) {
      if (isQuota(error)) {
        // What is there is what fits: from here on something goes for each that comes.
        this.#budget = this.#bytes;
        this.#full = true;
      }
      return false;
    } finally {
      for (const block of held) blocks.release(block);
    }
    if (signal.aborted) await store.remove(name);
    else this.#plant(name, head, encoded.byteLength);
    return !signal.aborted;
  }

  *#parts(head: RecordHead, encoded: Uint8Array, held: Int32Array, shape: BlockShape, signal: AbortSignal): Generator<Uint8Array> {
    yield encoded;
    const first = Math.floor(head.start / BLOCK_TOKENS);
    const sums = new Int32Array(held.length * 4);
    // Memory that threads share can't be written; and one block must not change while it is.
    const copy = new Uint8Array(this.#form.blockBytes);
    for (const [at, block] of held.entries()) {
      throwIfAborted(signal);
      copy.set(this.#options.blocks.arena.bytes(block));
      blank(copy, shape, slotsOf(head.end, first + at));
      sums.set(checksum(copy), at * 4);
      yield copy;
    }
    yield new Uint8Array(sums.buffer);
  }

  /** Removes records until `bytes` fit, for `node`; false if those that would have to go are worth more. */
  async #makeRoom(bytes: number, node: TreeNode): Promise<boolean> {
    const newcomer = newEntry(Math.max(1, node.memory.frequency));
    this.#policy.rate(newcomer, this.#costOf(node), node.tokens.length);
    newcomer.touched = Infinity;
    const needed = new Set(node.path().map(({ record }) => record));
    while (this.#bytes + bytes > this.#budget) {
      const record = victim(this.#removable(needed), ({ entry }) => entry);
      if (!record || !before(record.entry, newcomer)) return false;
      this.#policy.evicted(record.entry);
      this.#forget(record);
      await this.#options.store.remove(record.name);
    }
    return true;
  }

  /** Records behind which none is stored; leaves go before what they stand on. */
  #removable(needed: ReadonlySet<StoredRecord | null>): StoredRecord[] {
    const inner = new Set<StoredRecord>();
    for (const { record, children } of this.#options.tree.nodes()) {
      if (record && children.some((child) => child.record && child.record !== record)) inner.add(record);
    }
    return [...this.#records.values()].filter((record) => !inner.has(record) && !needed.has(record));
  }

  status(): { tier: "opfs" | "indexeddb"; bytes: number; budget: number; records: number; full: boolean } {
    return { tier: this.#options.store.tier, bytes: this.#bytes, budget: this.#budget, records: this.#records.size, full: this.#full };
  }

  /** Removes everything, what is being written included; the caller clears the tree. */
  async clear(): Promise<void> {
    this.#queue.clear();
    this.#writing.abort();
    await this.settled();
    this.#writing = new AbortController();
    const release = await holdLock(this.#options.store.lock);
    try {
      await this.#options.store.clear();
    } finally {
      release();
    }
    this.#records.clear();
    this.#bytes = 0;
    this.#full = false;
  }

  /** What waits to be written is given up. */
  close(): void {
    this.#queue.clear();
    this.#writing.abort();
    this.#options.store.close();
  }
}
