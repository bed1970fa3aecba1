/** The public types of Generator. */
import type { ShippedKv } from "../generated/manifest.ts";
import type { StepTiming } from "../inference/types.ts";
import type { Stage } from "../types.ts";
import type { SegmentKind } from "./prompt.ts";

export type { StepTiming };

export interface GeneratorProgress {
  /** `weights`: the download. */
  status: "weights";
  file: string;
  /** Bytes. */
  loaded: number;
  total: number;
}

export interface GeneratorOptions {
  signal?: AbortSignal;
  onProgress?: (event: GeneratorProgress) => void;
  /** Threads that compute, the generator's worker included. Default: the device's cores less one; 1 where the page is not cross-origin isolated. */
  threads?: number;
  /** Most bytes of KV in memory, of all conversations together; it grows as it is needed. Default "auto": by what the device has. */
  memory?: number | "auto";
  /** "memory" stores nothing; default "local": weights and KV are kept in the origin's file system, else in IndexedDB. */
  storage?: "local" | "memory";
  /** KV that a site ships: the folder of its manifest, and `answers.kv` of it. */
  shipped?: { site: string | URL; kv: ShippedKv };
  /** Where it runs; "inline" is the calling thread: for tests, or inside a worker of yours. Default "worker". */
  thread?: "worker" | "inline";
  /** Where generator-worker.js is; default: beside generator.js. */
  workerUrl?: string | URL;
  /** User Timing marks `pywasm:<stage>`; default false. */
  marks?: boolean;
}

export interface Message {
  /** As the model's chat template knows them: "system", "user", "assistant". */
  role: string;
  content: string;
}

/** A part of a prompt, tokenised on its own. What looks like a special token in a "document" or "question" stays text. */
export interface TextSegment {
  kind: SegmentKind;
  text: string;
  /** Of a document: what the site calls it. */
  id?: string;
}

/** Text as it is; messages, which the model's chat template makes a text of; or parts, of which those at the beginning that were there before cost nothing. */
export type Prompt = string | { messages: readonly Message[] } | { segments: readonly TextSegment[] };

export interface GenerateOptions {
  /** Default 256. */
  maxTokens?: number;
  /** 0, the default: always the most probable token. */
  temperature?: number;
  /** Of the k most probable tokens. */
  topK?: number;
  /** Of the most probable tokens that together have this probability. */
  topP?: number;
  /** Of tokens at least so probable as this share of the most probable one. */
  minP?: number;
  /** More than 1 makes tokens that were there less probable. */
  repetitionPenalty?: number;
  /** Same seed, same text; default: another one each time. */
  seed?: number;
  /** Text that ends the answer; it is not part of it. */
  stop?: string | readonly string[];
  signal?: AbortSignal;
  /** The prompt is tokenised, and what is known of it is found; its other tokens are computed now. */
  onStart?: (start: GenerationStart) => void;
}

export interface GenerationStart {
  promptTokens: number;
  /** Those that did not have to be computed. */
  cachedTokens: number;
  /** Cached tokens by where they were. */
  sources: { memory: number; storage: number; shipped: number };
}

export interface GenerationStats extends GenerationStart {
  /** To the first token, ms. */
  ttftMs: number;
  /** Generated. */
  tokens: number;
  /** Of those after the first. */
  tokensPerSecond: number;
  /** "stop": the model or a stop string ended it; "length": maxTokens or the context is full. */
  reason: "stop" | "length" | "aborted";
}

export interface GenerationEnd {
  stats: GenerationStats;
  /** All of the text. */
  answer: string;
}

export interface ConversationOptions {
  /** What the model is told before anything is said. */
  system?: string;
  /** Of a conversation to go on with; a new one gets one. */
  id?: string;
  /** Nothing of it is stored; it ends with the page. Default false. */
  private?: boolean;
  /** Goes on without end: where the context is full, the model forgets the oldest of it, not the beginning. Default false: it says so. */
  sliding?: boolean;
}

export interface GeneratorInfo {
  name: string;
  licence: string;
  /** SHA-256 of what it was compiled from. */
  source: string;
  /** Tokens, of prompt and answer together. */
  context: number;
  vocab: number;
  /** Bytes of KV of a token in memory. */
  kvBytes: number;
}

export interface GeneratorStatus {
  name: string;
  /** Rounding of multiply-adds: "fused" where the device has relaxed SIMD. */
  numeric: "fused" | "separate";
  /** What matrix products are computed in. */
  activations: "int16" | "f32";
  threads: number;
  /** Bytes; `kv`: of the arena, used or not. */
  memory: { weights: number; arena: number; scratch: number; kv: number; total: number };
  /** `stored`: how many of its `files` were there when it was opened. */
  storage: { tier: "opfs" | "indexeddb" | "memory"; stored: number; files: number };
  /** Where the time of open() went. */
  opening: Stage[];
  /** The KV cache. */
  kv: KvStatus;
  /** Generations that go on. */
  running: number;
  last: GenerationStats | null;
}

/** The KV cache. */
export interface KvStatus {
  /** In use in memory, of `budget`. */
  blocks: number;
  budget: number;
  bytes: number;
  /** Of the tree of all that is known, in memory or stored. */
  nodes: number;
  /** Prompts that are running. */
  leases: number;
  /** Tokens whose KV was needed since the model was opened, by where it came from. */
  tokens: { memory: number; storage: number; shipped: number; computed: number };
  /** `bytes` of at most `budget`; `full`: the browser gives no more. null where nothing is stored. */
  storage: { tier: "opfs" | "indexeddb"; bytes: number; budget: number; records: number; full: boolean } | null;
}
