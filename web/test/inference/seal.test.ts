import { expect, test } from "vitest";

import { SEAL_BYTES, sealOf } from "../../src/inference/seal.ts";

test("a seal changes with every bit, byte and swap, at any length and alignment", () => {
  const sha256 = "a".repeat(64);
  for (const length of [0, 1, 4, 15, 16, 33, 100]) {
    const bytes = Uint8Array.from({ length }, (_, index) => (index * 151) & 255);
    const seal = sealOf(sha256, bytes);
    expect(seal).toHaveLength(SEAL_BYTES);
    for (let bit = 0; bit < length * 8; bit++) {
      const changed = bytes.slice();
      changed[bit >> 3]! ^= 1 << (bit & 7);
      expect(sealOf(sha256, changed)).not.toBe(seal);
    }
    expect(sealOf(sha256, bytes.slice().reverse()) === seal).toBe(length < 2);
    const shifted = new Uint8Array(length + 1);
    shifted.set(bytes, 1);
    expect(sealOf(sha256, shifted.subarray(1))).toBe(seal);
  }
  expect(sealOf("b".repeat(64), new Uint8Array(3))).not.toBe(sealOf(sha256, new Uint8Array(3)));
});
