/** What the page's side and the worker's side say to each other. */
import type { PlainError } from "./error.ts";
import type { Hint } from "./stored.ts";
import type { CreateOptions, OpenOptions, ProgressEvent, Results, Site } from "./types.ts";

/** The options of open() that are data. */
export type CoreOptions = Pick<OpenOptions, "memory" | "latencyTarget" | "storage" | "fill" | "marks">;

export interface OpenRequest {
  /** "name:NAME", or the absolute address of a site, ending in "/". */
  name: string;
  options: CoreOptions;
  /** Make it if it isn't there (Index.create). */
  create: Pick<CreateOptions, "dim" | "metric" | "dtype" | "columns"> | null;
  /** False: no manifest will be delivered. */
  network: boolean;
  /** What is stored, as the page found it: where to begin before the worker has looked. */
  hint: Hint | null;
  /** Where builder.wasm is, if not beside the worker's script. */
  builderUrl: string | null;
  /** Where writer.js is, if not beside it. */
  writerUrl: string | null;
}

/** A fetched manifest, or why there is none. */
export type ManifestDelivery = { bytes: ArrayBuffer } | { error: PlainError };

export type Answer<T> = { ok: T } | { error: PlainError };

export type HostEvent =
  | { kind: "progress"; index: number; event: ProgressEvent }
  | { kind: "partial"; call: number; results: Results };

export type Method =
  | "search" | "similar" | "suggest" | "insert" | "delete" | "get" | "rowsFrom" | "hold" | "status" | "setMemory" | "compact"
  | "export" | "clear";

/** The worker's side. `index` and `call` are numbers the page's side gives. */
export interface Host {
  /** Answers when the worker runs; holds the Web Lock `lock` from then on, so that its end is noticed. */
  connect(lock: string, notify: (event: HostEvent) => void): Promise<void>;
  ping(): Promise<true>;
  open(index: number, request: OpenRequest, module: WebAssembly.Module, call: number): Promise<Answer<Site>>;
  manifest(index: number, delivery: ManifestDelivery): void;
  call(index: number, call: number, method: Method, args: unknown[]): Promise<Answer<unknown>>;
  cancel(call: number): void;
  close(index: number): Promise<void>;
}
