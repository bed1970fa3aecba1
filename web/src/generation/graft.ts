/** How a running sequence, or a stored one, becomes part of the knowledge tree. */
import { blocksOf, type Blocks } from "./blocks.ts";
import { commonPrefix, type NodeTraits, type Tree, type TreeNode } from "./tree.ts";

/** A sequence whose KV for tokens [0, end) lies in the blocks of `table`. */
export interface Sequence {
  tokens: Int32Array;
  table: Int32Array;
  private: boolean;
}

/**
 * Makes tokens [at, end) of `sequence` part of the tree, where its first `at` tokens end in `tip` or
 * are all of it. What others put there meanwhile is taken as it is; what is known but not in the
 * arena gets the sequence's blocks. `used` hears of every node that is entered. Answers the new tip.
 */
export function graft(tree: Tree, blocks: Blocks, tip: TreeNode, at: number, end: number, sequence: Sequence, traits: NodeTraits, used: (node: TreeNode) => void): TreeNode {
  const { tokens } = sequence;
  // Split since: the lower half kept the name.
  while (tip.parent && at <= tip.start) tip = tip.parent;
  while (at < end) {
    if (at === tip.end) {
      const next = tree.child(tip, tokens[at]!, traits.tag);
      if (!next) {
        const node = tree.add(tip, traits, tokens.slice(at, end), sequence.private);
        adopt(blocks, node, sequence.table);
        used(node);
        return node;
      }
      tip = next;
      used(tip);
    }
    const common = commonPrefix(tokens.subarray(0, end), at, tip.tokens.subarray(at - tip.start));
    at += common;
    const parts = at < end && at < tip.end;
    if (at < tip.end && (parts || !tip.blocks)) tip = tree.split(tip, at, (block) => blocks.retain(block));
    if (!tip.blocks) adopt(blocks, tip, sequence.table);
    if (!sequence.private) tip.private = false;
  }
  return tip;
}

/** Gives `node` the blocks of a sequence that goes through it. */
export function adopt(blocks: Blocks, node: TreeNode, table: Int32Array): void {
  node.blocks = table.slice(node.firstBlock, blocksOf(node.end));
  for (const block of node.blocks) blocks.retain(block);
}

/** The nodes that are [from, tokens.length) of the prompt `tokens`, made where there are none. */
export function carve(tree: Tree, blocks: Blocks, tokens: Int32Array, from: number, traits: NodeTraits): TreeNode[] {
  let node = tree.root;
  for (const end of [from, tokens.length]) {
    while (node.end < end) {
      const next = tree.child(node, tokens[node.end]!, traits.tag);
      if (!next) {
        node = tree.add(node, traits, tokens.slice(node.end, end), false);
        continue;
      }
      const common = commonPrefix(tokens.subarray(0, end), next.start, next.tokens);
      node = common === next.tokens.length ? next : tree.split(next, next.start + common, (block) => blocks.retain(block));
    }
  }
  return node.path().filter(({ start }) => start >= from);
}
