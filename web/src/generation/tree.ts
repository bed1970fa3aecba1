/**
 * The knowledge tree (RAGCache, arXiv 2404.12457, section 4): a node is a segment of a prompt under
 * its ancestors, so the path from the root to it is a prefix of prompts, and its KV, which depends
 * on that prefix alone, is good for every prompt that begins so. Nodes are found by their tokens,
 * all compared, and split where a prompt parts from one in its middle: what two prompts have in
 * common is always found, whatever the segments were.
 */
import { Sha256 } from "../inference/sha256.ts";
import { BLOCK_TOKENS } from "./blocks.ts";
import { newEntry, type Entry } from "./policy.ts";
import type { SegmentKind } from "./prompt.ts";

/** A record in storage with blocks of a path (records.ts); both halves of a split node point to it. */
export interface StoredRecord {
  readonly name: string;
  /** Tokens from the start of the prompt that its blocks hold, rounded outwards to blocks. */
  readonly start: number;
  readonly end: number;
  readonly bytes: number;
  /** Of its beginning, before the first block. */
  readonly headBytes: number;
  /** For the policy of the storage tier. */
  readonly entry: Entry;
}

/** What of a node is the same in both halves when it is split. */
export interface NodeTraits {
  readonly kind: SegmentKind;
  /**
   * How its KV came about, where not by a plain run behind its prefix: compressed on the site, moved,
   * behind a part that was dropped. Never taken for another with the same tokens.
   */
  readonly tag: string;
}

export class TreeNode {
  parent: TreeNode | null;
  readonly children: TreeNode[] = [];
  readonly traits: NodeTraits;
  /** Position of its first token in the prompt. */
  start: number;
  tokens: Int32Array;
  /**
   * In the arena: blocks floor(start/32) to ceil(end/32) - 1 of the path, a reference held to each.
   * The first may also hold the end of the ancestors, and then it does hold it.
   */
  blocks: Int32Array | null = null;
  record: StoredRecord | null = null;
  /** Users that need it in the arena. */
  pins = 0;
  /** May not be written to the disk. */
  private: boolean;
  /** For the policy of the arena. */
  readonly memory: Entry;

  constructor(parent: TreeNode | null, traits: NodeTraits, start: number, tokens: Int32Array, isPrivate: boolean, memory = newEntry()) {
    this.parent = parent;
    this.traits = traits;
    this.start = start;
    this.tokens = tokens;
    this.private = isPrivate;
    this.memory = memory;
  }

  get end(): number {
    return this.start + this.tokens.length;
  }

  get firstBlock(): number {
    return Math.floor(this.start / BLOCK_TOKENS);
  }

  /** The nodes from the root's child down to this one. */
  path(): TreeNode[] {
    const path: TreeNode[] = [];
    for (let node: TreeNode = this; node.parent; node = node.parent) path.unshift(node);
    return path;
  }

  /** All tokens from the start of the prompt to the end of this node. */
  prefix(): Int32Array {
    const tokens = new Int32Array(this.end);
    for (const node of this.path()) tokens.set(node.tokens, node.start);
    return tokens;
  }
}

export interface Match {
  /** From the root's child down; empty where not even the first token is known. */
  path: TreeNode[];
  /** Tokens of the prompt that the path has: it may end inside its last node. */
  length: number;
}

/** Tokens that `left` from `at` on and `right` have in common. */
export function commonPrefix(left: Int32Array, at: number, right: Int32Array): number {
  const most = Math.min(left.length - at, right.length);
  let length = 0;
  while (length < most && left[at + length] === right[length]) length++;
  return length;
}

/**
 * The name of the KV of `tokens` (a whole prefix): SHA-256, hexadecimal, of the identity in UTF-8, a
 * zero byte, and the tokens as little-endian i32. The build step computes the same.
 */
export function prefixHash(identity: string, tokens: Int32Array): string {
  const sum = new Sha256().update(new TextEncoder().encode(`${identity}\0`));
  return sum.update(new Uint8Array(tokens.buffer, tokens.byteOffset, tokens.byteLength)).digest();
}

export class Tree {
  root = newRoot();

  /** The longest prefix of `tokens` that is known; nodes whose tag `accepts` refuses do not exist for it. */
  match(tokens: Int32Array, accepts: (tag: string) => boolean): Match {
    return this.#descend(this.root, tokens, accepts);
  }

  #descend(node: TreeNode, tokens: Int32Array, accepts: (tag: string) => boolean): Match {
    let best: Match = { path: [], length: node.end };
    for (const child of node.children) {
      if (child.tokens[0] !== tokens[node.end] || node.end >= tokens.length || !accepts(child.traits.tag)) continue;
      const common = commonPrefix(tokens, child.start, child.tokens);
      const below = common < child.tokens.length ? { path: [], length: child.start + common } : this.#descend(child, tokens, accepts);
      // Of two equally long ones the exact is taken.
      if (below.length > best.length || (below.length === best.length && child.traits.tag === "")) {
        best = { path: [child, ...below.path], length: below.length };
      }
    }
    return best;
  }

  /** The child of `node` that begins with `token` and came about as `tag` says. */
  child(node: TreeNode, token: number, tag: string): TreeNode | undefined {
    return node.children.find((child) => child.tokens[0] === token && child.traits.tag === tag);
  }

  add(parent: TreeNode, traits: NodeTraits, tokens: Int32Array, isPrivate: boolean): TreeNode {
    const node = new TreeNode(parent, traits, parent.end, tokens, isPrivate);
    parent.children.push(node);
    return node;
  }

  /**
   * Splits `node` before position `at`; `node` becomes the lower half, so that who holds it still
   * holds all of the path. `retain` is called for the block that both halves then hold.
   */
  split(node: TreeNode, at: number, retain: (block: number) => void): TreeNode {
    const parent = node.parent!;
    const cut = at - node.start;
    const upper = new TreeNode(parent, node.traits, node.start, node.tokens.slice(0, cut), node.private, { ...node.memory });
    upper.record = node.record;
    if (node.blocks) {
      const shared = at % BLOCK_TOKENS === 0 ? 0 : 1;
      const below = Math.floor(at / BLOCK_TOKENS) - node.firstBlock;
      upper.blocks = node.blocks.slice(0, below + shared);
      node.blocks = node.blocks.slice(below);
      if (shared) retain(node.blocks[0]!);
    }
    parent.children.splice(parent.children.indexOf(node), 1, upper);
    upper.children.push(node);
    node.parent = upper;
    node.start = at;
    node.tokens = node.tokens.slice(cut);
    return upper;
  }

  /** Takes away `node`, which holds nothing any more, and ancestors that were only there for it. */
  prune(node: TreeNode): void {
    for (let at: TreeNode = node; at.parent && at.children.length === 0 && at.pins === 0 && !at.blocks && !at.record;) {
      const { parent } = at;
      parent.children.splice(parent.children.indexOf(at), 1);
      at.parent = null;
      at = parent;
    }
  }

  *nodes(): Generator<TreeNode> {
    const open = [...this.root.children];
    for (let node = open.pop(); node; node = open.pop()) {
      yield node;
      open.push(...node.children);
    }
  }

  clear(): void {
    this.root = newRoot();
  }
}

function newRoot(): TreeNode {
  return new TreeNode(null, { kind: "text", tag: "" }, 0, new Int32Array(0), false);
}
