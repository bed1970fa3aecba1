import { describe, expect, test } from "vitest";
import { openKvStore, type KvStore } from "../../src/generation/kv_store.ts";
import type { Segment } from "../../src/generation/prompt.ts";
import { MemoryStore } from "./memory_store.ts";
import { Random } from "./random.ts";
import { SHAPE } from "./toy_arena.ts";
import { run, setUp, text, type Toy } from "./toy_generator.ts";

function visit(store: KvStore, { blocks = 64, budget = Infinity, identity = "toy" } = {}): Toy {
  return setUp(blocks, { identity, storage: { store, shape: SHAPE, budget } });
}

/** A prompt is run to its end; what is to be stored is. */
async function prompt(toy: Toy, segments: Segment[], generated: number[] = [], keep: "storage" | "memory" = "storage") {
  const lease = await run(toy, segments, generated, { keep });
  lease.release();
  await toy.cache.settled();
  return lease.sources;
}

function parts(random: Random, ...lengths: number[]): Segment[] {
  return lengths.map((length) => text(random.tokens(length)));
}

describe("the next visit", () => {
  test("finds everything but the last token, in as many records as there were segments", async () => {
    const store = new MemoryStore();
    const segments = parts(new Random(1), 40, 70, 33);
    await prompt(visit(store), segments);
    expect(store.files.size).toBe(3);
    const sources = await prompt(visit(store), segments);
    expect(sources).toEqual({ memory: 0, storage: 142, shipped: 0 });
  });

  test("in IndexedDB too", async () => {
    const segments = parts(new Random(2), 40, 70);
    const first = visit((await openKvStore("http://localhost/model"))!);
    await prompt(first, segments);
    const store = (await openKvStore("http://localhost/model"))!;
    expect(store.tier).toBe("indexeddb");
    const second = visit(store);
    expect(await prompt(second, segments)).toMatchObject({ storage: 109 });
    await second.cache.clear();
    expect(await store.names()).toEqual([]);
  });

  test("reuses a prefix at every split point", async () => {
    const store = new MemoryStore();
    const tokens = new Random(3).tokens(100);
    await prompt(visit(store), [text(tokens.slice(0, 37)), text(tokens.slice(37))]);
    for (let split = 1; split < 100; split++) {
      const other = tokens.slice();
      other[split] = other[split]! + 1;
      const toy = visit(store);
      const lease = await run(toy, [text(other)]);
      expect(lease.sources.storage).toBe(split);
      toy.cache.close();
    }
  });

  test("of another model, or one token off, finds nothing; foreign records are removed", async () => {
    const store = new MemoryStore();
    const segments = parts(new Random(4), 64, 40);
    await prompt(visit(store), segments);
    const changed = segments.map(({ tokens }, index) => text(index === 0 ? tokens.map((token, at) => (at === 3 ? token + 1 : token)) : tokens));
    expect((await (await visit(store).cache.acquire(changed))).cached).toBe(3);
    expect((await visit(store, { identity: "toy, other weights" }).cache.acquire(segments)).cached).toBe(0);
    await expect.poll(() => store.files.size).toBe(0);
  });

  test("goes on where a chat ended, generated tokens included", async () => {
    const store = new MemoryStore();
    const first = parts(new Random(5), 50);
    await prompt(visit(store), first, [1, 2, 3, 4, 5]);
    const sources = await prompt(visit(store), [...first, text(Int32Array.of(1, 2, 3, 4, 5)), ...parts(new Random(6), 20)]);
    expect(sources.storage).toBe(55);
  });
});

describe("damage", () => {
  test("anywhere in a record costs the record, never a wrong KV", async () => {
    const random = new Random(7);
    const segments = parts(random, 32, 50);
    for (let round = 0; round < 150; round++) {
      const store = new MemoryStore();
      await prompt(visit(store), segments);
      const [name, bytes] = random.pick([...store.files]);
      if (round % 3 === 0) store.files.set(name, bytes.slice(0, random.below(bytes.length)));
      else bytes[random.below(bytes.length)]! ^= 1 << random.below(8);
      const toy = visit(store);
      const sources = await prompt(toy, segments);  // run() compares what it gets
      expect(sources.storage).toBeLessThan(81);
      expect((await prompt(visit(store), segments)).storage).toBe(81);  // and it was written again
    }
  });

  test("a record under another's name is refused", async () => {
    const store = new MemoryStore();
    const segments = parts(new Random(8), 64, 64);
    await prompt(visit(store), segments);
    const [[one], [, bytes]] = [...store.files] as [[string, Uint8Array], [string, Uint8Array]];
    store.files.set(one, bytes);
    expect((await visit(store).cache.acquire(segments)).cached).toBe(0);
  });

  test("a tab that dies while saving leaves nothing of the record", async () => {
    const store = new MemoryStore();
    const segments = parts(new Random(9), 64, 64);
    const toy = visit(store);
    store.onPart = (part) => {
      if (part === 2) toy.cache.close();
    };
    await prompt(toy, segments);
    expect(store.files.size).toBe(0);
    store.onPart = () => undefined;
    expect((await prompt(visit(store), segments)).storage).toBe(0);
  });
});

describe("room", () => {
  test("a full quota stops no answer; what fits is kept", async () => {
    const store = new MemoryStore();
    store.quota = 6000;
    const toy = visit(store);
    const random = new Random(10);
    for (let count = 0; count < 10; count++) await prompt(toy, parts(random, 40, 40));
    expect(store.bytes).toBeLessThanOrEqual(6000);
    expect(toy.cache.status().storage).toMatchObject({ full: true, bytes: store.bytes });
  });

  test("within a budget the popular stay, and nothing without what it stands on", async () => {
    const store = new MemoryStore();
    const random = new Random(11);
    const system = text(random.tokens(32));
    const popular = text(random.tokens(64));
    const budget = 9000;
    const toy = visit(store, { blocks: 16, budget });
    for (let count = 0; count < 30; count++) {
      await prompt(toy, [system, count % 2 === 0 ? popular : text(random.tokens(64))]);
      expect(store.bytes).toBeLessThanOrEqual(budget);
    }
    const sources = await prompt(visit(store, { budget }), [system, popular]);
    expect(sources.storage).toBe(95);
  });

  test("in the arena: what went from there comes back from storage", async () => {
    const store = new MemoryStore();
    const toy = visit(store, { blocks: 8 });
    const random = new Random(12);
    const prompts = Array.from({ length: 6 }, () => parts(random, 60, 60));
    for (const segments of prompts) await prompt(toy, segments);
    let stored = 0;
    for (const segments of prompts) stored += (await prompt(toy, segments)).storage;
    expect(stored).toBeGreaterThan(300);
  });
});

describe("privacy", () => {
  test("what is to be kept in memory alone is not written, not even its slots in a shared block", async () => {
    const store = new MemoryStore();
    const toy = visit(store);
    const random = new Random(13);
    const shared = text(random.tokens(40));
    const lease = await run(toy, [shared, text(random.tokens(60))], [1, 2, 3], { keep: "memory" });
    const secret = toy.arena.bytes(lease.table[1]!).slice();
    lease.release();
    await toy.cache.settled();
    expect(store.files.size).toBe(0);
    await prompt(toy, [shared, text(random.tokens(5))]);
    const written = [...store.files.values()].map((bytes) => Buffer.from(bytes));
    expect(written.length).toBe(2);
    // Keys of head 0 in slots 16 to 31: tokens of the private prompt.
    for (const bytes of written) expect(bytes.indexOf(secret.subarray(32, 64))).toBe(-1);
  });

  test("clear() leaves nothing, also of what is being written", async () => {
    const store = new MemoryStore();
    const toy = visit(store);
    const random = new Random(14);
    await prompt(toy, parts(random, 64, 64));
    const lease = await run(toy, parts(random, 64, 64));
    lease.release();  // and its records are on their way
    await toy.cache.clear();
    await toy.cache.settled();
    expect(store.files.size).toBe(0);
    expect(toy.cache.status()).toMatchObject({ blocks: 0, nodes: 0, storage: { bytes: 0, records: 0 } });
    await prompt(toy, parts(random, 64));
    expect(store.files.size).toBe(1);
  });
});

test("two tabs: each finds what the other wrote, and survives what the other removed", async () => {
  const store = new MemoryStore();
  const random = new Random(15);
  const [a, b] = [visit(store), visit(store)];
  const [one, two] = [parts(random, 64, 30), parts(random, 64, 30)];
  await prompt(a, one);
  await prompt(b, two);  // b looks around before it writes
  expect((await prompt(b, one)).storage).toBe(93);
  const c = visit(store);
  await c.cache.settled();
  await a.cache.clear();
  expect((await prompt(c, one)).storage).toBe(0);
  expect((await prompt(visit(store), one)).storage).toBe(93);
});

test("random prompts, visits and evictions over both tiers keep every KV right", async () => {
  for (let seed = 0; seed < 15; seed++) {
    const random = new Random(seed);
    const store = new MemoryStore();
    const budget = 4000 + random.below(30000);
    const pool = Array.from({ length: 6 }, () => random.tokens(1 + random.below(70), 5));
    let toy = visit(store, { blocks: 16, budget });
    for (let step = 0; step < 40; step++) {
      if (random.next() < 0.15) {
        toy.cache.close();  // in the middle of writing, mostly
        await toy.cache.settled();
        toy = visit(store, { blocks: 16, budget });
      }
      const segments = Array.from({ length: 1 + random.below(4) }, () => text(random.pick(pool)));
      const lease = await run(toy, segments, Array.from({ length: random.below(20) }, () => random.below(5))).catch((error: unknown) => {
        expect(error).toMatchObject({ code: "memory" });
      });
      lease?.release();
      if (random.next() < 0.5) await toy.cache.settled();
    }
    await toy.cache.settled();
    expect(store.bytes).toBeLessThanOrEqual(budget);
    await toy.cache.clear();
    expect(toy.cache.status()).toMatchObject({ blocks: 0, nodes: 0, storage: { bytes: 0, records: 0 } });
  }
});
