import { describe, expect, test } from "vitest";

import { emptyView, isIdle, readView, toFilter, writeView } from "../demo/view.ts";
import type { Column } from "../src/types.ts";

const columns: Column[] = [
  { name: "module", type: "category", values: ["datetime", "time: zones"] },
  { name: "year", type: "number", min: 1990, max: 2026 },
];

describe("a view in the address bar", () => {
  test("comes back as it was", () => {
    const view = emptyView();
    view.query = "parse a date & more";
    view.filters.set("module", { values: new Set(["datetime", "time: zones"]), range: {} });
    view.filters.set("year", { values: new Set(), range: { low: 2000, high: 2010.5 } });
    expect(readView(writeView(view), columns, 0)).toEqual(view);
  });

  test("asks for an answer where there is a question", () => {
    const view = { ...emptyView(), query: "How?", ask: true };
    expect(writeView(view)).toBe("?q=How%3F&ask=");
    expect(readView(writeView(view), columns, 0)).toEqual(view);
    expect(readView("?ask=", columns, 0).ask).toBe(false);
    expect(readView("?like=a&ask=", columns, 0).ask).toBe(false);
    expect(writeView({ ...emptyView(), ask: true })).toBe("");
  });

  test("of one bound keeps the other open", () => {
    const view = readView("?q=x&f=year:2000..", columns, 0);
    expect(view.filters.get("year")?.range).toEqual({ low: 2000 });
    expect(toFilter(view.filters)).toEqual({ year: { gte: 2000 } });
  });

  test("drops what this index has not got instead of failing", () => {
    const view = readView("?q=x&f=colour:red&f=year:soon&f=year:5&suggest=7&mode=psychic", columns, 3);
    expect(view).toEqual({ ...emptyView(), query: "x" });
  });

  test("prefers a suggestion to its text, and is idle without either", () => {
    expect(writeView({ ...emptyView(), query: "How?", suggestion: 2 })).toBe("?suggest=2");
    expect(readView("?suggest=2", columns, 3).suggestion).toBe(2);
    expect(isIdle(emptyView())).toBe(true);
    expect(isIdle({ ...emptyView(), like: "a" })).toBe(false);
    expect(writeView(emptyView())).toBe("");
  });
});

test("the filter names each column once and nothing when nothing is selected", () => {
  const filters = emptyView().filters;
  expect(toFilter(filters)).toBeUndefined();
  filters.set("module", { values: new Set(["datetime"]), range: {} });
  filters.set("year", { values: new Set(), range: { low: 2000, high: 2010 } });
  expect(toFilter(filters)).toEqual({ module: { in: ["datetime"] }, year: { gte: 2000, lte: 2010 } });
});
