/** The files of a compiled model: from local storage where they are there and right, else from its host. */
import { PywasmError, throwIfAborted } from "../error.ts";
import type { PlanFile } from "../generated/plan.ts";
import { PLAN_FILE } from "./plan.ts";
import { sealOf } from "./seal.ts";
import { Sha256 } from "./sha256.ts";
import type { FileStore } from "./store.ts";

const RETRY_MS = [300, 1000];

/** Takes what has been read of a file so far, bytes. */
type Heard = (loaded: number) => void;

export class ModelFiles {
  readonly #base: URL;
  readonly #signal: AbortSignal | undefined;
  #store: FileStore | null;
  /** Files that needed no download. */
  stored = 0;

  /** `base`: the folder of the plan, ending in "/". `store`: null keeps nothing. */
  constructor(base: URL, store: FileStore | null, signal?: AbortSignal) {
    this.#base = base;
    this.#store = store;
    this.#signal = signal;
  }

  get tier(): "opfs" | "indexeddb" | "memory" {
    return this.#store?.tier ?? "memory";
  }

  /** The whole of a small file. */
  async whole(file: PlanFile): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(file.bytes);
    await this.into(bytes, file);
    return bytes;
  }

  /**
   * Fills `target`, of the file's length, in place and checks it. What is stored damaged is fetched
   * again; what comes damaged from the host is asked for once more past all caches.
   */
  async into(target: Uint8Array, file: PlanFile, heard: Heard = () => undefined): Promise<void> {
    throwIfAborted(this.#signal);
    const seal = await this.#store?.read(file.file, target).catch(() => null);
    if (seal && seal === sealOf(file.sha256, target)) {
      this.stored++;
      heard(file.bytes);
      return;
    }
    let found = await this.#fetch(target, file, "default", heard);
    if (found !== file.sha256) found = await this.#fetch(target, file, "reload", heard);
    if (found !== file.sha256) {
      throw this.#error("corrupt", file, `its SHA-256 is ${found}, ${file.sha256} expected: the file on the host is damaged`, { offset: 0, expected: file.sha256 });
    }
    // Storage that is full or fails costs the next visit a download, nothing else.
    await this.#store?.write(file.file, target, sealOf(file.sha256, target)).catch(() => (this.#store = null));
  }

  /** What settle() stored on an earlier visit; null if there is none. */
  async plan(): Promise<string | null> {
    return (await this.#store?.text(PLAN_FILE).catch(() => null)) ?? null;
  }

  /** All files of this plan have been stored: the next visit can do without the host. Those of earlier plans are removed. */
  async settle(plan: string, files: readonly PlanFile[]): Promise<void> {
    try {
      await this.#store?.write(PLAN_FILE, new TextEncoder().encode(plan), "");
      await this.#store?.keep(new Set([PLAN_FILE, ...files.map(({ file }) => file)]));
    } catch {
      // Storage is full, or another tab is at it: the files are still there for the next visit.
    }
  }

  /** Answers the SHA-256 of what came. */
  async #fetch(target: Uint8Array, file: PlanFile, cache: RequestCache, heard: Heard): Promise<string> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#attempt(target, file, cache, heard);
      } catch (error) {
        throwIfAborted(this.#signal);
        const wait = RETRY_MS[attempt];
        if (wait === undefined || !(error instanceof PywasmError) || error.code !== "network") throw error;
        await new Promise((resolve) => setTimeout(resolve, wait));
      }
    }
  }

  async #attempt(target: Uint8Array, file: PlanFile, cache: RequestCache, heard: Heard): Promise<string> {
    const hash = new Sha256();
    const url = new URL(file.file, this.#base);
    let loaded = 0;
    try {
      const response = await fetch(url, { cache, ...(this.#signal && { signal: this.#signal }) });
      if (!response.ok) throw this.#error(response.status >= 500 ? "network" : "corrupt", file, `the host answered ${response.status}`);
      for await (const chunk of chunks(response.body!)) {
        if (loaded + chunk.byteLength > target.byteLength) throw this.#error("corrupt", file, `it is longer than the ${file.bytes} bytes that the plan says`, { offset: file.bytes });
        target.set(chunk, loaded);
        hash.update(chunk);
        loaded += chunk.byteLength;
        heard(loaded);
      }
    } catch (cause) {
      if (cause instanceof PywasmError) throw cause;
      throw this.#error("network", file, `it could not be fetched: ${cause instanceof Error ? cause.message : String(cause)}`, { offset: loaded, cause });
    }
    if (loaded < target.byteLength) throw this.#error("network", file, `it ended after ${loaded} of ${file.bytes} bytes`, { offset: loaded, expected: `${file.bytes} bytes` });
    return hash.digest();
  }

  #error(code: "network" | "corrupt", { file }: PlanFile, problem: string, detail: { offset?: number; expected?: string; cause?: unknown } = {}): PywasmError {
    return new PywasmError(code, `${new URL(file, this.#base).href}: ${problem}`, { file, ...detail });
  }
}

/** What is read at a time where the browser lets the reader bring its own buffer. */
const CHUNK_BYTES = 256 << 10;

/** The body as it comes, each piece valid until the next is asked for. */
async function* chunks(body: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = readerOf(body);
  let buffer = new ArrayBuffer(CHUNK_BYTES);
  try {
    for (;;) {
      const { done, value } = reader instanceof ReadableStreamDefaultReader ? await reader.read() : await reader.read(new Uint8Array(buffer));
      if (done || !value) return;
      yield value;
      buffer = value.buffer;
    }
  } finally {
    void reader.cancel().catch(() => undefined);
  }
}

/** One that fills the same buffer again and again: else all of a download lies about until it is collected. */
function readerOf(body: ReadableStream<Uint8Array<ArrayBuffer>>): ReadableStreamBYOBReader | ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>> {
  try {
    return body.getReader({ mode: "byob" });
  } catch {
    return body.getReader();
  }
}
