import { describe, expect, test } from "vitest";

import { Latency } from "../demo/latency.ts";
import { bytes, duration, score } from "../demo/format.ts";
import { snippet, underTitle } from "../demo/snippet.ts";

const joined = (runs: { text: string }[]): string => runs.map(({ text }) => text).join("");

describe("a snippet", () => {
  test("of a short text is all of it, with its marks", () => {
    const { runs, cutBefore, cutAfter } = snippet("parse a date", [[0, 5], [8, 12]], 100);
    expect(runs).toEqual([{ text: "parse", marked: true }, { text: " a ", marked: false }, { text: "date", marked: true }]);
    expect([cutBefore, cutAfter]).toEqual([false, false]);
  });

  test("of a long text is where most marks are, cut between words", () => {
    const filler = "word ".repeat(200);
    const text = `needle ${filler}needle and needle ${filler}`;
    const second = text.indexOf("needle", 10);
    const third = text.indexOf("needle", second + 1);
    const { runs, cutBefore, cutAfter } = snippet(text, [[0, 6], [second, second + 6], [third, third + 6]], 200);
    expect(runs.filter(({ marked }) => marked)).toHaveLength(2);
    expect([cutBefore, cutAfter]).toEqual([true, true]);
    expect(joined(runs)).toMatch(/^word .*needle and needle word.* $/);
    expect(joined(runs).length).toBeLessThanOrEqual(200);
  });

  test("never cuts a surrogate pair where there are no spaces", () => {
    const text = "🐍".repeat(300);
    const { runs } = snippet(text, [[301, 303]], 99);
    expect(joined(runs)).not.toMatch(/^[\udc00-\udfff]|[\ud800-\udbff]$/);
  });

  test("ignores marks that don't lie in the text", () => {
    expect(snippet("short", [[-1, 2], [3, 99], [4, 4]], 50).runs).toEqual([{ text: "short", marked: false }]);
  });
});

test("quantiles are samples: the p99 of a hundred is the second largest", () => {
  const latency = new Latency();
  expect(latency.quantile(0.5)).toBeNaN();
  for (let sample = 100; sample >= 1; sample--) latency.add(sample);
  expect(latency.quantile(0.5)).toBe(50);
  expect(latency.quantile(0.99)).toBe(99);
  expect(latency.quantile(1)).toBe(100);
});

test("numbers keep three digits and change unit before they get long", () => {
  expect([bytes(0), bytes(999), bytes(1536), bytes(999_999), bytes(23_400_000)]).toEqual(["0 B", "999 B", "1.54 KB", "1.00 MB", "23.4 MB"]);
  expect([duration(0.0423), duration(12.34), duration(1520)]).toEqual(["0.04 ms", "12.3 ms", "1.52 s"]);
  expect([score(0.0328), score(9.87), score(123.4)]).toEqual(["0.033", "9.87", "123"]);
});

test("under its title a text does not repeat it, and its marks move along", () => {
  const text = "json.dumps\n\nSerialize a json object";
  const mark = text.lastIndexOf("json");
  expect(underTitle("json.dumps", text, [[0, 4], [22, 23], [mark, mark + 4]]))
    .toEqual({ text: "Serialize a json object", highlights: [[12, 16]] });
  expect(underTitle("json", "jsonlines is another", [[0, 4]])).toEqual({ text: "jsonlines is another", highlights: [[0, 4]] });
});
