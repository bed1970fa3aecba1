/** The public types: what a page passes in and gets back. Plain data, so all of it crosses to the worker. */
import type { Answers } from "./generated/manifest.ts";

export type StorageKind = "opfs" | "indexeddb";
export type Metric = "cosine" | "ip" | "l2";
export type Dtype = "f32" | "f16" | "int8";
export type Mode = "keyword" | "vector" | "hybrid";

export interface ProgressEvent {
  /** `open`: the index can be searched; `codes`: what vector search needs; `fill`: the whole index into storage; `encoder`: what typed queries need; `generator`: what answers need. */
  status: "open" | "codes" | "fill" | "compact" | "ready" | "update" | "encoder" | "generator";
  file: string;
  /** Bytes. */
  loaded: number;
  total: number;
}

export interface OpenOptions {
  signal?: AbortSignal;
  onProgress?: (event: ProgressEvent) => void;
  /** What the engine may hold, in bytes; "auto" (default) finds it by `latencyTarget`. */
  memory?: "auto" | number;
  /** What a search may wait for pages from local storage, 95th percentile, in ms; default 10. */
  latencyTarget?: number;
  /** Local storage to try, in order; "memory" keeps nothing. Default: ["opfs", "indexeddb"]. */
  storage?: readonly StorageKind[] | "memory";
  /** Download the whole index into local storage in the background; default true (false under Save-Data). */
  fill?: boolean;
  /** Register the site's service worker (`sw.js`), so that the page itself works offline; default false. */
  offline?: boolean;
  /** Where the engine runs; default "worker". */
  thread?: "worker" | "inline";
  workerUrl?: string | URL;
  wasmUrl?: string | URL;
  /** builder.wasm, loaded for changes and for an index of kind graph; default: beside engine.wasm. */
  builderUrl?: string | URL;
  /** writer.js, the worker's part that changes and exports; default: beside worker.js. */
  writerUrl?: string | URL;
  /** User Timing marks `pywasm:<stage>`; default false. */
  marks?: boolean;
  /** How the encoder that the site carries runs; false: typed queries find words only. */
  encoder?: EncoderSettings | false;
  /** How the language model that the site carries runs; false: there are no answers. */
  generator?: GeneratorSettings | false;
}

/** Of the site's encoder. */
export interface EncoderSettings {
  /** Default: the device's cores less one; 1 where the page is not cross-origin isolated. */
  threads?: number;
  /** Default "wasm". */
  backend?: "wasm" | "webgpu";
  /** Where encoder-worker.js is; default: beside encoder.js, or beside the index's workerUrl if that is of another origin. */
  workerUrl?: string | URL;
  /** Make its kernels faster on this device when the page is idle; "auto" (default): not on phones, under Save-Data or with little memory. */
  tune?: "auto" | "on" | "off";
  /** Where tuner-worker.js is; default: beside tuning.js. */
  tunerUrl?: string | URL;
}

/** Of the site's language model. */
export interface GeneratorSettings {
  /** Default: the device's cores less one; 1 where the page is not cross-origin isolated. */
  threads?: number;
  /** Most bytes of KV in memory; default "auto": by what the device has. */
  memory?: number | "auto";
  /** Where generator-worker.js is; default: beside generator.js, or beside the index's workerUrl if that is of another origin. */
  workerUrl?: string | URL;
}

export interface CreateOptions extends OpenOptions {
  dim: number;
  metric?: Metric;
  dtype?: Dtype;
  columns?: Record<string, "category" | "number">;
}

export type Scalar = string | number;
export type FilterValue =
  | Scalar
  | { gte?: number; gt?: number; lte?: number; lt?: number }
  | { in: readonly Scalar[] };

/** Several keys mean "and": `{ module: "datetime", year: { gte: 2000 } }`. */
export type Filter =
  | { and: readonly Filter[] }
  | { or: readonly Filter[] }
  | { not: Filter }
  | { [column: string]: FilterValue };

export type Query = string | Float32Array | { text?: string; vector?: Float32Array | readonly number[] };

export interface SearchOptions {
  /** How many hits; default 10. */
  k?: number;
  filter?: Filter;
  /** Default: "hybrid" for a text where the site carries its encoder, else by what is given. */
  mode?: Mode;
  /** The last word also matches as a prefix (search as you type); default false. */
  prefix?: boolean;
  /** Target recall@10 of vector search; default 0.95. */
  recall?: number;
  /** Id of a row that must not be returned. */
  exclude?: string;
  nprobe?: number;
  efSearch?: number;
  rerank?: number;
  /** Cut `text` to about so many characters around the best highlights; default: the whole text. */
  snippets?: number;
  signal?: AbortSignal;
  /** Earlier, coarser answers of the same search: keyword hits before the vectors are in, estimates before exact scores. */
  onPartial?: (results: Results) => void;
}

export interface Hit {
  id: string;
  row: number;
  /** Cosine or inner product (greater is nearer), squared L2 (smaller is nearer), BM25, or the fused score. */
  score: number;
  /** False: estimated from codes because the full vector is not here yet. */
  exact: boolean;
  title: string;
  url: string;
  anchor: string;
  text: string;
  metadata: Record<string, Scalar>;
  /** [start, end) of matched words in `text`, UTF-16 units, ascending. */
  highlights: [number, number][];
  /** Place (from 1) in each of the two rankings. */
  ranks: { keyword?: number; vector?: number };
}

export interface Stage {
  name: string;
  /** ms since the search began. */
  start: number;
  ms: number;
}

export interface Counters {
  hops: number;
  codes: number;
  distances: number;
  clusters: number;
  pagesHit: number;
  pagesMissed: number;
  /** Pages that came from each tier for this search. */
  fetched: Partial<Record<TierName, number>>;
  bytes: number;
}

export type TierName = "opfs" | "indexeddb" | "leader" | "http" | "memory";

export interface Results {
  hits: Hit[];
  mode: Mode;
  /** Rows that pass the filter; null without one. */
  passing: number | null;
  stages: Stage[];
  counters: Counters;
  /** Why a typed query was answered by words alone although the site carries an encoder. */
  note?: string;
}

/** A row to insert. */
export interface NewRow {
  id: string;
  vector: Float32Array | readonly number[];
  text?: string;
  title?: string;
  url?: string;
  anchor?: string;
  metadata?: Record<string, Scalar>;
}

/** A row as stored. */
export interface Row {
  id: string;
  row: number;
  title: string;
  url: string;
  anchor: string;
  text: string;
  metadata: Record<string, Scalar>;
  vector?: Float32Array;
}

export interface Column {
  name: string;
  type: "category" | "number";
  values?: string[];
  min?: number;
  max?: number;
}

/** What made the vectors of an index. */
export interface EncoderInfo {
  name: string;
  dim: number;
  pooling: string;
  normalize: boolean;
  query_prefix: string;
  document_prefix: string;
  max_tokens: number;
  licence: string;
  sha256: string;
  /** As the site carries it; null: not at all. */
  compiled?: {
    /** Path of plan.json in the site. */
    plan: string;
    weights: "f32" | "f16" | "int8" | "int4";
    /** What the first typed query downloads. */
    visit_bytes: number;
    /** Least cosine of its vectors and the index's, measured when the site was built. */
    cosine: number;
    /** nDCG@10 of its queries, and of the model's in f32, where weights lose some. */
    ndcg?: number | null;
    ndcg_f32?: number | null;
    tuner?: { folder: string } | null;
  } | null;
}

/** How far the site's encoder is. */
export interface EncoderState {
  /** `idle`: nothing has asked for it yet. */
  state: "idle" | "loading" | "ready" | "failed";
  /** Bytes of its weights. */
  loaded: number;
  total: number;
  /** What went wrong; the next search tries again where it was the network. */
  error: string | null;
}

export interface Suggestion {
  text: string;
  vector: Float32Array;
}

export interface Site {
  title: string;
  language: string;
  rows: number;
  documents: number;
  dim: number;
  metric: Metric;
  dtype: Dtype;
  kind: "flat" | "scan" | "clusters" | "graph";
  /** Bits a dimension of the codes that are scanned in memory. */
  codeBits: number;
  keyword: boolean;
  columns: Column[];
  suggestions: Suggestion[];
  encoder: EncoderInfo | null;
  /** The language model that it carries, and its prompt. */
  answers: Answers | null;
  licences: { name: string; of: string; url: string }[];
  generation: string;
}

export interface Status {
  rows: number;
  deleted: number;
  /** Rows inserted since the last compaction. */
  delta: number;
  memory: { wasm: number; resident: number; cache: number; delta: number; budget: number; cachedPages: number; cacheSlots: number };
  storage: { tier: StorageKind | "leader" | "memory"; pages: number; total: number; persisted: boolean; quota: number; usage: number };
  fill: { done: number; total: number; state: "off" | "running" | "paused" | "done" | "quota" | "failed" };
  /** Pages brought since open, by tier. */
  fetches: Partial<Record<TierName, number>>;
  requests: number;
  bytes: number;
  corrupt: number;
  leader: boolean;
  generation: string;
  /** A newer generation that the site serves now; used from the next open on. */
  available: string | null;
  /** True once this browser has compacted its own changes into the index: it no longer follows the site. */
  local: boolean;
  /** p95 of the wait for pages of recent searches, ms. */
  waitP95: number;
  /** Null where the site carries none. */
  encoder: EncoderState | null;
}

export interface ExportedFile {
  path: string;
  blob: Blob;
}
