import { expect, test } from "vitest";

import { batches } from "../../src/inference/batches.ts";

test("every text is in one batch, of similar lengths, within the rows", () => {
  const lengths = Array.from({ length: 300 }, (_, index) => 3 + ((index * 7919) % 254));
  const found = batches(lengths, 512);
  expect(found.flat().sort((a, b) => a - b)).toEqual(lengths.map((_, index) => index));
  let padding = 0;
  for (const batch of found) {
    const seq = lengths[batch[0]!]!;
    for (const index of batch) {
      expect(lengths[index]).toBeLessThanOrEqual(seq);
      padding += seq - lengths[index]!;
    }
    if (batch.length > 1) expect(batch.length * seq).toBeLessThanOrEqual(512);
  }
  expect(padding).toBeLessThan(0.1 * lengths.reduce((sum, length) => sum + length));
});

test("a short text does not run padded to a long one; a text beyond the rows runs alone", () => {
  expect(batches([10, 200, 12], 512)).toEqual([[1], [2, 0]]);
  expect(batches([600, 600], 512)).toEqual([[0], [1]]);
  expect(batches([], 512)).toEqual([]);
});
