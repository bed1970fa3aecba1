import { describe, expect, test } from "vitest";
import type { Lease } from "../../src/generation/lease.ts";
import { Random } from "./random.ts";
import { run, setUp, text } from "./toy_generator.ts";

describe("reuse", () => {
  test("at every split point of a prompt, and never a token too many", async () => {
    const random = new Random(1);
    const tokens = random.tokens(150);
    for (let split = 1; split < tokens.length; split++) {
      const toy = setUp();
      (await run(toy, [text(tokens)])).release();
      const other = tokens.slice();
      other[split] = other[split]! + 1;
      const lease = await run(toy, [text(other)]);
      expect(lease.sources.memory).toBe(split);
      lease.release();
    }
  });

  test("whatever the segments were", async () => {
    const toy = setUp();
    const tokens = new Random(2).tokens(100);
    (await run(toy, [text(tokens.slice(0, 33)), text(tokens.slice(33, 70)), text(tokens.slice(70))])).release();
    const lease = await toy.cache.acquire([text(tokens.slice(0, 50)), text(tokens.slice(50))]);
    expect(lease.cached).toBe(99);  // the last is run for its logits
    lease.release();
  });

  test("of what was generated", async () => {
    const toy = setUp();
    const tokens = new Random(3).tokens(40);
    (await run(toy, [text(tokens)], [7, 8, 9])).release();
    const lease = await toy.cache.acquire([text(tokens), text(Int32Array.of(7, 8, 9, 10))]);
    expect(lease.cached).toBe(43);
    lease.release();
  });

  test("while the first is still running, from its complete segments on", async () => {
    const toy = setUp();
    const random = new Random(4);
    const shared = random.tokens(48);
    const first = await run(toy, [text(shared), text(random.tokens(20))]);
    const second = await run(toy, [text(shared), text(random.tokens(30))]);
    expect(second.sources.memory).toBe(48);
    // Both go on in the block in which what they share ends: one of them in a copy.
    expect(toy.arena.wrong(first.tokens, first.table, first.cached)).toBe(-1);
    first.release();
    expect(toy.arena.wrong(second.tokens, second.table, second.cached)).toBe(-1);
    second.release();
  });

  test("not with one changed token before", async () => {
    const toy = setUp();
    const random = new Random(5);
    const system = random.tokens(32);
    const document = random.tokens(64);
    (await run(toy, [text(system), text(document)])).release();
    const changed = system.slice();
    changed[0] = changed[0]! + 1;
    const lease = await toy.cache.acquire([text(changed), text(document)]);
    expect(lease.cached).toBe(0);
    lease.release();
  });
});

describe("blocks", () => {
  test("behind the few tokens that a prompt shares with another make room for it", async () => {
    const toy = setUp(8);
    const random = new Random(9);
    const head = random.tokens(3);
    for (let count = 0; count < 3; count++) {
      const lease = await run(toy, [text(head), text(random.tokens(190))]);
      expect(lease.sources.memory).toBe(count === 0 ? 0 : head.length);
      lease.release();
    }
    // Within a segment, too.
    const whole = random.tokens(200);
    const other = random.tokens(200);
    other.set(whole.subarray(0, 40));
    (await run(toy, [text(whole)])).release();
    (await run(toy, [text(other)])).release();
    expect(toy.cache.status()).toMatchObject({ leases: 0 });
  });

  test("of full prefixes are shared, not copied", async () => {
    const toy = setUp();
    const random = new Random(6);
    const system = random.tokens(96);
    const leases = [];
    for (let count = 0; count < 5; count++) leases.push(await run(toy, [text(system), text(random.tokens(32))]));
    expect(toy.cache.status().blocks).toBe(3 + 5);
    for (const lease of leases) lease.release();
  });

  test("where a prefix ends inside one: the first goes on in place, the others copy", async () => {
    const toy = setUp();
    const random = new Random(7);
    const system = random.tokens(40);
    const leases = [];
    for (let count = 0; count < 3; count++) leases.push(await run(toy, [text(system), text(random.tokens(20))]));
    expect(toy.cache.status().blocks).toBe(1 + 3);
    for (const lease of leases) lease.release();
  });

  test("that run out fail with a code, and the sequence can be released", async () => {
    const toy = setUp(4);
    const random = new Random(8);
    const lease = await toy.cache.acquire([text(random.tokens(300))]);
    expect(() => lease.reserve(300)).toThrow(expect.objectContaining({ code: "memory" }));
    lease.release();
    expect(toy.cache.status().blocks).toBe(0);
  });

  test("of 100 aborted prompts leave what one leaves", async () => {
    const toy = setUp();
    const tokens = new Random(9).tokens(200);
    const sizes: number[] = [];
    for (let count = 0; count < 100; count++) {
      const lease = await toy.cache.acquire([text(tokens)]);
      lease.reserve(128);
      toy.arena.run(lease.tokens, lease.table, lease.cached, 100);
      lease.computed(100, 50);
      lease.release();
      lease.release();
      sizes.push(toy.cache.status().blocks);
    }
    expect(sizes[99]).toBe(sizes[0]);
    await toy.cache.clear();
    expect(toy.cache.status()).toMatchObject({ blocks: 0, nodes: 0, leases: 0 });
  });
});

describe("eviction", () => {
  test("takes leaves before what they stand on, and never what is in use", async () => {
    const toy = setUp(8);
    const random = new Random(10);
    const system = random.tokens(64);
    const held = await run(toy, [text(system), text(random.tokens(32))]);
    for (let count = 0; count < 20; count++) {
      const lease = await run(toy, [text(system), text(random.tokens(96))]);
      expect(lease.sources.memory).toBe(64);
      lease.release();
    }
    expect(toy.arena.wrong(held.tokens, held.table, held.cached)).toBe(-1);
    held.release();
  });

  test("a released sequence can be used after clear() by nobody", async () => {
    const toy = setUp();
    const tokens = new Random(11).tokens(64);
    const running = await run(toy, [text(tokens)]);
    await toy.cache.clear();
    running.append(1);
    running.reserve(65);
    toy.arena.run(running.tokens, running.table, 64, 65);
    running.computed(65, 1);
    running.release();
    expect(toy.cache.status()).toMatchObject({ blocks: 0, nodes: 0 });
    const lease = await toy.cache.acquire([text(tokens)]);
    expect(lease.cached).toBe(0);
    lease.release();
  });
});

test("random prompts, generation, aborts and eviction keep every KV right and lose no block", async () => {
  for (let seed = 0; seed < 30; seed++) {
    const random = new Random(seed);
    const toy = setUp(24 + random.below(40));
    const pool = Array.from({ length: 6 }, () => random.tokens(1 + random.below(70), 5));
    const open: Lease[] = [];
    for (let step = 0; step < 60; step++) {
      if (open.length > 2 || (open.length > 0 && random.next() < 0.4)) {
        open.splice(random.below(open.length), 1)[0]!.release();
        continue;
      }
      const segments = Array.from({ length: 1 + random.below(4) }, () => text(random.pick(pool)));
      const generated = Array.from({ length: random.below(40) }, () => random.below(5));
      try {
        open.push(await run(toy, segments, generated));
      } catch (error) {
        expect(error).toMatchObject({ code: "memory" });
      }
      for (const lease of open) expect(toy.arena.wrong(lease.tokens, lease.table, lease.cached)).toBe(-1);
    }
    for (const lease of open) lease.release();
    await toy.cache.clear();
    expect(toy.cache.status()).toMatchObject({ blocks: 0, nodes: 0, leases: 0 });
  }
});
