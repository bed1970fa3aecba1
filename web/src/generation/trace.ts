/**
 * A trace of questions with a skewed popularity over the real tree, blocks and policies, without a
 * model: which policy finds how much of what is asked for, given the same bytes. Deterministic.
 */
import { KvCache } from "./cache.ts";
import type { Arena } from "./blocks.ts";
import { orderDocuments } from "./order.ts";
import type { PolicyName } from "./policy.ts";
import type { Segment } from "./prompt.ts";

export interface TraceOptions {
  requests?: number;
  /** Different ones that there are. */
  documents?: number;
  /** The share of documents that is popular, and the share of the documents asked for that is theirs (RAGCache, arXiv 2404.12457, figure 5). */
  popular?: number;
  popularity?: number;
  /** Of a request. */
  each?: number;
  /** Blocks of 32 tokens that the cache may hold. */
  blocks?: number;
  seed?: number;
}

export interface TraceResult {
  policy: PolicyName;
  /** Documents of the trace whose KV was there, as a share of all. */
  hitRate: number;
  /** The same of all tokens of the prompts. */
  tokenRate: number;
  /** Prefill by the model of time below, ms. */
  computeMs: number;
}

const SYSTEM_TOKENS = 32;
const QUESTION_TOKENS = 32;
/** Tokens of a document, from the least to the most; short ones are more. */
const LEAST_TOKENS = 32;
const MOST_TOKENS = 512;
/** ms to compute a token at a position: SmolLM2 on one thread, roughly. */
const tokenMs = (position: number): number => 3 + position * 1e-3;

/** Blocks without memory: nobody reads what is not computed. */
class CountedArena implements Arena {
  readonly blockBytes = 0;
  readonly capacity: number;

  constructor(blocks: number) {
    this.capacity = blocks;
  }

  grow(): boolean {
    return false;
  }

  bytes(): Uint8Array {
    return new Uint8Array(0);
  }

  copyBlock(): void {}
}

export async function simulateTrace(policy: PolicyName, options: TraceOptions = {}): Promise<TraceResult> {
  const { requests = 500, documents = 1000, popular = 0.03, popularity = 0.6, each = 2, blocks = 256, seed = 1 } = options;
  const random = mulberry32(seed);
  const below = (count: number): number => Math.floor(random() * count);
  // A token of a document says which it is.
  const texts = Array.from({ length: documents }, (_, document) => {
    const length = Math.round(LEAST_TOKENS * (MOST_TOKENS / LEAST_TOKENS) ** (random() ** 2));
    return new Int32Array(length).fill(document + 1);
  });
  const system = new Int32Array(SYSTEM_TOKENS);
  const many = Math.max(1, Math.round(documents * popular));
  const cache = new KvCache({ arena: new CountedArena(blocks), identity: "trace", budget: blocks, policy });
  const found = { documents: 0, tokens: 0, ofTokens: 0, ms: 0 };
  for (let request = 0; request < requests; request++) {
    const asked = new Set<number>();
    while (asked.size < each) asked.add(random() < popularity ? below(many) : many + below(documents - many));
    const chosen = [...asked].map((document) => texts[document]!);
    const order = orderDocuments([system], chosen, (tokens) => cache.known(tokens));
    const segments: Segment[] = [
      { kind: "system", tokens: system },
      ...order.map((index): Segment => ({ kind: "document", tokens: chosen[index]! })),
      { kind: "question", tokens: new Int32Array(QUESTION_TOKENS).fill(-1 - request) },
    ];
    const lease = await cache.acquire(segments);
    const { length } = lease.tokens;
    let end = SYSTEM_TOKENS;
    for (const index of order) if ((end += chosen[index]!.length) <= lease.cached) found.documents++;
    found.tokens += lease.cached;
    found.ofTokens += length;
    lease.reserve(length);
    // One segment after the other, as chunks would: each costs what its positions do.
    while (lease.cached < length) {
      const from = lease.cached;
      const to = Math.min(length, from + 128);
      const ms = (to - from) * tokenMs((from + to) / 2);
      found.ms += ms;
      lease.computed(to, ms);
    }
    lease.release();
  }
  return { policy, hitRate: found.documents / (requests * each), tokenRate: found.tokens / found.ofTokens, computeMs: found.ms };
}

/** Numbers in [0, 1), the same ones for a seed. */
function mulberry32(state: number): () => number {
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
