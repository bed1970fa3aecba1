import { expect, test } from "vitest";

import { planRanges } from "../src/pages/ranges.ts";

const plan = (pages: number[], most = 4): string[] => planRanges(pages, 100, most).map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`));

test("neighbours and the smallest gaps become one range", () => {
  expect(plan([1, 2, 3])).toEqual(["1-3"]);
  expect(plan([1, 4, 9])).toEqual(["1-4", "9"]);  // two pages between: read over; four: not
});

test("more ranges than allowed: the smallest gaps are read over first", () => {
  expect(plan([0, 10, 30, 36, 60], 3)).toEqual(["0-10", "30-36", "60"]);
});

test("a large gap is never read over, even if that takes more requests", () => {
  expect(plan([0, 20, 40, 60, 80], 2)).toEqual(["0", "20", "40", "60", "80"]);
});

test("a range stays within its shard", () => {
  expect(planRanges([99, 100], 100, 1)).toEqual([{ shard: 0, first: 99, last: 99 }, { shard: 1, first: 100, last: 100 }]);
});
