import { expect, test } from "vitest";
import type { Lease } from "../../src/generation/lease.ts";
import { MemoryStore } from "./memory_store.ts";
import { Random } from "./random.ts";
import { SHAPE, type ToyArena } from "./toy_arena.ts";
import { run, setUp, text, type Toy } from "./toy_generator.ts";

const random = new Random(1);

function visit(store: MemoryStore | null = null): Toy {
  const toy: Toy = setUp(64, { storage: store && { store, shape: SHAPE, budget: Infinity }, move: (...args) => toy.arena.move(...args) });
  return toy;
}

/** KV of the sequence, block after block. */
function content(arena: ToyArena, { table }: Lease): number[][] {
  return [...table].map((block) => [...arena.bytes(block)]);
}

/** Appends and runs tokens whose KV is what the toy makes of its window. */
function go(toy: Toy, lease: Lease, count: number): void {
  for (let token = 0; token < count; token++) {
    lease.append(random.below(1000));
    lease.reserve(lease.tokens.length);
    toy.arena.run(lease.tokens, lease.table, lease.cached, lease.tokens.length);
    lease.computed(lease.tokens.length, 1);
  }
}

test("what stands between the sinks and the window is dropped, the rest moves down", async () => {
  const toy = visit();
  const tokens = random.tokens(200);
  const lease = await run(toy, [text(tokens)]);
  const before = content(toy.arena, lease);
  const { blocks } = toy.cache.status();
  expect(lease.slide(1, 3)).toBe(96);
  expect([...lease.tokens]).toEqual([...tokens.slice(0, 32), ...tokens.slice(128)]);
  expect(lease.cached).toBe(104);
  const after = content(toy.arena, lease);
  expect(after.slice(0, 3)).toEqual([before[0], before[4], before[5]]);
  expect(after.length).toBe(4);
  // What was computed whole is in the cache as it was.
  expect(toy.cache.status().blocks).toBe(blocks + 3);
  lease.release();
  expect((await toy.cache.acquire([text(tokens)])).cached).toBe(199);
});

test("what has slid is found by its tag alone, in memory and in storage", async () => {
  const store = new MemoryStore();
  const toy = visit(store);
  const lease = await run(toy, [text(random.tokens(200))]);
  lease.slide(1, 3);
  go(toy, lease, 30);
  const { tag } = lease;
  const tokens = lease.tokens.slice();
  const kv = content(toy.arena, lease).slice(0, -1);
  lease.release();
  await toy.cache.settled();
  for (const one of [toy, visit(store)]) {
    const next = [text(tokens), text(random.tokens(5))];
    const plain = await one.cache.acquire(next);
    expect(plain.cached).toBeLessThanOrEqual(32);  // the sinks: nothing was dropped before them
    plain.release();
    const again = await one.cache.acquire(next, { tag });
    expect(again.cached).toBe(tokens.length);
    expect(content(one.arena, again).slice(0, kv.length)).toEqual(kv);
    again.release();
  }
});

test("a chat without end holds a bounded number of blocks", async () => {
  const toy = visit();
  const lease = await run(toy, [text(random.tokens(100))]);
  const used: number[] = [];
  for (let round = 0; round < 40; round++) {
    go(toy, lease, 96);
    lease.slide(1, 3);
    used.push(toy.cache.status().blocks);
  }
  expect(Math.max(...used.slice(5))).toBeLessThanOrEqual(Math.max(...used.slice(0, 5)));
  expect(lease.cached).toBe(100);
  lease.release();
  await toy.cache.clear();
  expect(toy.cache.status()).toMatchObject({ blocks: 0, nodes: 0, leases: 0 });
});

test("nothing is dropped that is not there, or where no kernel moves KV", async () => {
  const toy = visit();
  const lease = await run(toy, [text(random.tokens(100))]);
  for (const [sinks, count] of [[0, 1], [1, 0], [1, 3]] as const) {
    expect(() => lease.slide(sinks, count)).toThrow(expect.objectContaining({ code: "argument" }));
  }
  lease.release();
  const fixed = setUp();
  const other = await run(fixed, [text(random.tokens(100))]);
  expect(() => other.slide(1, 1)).toThrow(expect.objectContaining({ code: "unsupported" }));
  other.release();
});
