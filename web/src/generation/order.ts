/**
 * The order of documents in a prompt: KV is good behind its own prefix alone, so documents that were
 * read in one order before are there in no other (RAGCache, arXiv 2404.12457, section 5.2).
 */

/**
 * Indices of `documents` (tokens of each): first those that are known one behind the other behind
 * `system`, the rest as they are given. `known` answers how many tokens at the beginning of a prompt
 * are.
 */
export function orderDocuments(system: readonly Int32Array[], documents: readonly Int32Array[], known: (tokens: Int32Array) => number): number[] {
  let prefix = join(system);
  const order: number[] = [];
  const left = new Set(documents.keys());
  for (;;) {
    const found = [...left].find((index) => known(join([prefix, documents[index]!])) === prefix.length + documents[index]!.length);
    if (found === undefined) return [...order, ...left];
    order.push(found);
    left.delete(found);
    prefix = join([prefix, documents[found]!]);
  }
}

function join(parts: readonly Int32Array[]): Int32Array {
  const joined = new Int32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}
