import { describe, expect, test } from "vitest";
import { POLICIES } from "../../src/generation/policy.ts";
import { simulateTrace } from "../../src/generation/trace.ts";

describe("500 questions of skewed popularity", () => {
  test("PGDSF finds more than LRU, whatever the questions", async () => {
    for (let seed = 1; seed <= 4; seed++) {
      const [pgdsf, lru] = [await simulateTrace("pgdsf", { seed }), await simulateTrace("lru", { seed })];
      expect(pgdsf.hitRate / lru.hitRate).toBeGreaterThan(1.06);
      expect(pgdsf.computeMs).toBeLessThan(lru.computeMs);
    }
  });

  test("where everything fits all policies are one, where nothing does none finds anything", async () => {
    const all = await Promise.all(POLICIES.map((policy) => simulateTrace(policy, { documents: 50, requests: 100, blocks: 2000 })));
    expect(new Set(all.map(({ hitRate }) => hitRate)).size).toBe(1);
    expect(all[0]!.hitRate).toBeGreaterThan(0.3);
    const none = await simulateTrace("pgdsf", { documents: 1000, requests: 20, popularity: 0, each: 1, blocks: 20 });
    expect(none.hitRate).toBe(0);
  });

  test("the same seed is the same trace", async () => {
    expect(await simulateTrace("pgdsf")).toEqual(await simulateTrace("pgdsf"));
    expect(await simulateTrace("pgdsf")).not.toEqual(await simulateTrace("pgdsf", { seed: 2 }));
  });
});
