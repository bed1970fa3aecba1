import { expect, test } from "vitest";

import { Columns } from "../src/columns.ts";
import { compileFilter } from "../src/filter.ts";
import { NO_CATEGORY, PwFilter } from "../src/generated/abi.ts";
import type { Filter } from "../src/types.ts";

const columns = new Columns([{ name: "module", type: "category", values: ["a", "b", "c"] }, { name: "year", type: "number" }]);
const compile = (filter: Filter): number[] => [...compileFilter(filter, columns)];
const f64 = (value: number): number[] => [...new Uint32Array(new Float64Array([value]).buffer)];

test("no filter is an empty program", () => {
  expect(compileFilter(undefined, columns)).toHaveLength(0);
  expect(compile({})).toEqual([]);
});

test("equality, sets and ranges", () => {
  expect(compile({ module: "b" })).toEqual([PwFilter.Equal, 0, 1]);
  expect(compile({ module: "new" })).toEqual([PwFilter.Equal, 0, NO_CATEGORY]);
  expect(compile({ module: { in: ["c", "a", "unknown"] } })).toEqual([PwFilter.In, 0, 2, 0, 2]);
  expect(compile({ year: { gte: 2000, lt: 2010 } })).toEqual([PwFilter.Range, 1, 1 | 2 | 8, ...f64(2000), ...f64(2010)]);
  expect(compile({ year: 1999 })).toEqual([PwFilter.Range, 1, 3, ...f64(1999), ...f64(1999)]);
});

test("several keys mean and; and, or, not nest", () => {
  const year = [PwFilter.Range, 1, 1, ...f64(2000), ...f64(0)];
  expect(compile({ module: "a", year: { gte: 2000 } })).toEqual([PwFilter.Equal, 0, 0, ...year, PwFilter.And]);
  expect(compile({ or: [{ module: "a" }, { not: { year: { gte: 2000 } } }] })).toEqual([PwFilter.Equal, 0, 0, ...year, PwFilter.Not, PwFilter.Or]);
});

test.each<[string, unknown, RegExp]>([
  ["an unknown column", { modul: "a" }, /filter\.modul: the index has no column "modul"; it has module, year/],
  ["a range of a category", { module: { gte: 1 } }, /filter\.module: a range needs a number column/],
  ["an unknown operator", { year: { above: 3 } }, /filter\.year: .*"above"/],
  ["a string for a number", { year: "1999" }, /filter\.year: a finite number expected, not "1999"/],
  ["both bounds of one side", { year: { gt: 1, gte: 1 } }, /one of gte and gt/],
  ["an empty list", { and: [] }, /filter\.and: a list of filters expected/],
  ["a place inside", { and: [{ module: "a" }, { not: { nope: 1 } }] }, /filter\.and\[1\]\.not\.nope/],
  ["not an object", "module", /filter: an object like/],
])("%s is refused and named", (_, filter, message) => {
  expect(() => compile(filter as Filter)).toThrow(expect.objectContaining({ code: "argument", message: expect.stringMatching(message) }));
});
