import { expect, test } from "vitest";

import { MemoryBudget } from "../src/budget.ts";
import type { Engine } from "../src/engine.ts";

const RESIDENT = 6 << 20;

/** An engine that only remembers its budget. */
function fake(): { engine: Engine; budget: () => number } {
  let bytes = 0;
  const engine = { setBudget: (value: number) => (bytes = value), info: () => ({ residentBytes: RESIDENT, deltaBytes: 0, totalPages: 0 }) };
  return { engine: engine as unknown as Engine, budget: () => bytes };
}

function searches(budget: MemoryBudget, ms: number, times = 32): void {
  for (let i = 0; i < times; i++) budget.observe(ms);
}

test("the cache shrinks while searches stay fast, down to what one search needs", () => {
  const { engine, budget } = fake();
  const memory = new MemoryBudget(engine, "auto", 10, "opfs");
  memory.apply();
  const first = budget();
  searches(memory, 1);
  expect(budget()).toBeLessThan(first);
  searches(memory, 1, 32 * 40);
  expect(budget() - RESIDENT).toBe(1 << 20);
  expect(memory.waitP95).toBe(1);
});

test("it grows when they get slow, and does not shrink to that size again at once", () => {
  const { engine, budget } = fake();
  const memory = new MemoryBudget(engine, "auto", 10, "opfs");
  memory.apply();
  const first = budget();
  searches(memory, 50);
  const grown = budget();
  expect(grown).toBeGreaterThan(first);
  searches(memory, 1);
  searches(memory, 1);
  expect(budget()).toBeGreaterThan(first);
});

test("a fixed budget stays; sections that do not fit into it are not held", () => {
  const { engine, budget } = fake();
  const memory = new MemoryBudget(engine, 8e6, 10, "opfs");
  memory.apply();
  searches(memory, 99);
  expect(budget()).toBe(8e6);
  const bytes: Record<number, number> = { 2: 1e6, 3: 6e6, 4: 1e5 };
  expect(memory.fitting([2, 3, 4], (section) => bytes[section]!)).toEqual([2]);
  memory.set("auto");
  expect(budget()).toBe(RESIDENT + (2 << 20));
});
