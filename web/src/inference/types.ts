/** The public types of Encoder and Session. */
import type { Stage } from "../types.ts";

export interface EncoderProgress {
  /** `weights`: the download; `ready`: open() is done; `encode`: texts of a call. */
  status: "weights" | "ready" | "encode";
  file: string;
  /** Bytes, or texts for `encode`. */
  loaded: number;
  total: number;
}

export interface EncoderOptions {
  signal?: AbortSignal;
  onProgress?: (event: EncoderProgress) => void;
  /** Threads that compute, the encoder's worker included. Default: the device's cores less one; 1 where the page is not cross-origin isolated. */
  threads?: number;
  /** Default "wasm". */
  backend?: "wasm" | "webgpu";
  /** "memory" stores nothing; default "local": weights are kept in the origin's file system, else in IndexedDB. */
  storage?: "local" | "memory";
  /** Most tokens (padding included) of one run; more take more memory. Default 512. */
  rows?: number;
  /** Where it runs; "inline" is the calling thread: for tests, or inside a worker of yours. Default "worker". */
  thread?: "worker" | "inline";
  /** Where encoder-worker.js is; default: beside encoder.js. */
  workerUrl?: string | URL;
  /** User Timing marks `pywasm:<stage>`; default false. */
  marks?: boolean;
}

export interface EncodeOptions {
  /** Which of the model's prefixes is put before the texts; default "document". */
  kind?: "query" | "document";
  signal?: AbortSignal;
  /** Called between runs when there are several. */
  onProgress?: (event: EncoderProgress) => void;
}

export interface BackendStatus {
  backend: "wasm" | "webgpu";
  /** Why that is not the backend that was asked for. */
  note?: string;
  /** Rounding of multiply-adds: "fused" where the device has relaxed SIMD, or on a GPU. */
  numeric: "fused" | "separate";
  threads: number;
  /** Bytes. */
  memory: { weights: number; arena: number; scratch: number; total: number };
  /** Kernels that were replaced by ones tuned on this device. */
  adopted: string[];
}

export interface EncoderStatus extends BackendStatus {
  name: string;
  /** `stored`: how many of its `files` were there when it was opened. */
  storage: { tier: "opfs" | "indexeddb" | "memory"; stored: number; files: number };
  /** Where the time of open() went. */
  opening: Stage[];
  /** The last encode(): its texts, their tokens, the runs it took and where the time went. */
  last: { texts: number; tokens: number; runs: number; stages: Stage[] } | null;
}

export interface StepTiming {
  /** Of the step, e.g. "layer0.qkv". */
  name: string;
  kernel: string;
  ms: number;
  flops: number;
}
