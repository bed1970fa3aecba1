import { describe, expect, test } from "vitest";
import { newEntry, Policy, victim, type Entry, type PolicyName } from "../../src/generation/policy.ts";

/** Uses entries in the order of `uses`; `costs` and `sizes` are theirs. Answers who goes first, second, ... */
function order(name: PolicyName, uses: string, costs: Record<string, number> = {}, sizes: Record<string, number> = {}): string {
  const policy = new Policy(name);
  const entries = new Map<string, Entry>();
  for (const key of uses) {
    if (!entries.has(key)) entries.set(key, newEntry());
    policy.use(entries.get(key)!, costs[key] ?? 1, sizes[key] ?? 1);
  }
  let gone = "";
  while (entries.size > 0) {
    const key = victim(entries.keys(), (one) => entries.get(one)!)!;
    policy.evicted(entries.get(key)!);
    entries.delete(key);
    gone += key;
  }
  return gone;
}

describe("who goes first", () => {
  test("lru: who was not used for the longest time", () => expect(order("lru", "abcabbb")).toBe("cab"));
  test("lfu: who was used least, of equals the older one", () => expect(order("lfu", "aabbcd")).toBe("cdab"));
  test("gdsf: as lfu, whatever the cost", () => expect(order("gdsf", "aabbcd", { c: 100 })).toBe("cdab"));
  test("pgdsf: who is cheap to have again for its size", () => {
    expect(order("pgdsf", "abc", { a: 30, b: 10, c: 20 })).toBe("bca");
    expect(order("pgdsf", "abc", { a: 30, b: 30, c: 30 }, { a: 1, b: 3, c: 2 })).toBe("bca");
    expect(order("pgdsf", "abbb", { a: 20, b: 10 })).toBe("ab");
  });
});

test("what was popular once goes when the clock has passed it, but not under lfu", () => {
  for (const [name, stays] of [["pgdsf", false], ["gdsf", false], ["lfu", true]] as const) {
    const policy = new Policy(name);
    const old = newEntry();
    for (let use = 0; use < 5; use++) policy.use(old, 1, 1);
    let went = 0;
    for (let newcomer = 0; newcomer < 20; newcomer++) {
      const entry = newEntry();
      policy.use(entry, 1, 1);
      const gone = victim([old, entry], (one) => one)!;
      if (gone === old) break;
      policy.evicted(gone);
      went++;
    }
    expect(went === 20).toBe(stays);
  }
});
