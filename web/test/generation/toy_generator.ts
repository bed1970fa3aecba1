/** What a generator does with the cache, with a toy for a model; what it finds is checked. */
import { expect } from "vitest";
import { KvCache, type AcquireOptions, type KvCacheOptions } from "../../src/generation/cache.ts";
import type { Lease } from "../../src/generation/lease.ts";
import type { Segment } from "../../src/generation/prompt.ts";
import { ToyArena } from "./toy_arena.ts";

export interface Toy {
  arena: ToyArena;
  cache: KvCache;
}

export function setUp(budget = 64, options: Partial<KvCacheOptions> = {}): Toy {
  const arena = new ToyArena(budget);
  return { arena, cache: new KvCache({ arena, identity: "toy", budget, ...options }) };
}

export function text(tokens: Int32Array): Segment {
  return { kind: "text", tokens };
}

/** Runs what is missing of the prompt as the generator does, in chunks, then `generated` more tokens. */
export async function run({ arena, cache }: Toy, segments: Segment[], generated: number[] = [], options?: AcquireOptions): Promise<Lease> {
  const lease = await cache.acquire(segments, options);
  expect(arena.wrong(lease.tokens, lease.table, lease.cached)).toBe(-1);
  const step = (to: number): void => {
    lease.reserve(to);
    arena.run(lease.tokens, lease.table, lease.cached, to);
    lease.computed(to, to - lease.cached);
  };
  try {
    while (lease.cached < lease.tokens.length) {
      await lease.wait();
      lease.advance();
      step(Math.min(lease.cached + Math.min(40, lease.stretch), lease.tokens.length));
    }
    for (const token of generated) {
      lease.append(token);
      step(lease.tokens.length);
    }
  } catch (error) {
    lease.release();
    throw error;
  }
  expect(arena.wrong(lease.tokens, lease.table, lease.cached)).toBe(-1);
  return lease;
}
