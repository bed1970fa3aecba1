import { expect, test } from "vitest";

import { StopStrings } from "../../src/generation/stop.ts";

function pass(stops: string[], pieces: string[]): { shown: string[]; rest: string; stopped: boolean } {
  const filter = new StopStrings(stops);
  const shown = pieces.map((piece) => filter.push(piece));
  return { shown, rest: filter.flush(), stopped: filter.stopped };
}

test("without stop strings nothing is held back", () => {
  expect(pass([], ["a", "", "b"])).toEqual({ shown: ["a", "", "b"], rest: "", stopped: false });
});

test("what may become a stop string is held back until it can't", () => {
  expect(pass(["END"], ["xE", "N", "t"])).toEqual({ shown: ["x", "", "ENt"], rest: "", stopped: false });
  expect(pass(["END"], ["xEEN"])).toEqual({ shown: ["xE"], rest: "EN", stopped: false });
});

test("a stop string ends the text before it, wherever it was cut", () => {
  expect(pass(["END"], ["a", "bE", "N", "Dc", "d"])).toEqual({ shown: ["a", "b", "", "", ""], rest: "", stopped: true });
  expect(pass(["END"], ["aEND"])).toEqual({ shown: ["a"], rest: "", stopped: true });
});

test("of several the first to stand in the text counts", () => {
  expect(pass(["later", "l8", "\n\n"], ["see you l", "8 or later\n\n"])).toEqual({ shown: ["see you ", ""], rest: "", stopped: true });
  expect(pass(["abcd", "bc"], ["xab", "c"])).toEqual({ shown: ["x", "a"], rest: "", stopped: true });
});
