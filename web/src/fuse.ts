/**
 * Reciprocal rank fusion (Cormack, Clarke, Buettcher, SIGIR 2009): a row's score is the sum of
 * 1 / (60 + rank) over the rankings it is in. Ranks, unlike BM25 and cosine, are comparable.
 */
import type { RawHit } from "./messages.ts";

const K = 60;

export interface FusedHit extends RawHit {
  /** Places from 1. */
  ranks: { keyword?: number; vector?: number };
}

/** The k best rows of both rankings; equal scores keep the order of the rows. */
export function fuse(keyword: readonly RawHit[], vector: readonly RawHit[], k: number): FusedHit[] {
  const hits = new Map<number, FusedHit>();
  const add = (ranking: readonly RawHit[], name: "keyword" | "vector"): void => {
    ranking.forEach(({ row, exact }, index) => {
      const hit = hits.get(row) ?? { row, score: 0, exact: true, ranks: {} };
      hit.score += 1 / (K + index + 1);
      hit.exact &&= exact;
      hit.ranks[name] = index + 1;
      hits.set(row, hit);
    });
  };
  add(keyword.map((hit) => ({ ...hit, exact: true })), "keyword");
  add(vector, "vector");
  return [...hits.values()].sort((left, right) => right.score - left.score || left.row - right.row).slice(0, k);
}

/** One ranking alone, in the same form. */
export function ranked(ranking: readonly RawHit[], name: "keyword" | "vector"): FusedHit[] {
  return ranking.map((hit, index) => ({ ...hit, exact: name === "keyword" || hit.exact, ranks: { [name]: index + 1 } }));
}
