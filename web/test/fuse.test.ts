import { expect, test } from "vitest";

import { fuse, ranked } from "../src/fuse.ts";

const hits = (...rows: number[]): { row: number; score: number; exact: boolean }[] => rows.map((row) => ({ row, score: 1, exact: false }));

test("a row in both rankings comes before rows in one", () => {
  const fused = fuse(hits(1, 2, 3), hits(4, 2, 5), 3);
  expect(fused.map(({ row }) => row)).toEqual([2, 4, 5]);
  expect(fused[0]).toMatchObject({ ranks: { keyword: 2, vector: 2 }, score: 2.5 / 10 });
});

test("the best by meaning comes before what both rankings have far down", () => {
  const others = Array.from({ length: 29 }, (_, row) => row + 100);
  expect(fuse(hits(...others, 7), hits(1, ...others.map((row) => row + 100), 7), 1)[0]!.row).toBe(1);
});

test("a keyword score is exact, an estimate makes the fused one an estimate", () => {
  const [both, keyword] = fuse(hits(1, 2), hits(1), 2);
  expect([both!.exact, keyword!.exact]).toEqual([false, true]);
});

test("equal scores keep the order of the rows, so that answers are the same every time", () => {
  // The second by words and the seventh by meaning: 1 / 10 and 1.5 / 15.
  expect(fuse(hits(1, 9), hits(21, 22, 23, 24, 25, 26, 3), 9).map(({ row }) => row).slice(-3)).toEqual([26, 3, 9]);
});

test("one ranking alone keeps its scores", () => {
  expect(ranked([{ row: 7, score: 0.5, exact: true }], "vector")).toEqual([{ row: 7, score: 0.5, exact: true, ranks: { vector: 1 } }]);
});
