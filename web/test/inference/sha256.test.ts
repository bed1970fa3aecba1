import { createHash } from "node:crypto";

import { expect, test } from "vitest";

import { Sha256 } from "../../src/inference/sha256.ts";

test("as others compute it, whatever the pieces", () => {
  for (const length of [0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 1000, 100_003]) {
    const bytes = Uint8Array.from({ length }, (_, index) => (index * 2654435761) >>> 13);
    const wanted = createHash("sha256").update(bytes).digest("hex");
    for (const piece of [1, 7, 64, 100, 100_003]) {
      const hash = new Sha256();
      for (let at = 0; at < length; at += piece) hash.update(bytes.subarray(at, at + piece));
      expect(hash.digest(), `${length} bytes by ${piece}`).toBe(wanted);
    }
  }
});
