import { expect, test } from "vitest";

import { fuse, ranked } from "../src/fuse.ts";

const hits = (...rows: number[]): { row: number; score: number; exact: boolean }[] => rows.map((row) => ({ row, score: 1, exact: false }));

test("a row in both rankings comes before rows in one", () => {
  const fused = fuse(hits(1, 2, 3), hits(4, 2, 5), 3);
  expect(fused.map(({ row }) => row)).toEqual([2, 1, 4]);
  expect(fused[0]).toMatchObject({ ranks: { keyword: 2, vector: 2 }, score: 2 / 62 });
});

test("a keyword score is exact, an estimate makes the fused one an estimate", () => {
  const [both, keyword] = fuse(hits(1, 2), hits(1), 2);
  expect([both!.exact, keyword!.exact]).toEqual([false, true]);
});

test("equal scores keep the order of the rows, so that answers are the same every time", () => {
  expect(fuse(hits(9), hits(3), 2).map(({ row }) => row)).toEqual([3, 9]);
});

test("one ranking alone keeps its scores", () => {
  expect(ranked([{ row: 7, score: 0.5, exact: true }], "vector")).toEqual([{ row: 7, score: 0.5, exact: true, ranks: { vector: 1 } }]);
});
