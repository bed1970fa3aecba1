import { describe, expect, test } from "vitest";
import { PywasmError } from "../../src/error.ts";
import type { Segment } from "../../src/generation/prompt.ts";
import { MemoryStore } from "./memory_store.ts";
import { Random } from "./random.ts";
import { SHAPE } from "./toy_arena.ts";
import { run, setUp, text, type Toy } from "./toy_generator.ts";

const random = new Random(1);
const system: Segment = { kind: "system", tokens: random.tokens(40) };
const documents = Array.from({ length: 4 }, (): Segment => ({ kind: "document", tokens: random.tokens(100) }));

interface Site {
  /** Fetches so far. */
  fetched: number;
  aborted: number;
  /** Of each fetch, ms. */
  ms: number;
  /** What a record's first byte is; the toy's model wants 1. */
  first: number;
}

/** A visit to a site that ships the KV of all documents but the last behind the system prompt. */
function visit(site: Site, store: MemoryStore | null = null): Toy {
  const source = {
    find: (tokens: Int32Array, start: number) => {
      const shipped = start === 40 && documents.slice(0, 3).some((document) => document.tokens.every((token, at) => tokens[start + at] === token) && tokens.length === 140);
      return shipped ? {
        bytes: 1000,
        bits: 4 as const,
        fetch: async (signal?: AbortSignal): Promise<Uint8Array> => {
          site.fetched++;
          signal?.addEventListener("abort", () => site.aborted++);
          await new Promise((resolve) => setTimeout(resolve, site.ms));
          return new Uint8Array(1000).fill(site.first);
        },
      } : null;
    },
  };
  let placing: Segment = documents[0]!;
  const toy: Toy = setUp(64, {
    storage: store && { store, shape: SHAPE, budget: 1e6 },
    shipped: {
      source,
      unpack: (_, record, rows, start, table) => {
        if (record[0] !== 1) throw new PywasmError("corrupt", "not a record");
        toy.arena.run([...system.tokens, ...placing.tokens], table, start, start + rows);
      },
    },
  });
  const { acquire } = toy.cache;
  toy.cache.acquire = (segments, options) => {
    placing = segments[1]!;
    return acquire.call(toy.cache, segments, options);
  };
  return toy;
}

function question(): Segment {
  return { ...text(random.tokens(20)), kind: "question" };
}

async function ask(toy: Toy, ...middle: Segment[]) {
  const lease = await run(toy, [system, ...middle, question()]);
  lease.release();
  await toy.cache.settled();
  return lease.sources;
}

describe("a document whose KV the site ships", () => {
  test("is fetched while what stands before it is computed, and in memory from then on", async () => {
    const site = { fetched: 0, aborted: 0, ms: 5, first: 1 };
    const toy = visit(site);
    expect(await ask(toy, documents[0]!)).toEqual({ memory: 0, storage: 0, shipped: 100 });
    expect(await ask(toy, documents[0]!)).toEqual({ memory: 140, storage: 0, shipped: 0 });
    expect(site.fetched).toBe(1);
    expect(toy.cache.status().tokens).toMatchObject({ shipped: 100, memory: 140 });
  });

  test("is computed where none is shipped, it stands elsewhere, or it is damaged", async () => {
    const site = { fetched: 0, aborted: 0, ms: 1, first: 1 };
    const toy = visit(site);
    expect((await ask(toy, documents[3]!)).shipped).toBe(0);
    expect((await ask(toy, documents[3]!, documents[0]!)).shipped).toBe(0);
    expect(site.fetched).toBe(0);
    site.first = 2;
    expect((await ask(toy, documents[1]!)).shipped).toBe(0);
    expect(site.fetched).toBe(1);
  });

  test("is computed where the host is too slow, and the fetch is given up", async () => {
    const site = { fetched: 0, aborted: 0, ms: 3000, first: 1 };
    const toy = visit(site);
    const began = performance.now();
    expect((await ask(toy, documents[0]!)).shipped).toBe(0);
    expect(performance.now() - began).toBeLessThan(2500);
    expect(site).toMatchObject({ fetched: 1, aborted: 1 });
  });

  test("is kept on the disk as it came: later visits fetch nothing, until it is damaged", async () => {
    const site = { fetched: 0, aborted: 0, ms: 1, first: 1 };
    const store = new MemoryStore();
    await ask(visit(site, store), documents[0]!);
    expect([...store.files.keys()].filter((name) => name.startsWith("shipped-")).length).toBe(1);
    // What stands on compressed KV is no exact record: only the system prompt is one.
    expect(store.files.size).toBe(2);
    expect((await ask(visit(site, store), documents[0]!)).shipped).toBe(100);
    expect(site.fetched).toBe(1);
    for (const [name, bytes] of store.files) if (name.startsWith("shipped-")) bytes[500]! ^= 1;
    expect((await ask(visit(site, store), documents[0]!)).shipped).toBe(100);
    expect(site.fetched).toBe(2);
    const toy = visit(site, store);
    await toy.cache.clear();
    expect(store.files.size).toBe(0);
    expect((await ask(toy, documents[0]!)).shipped).toBe(100);
    expect(site.fetched).toBe(3);
  });

  test("is not asked for where its exact KV is stored", async () => {
    const site = { fetched: 0, aborted: 0, ms: 1, first: 2 };
    const store = new MemoryStore();
    await ask(visit(site, store), documents[0]!);
    site.first = 1;
    expect(await ask(visit(site, store), documents[0]!)).toEqual({ memory: 0, storage: 140, shipped: 0 });
    expect(site.fetched).toBe(1);
  });

  test("leaves no block behind when the prompt is aborted while it is on its way", async () => {
    const site = { fetched: 0, aborted: 0, ms: 30, first: 1 };
    const toy = visit(site);
    for (let count = 0; count < 20; count++) {
      const lease = await toy.cache.acquire([system, documents[count % 3]!, question()]);
      lease.release();
    }
    expect(site.aborted).toBe(20);
    await toy.cache.clear();
    expect(toy.cache.status()).toMatchObject({ blocks: 0, leases: 0 });
  });
});
