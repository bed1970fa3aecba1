/**
 * The site itself as a tier: byte ranges of its shards, whole shards where the host doesn't serve
 * ranges. Answers are taken page by page as they come.
 */
import { PywasmError, throwIfAborted } from "../error.ts";
import { PAGE_BYTES } from "../generated/abi.ts";
import { planRanges, type PageRange } from "./ranges.ts";
import type { Priority } from "./tier.ts";

export interface Shard {
  file: string;
  bytes: number;
}

/** Called for every page that arrives, asked for or not; nothing is checked yet. */
export type Deliver = (page: number, bytes: Uint8Array<ArrayBuffer>) => void;

const PARALLEL = 6;
const MOST_RANGES = 4;
const RETRY_MS = [200, 800];

/** The file isn't there any more: the site has been deployed anew. */
export class GoneError extends PywasmError {
  constructor(file: string, status: number) {
    super("network", `${file} answered ${status}: the site has changed since its manifest was read`, { file });
  }
}

/** Worth another try: the network, or a server that is busy. */
class TransientError extends PywasmError {}

export class HttpTier {
  readonly #base: URL;
  readonly #shards: readonly Shard[];
  readonly #pagesPerShard: number;
  readonly #deliver: Deliver;
  readonly #abort = new AbortController();
  /** Shards that are being read whole because the host doesn't serve ranges. */
  readonly #whole = new Map<number, Promise<void>>();
  readonly #waiting: (() => void)[] = [];
  #running = 0;
  #ranged = true;
  requests = 0;
  bytes = 0;

  constructor(base: URL, shards: readonly Shard[], pagesPerShard: number, deliver: Deliver) {
    this.#base = base;
    this.#shards = shards;
    this.#pagesPerShard = pagesPerShard;
    this.#deliver = deliver;
  }

  /** False once the host has answered a range with a whole file. */
  get servesRanges(): boolean {
    return this.#ranged;
  }

  /** Brings ascending `pages`, in at most about `most` requests; `fresh` passes by every cache on the way. */
  async fetch(pages: readonly number[], options: { priority?: Priority; fresh?: boolean; most?: number } = {}): Promise<void> {
    const { priority = "high", fresh = false, most = MOST_RANGES } = options;
    const ranges = planRanges(pages, this.#pagesPerShard, most);
    await Promise.all(ranges.map((range) => this.#withRetries(range, priority, fresh)));
  }

  close(): void {
    this.#abort.abort();
  }

  async #withRetries(range: PageRange, priority: Priority, fresh: boolean): Promise<void> {
    const progress = { next: range.first };
    for (let attempt = 0; ; attempt++) {
      throwIfAborted(this.#abort.signal);
      try {
        if (this.#ranged) await this.#limited(priority, () => this.#part({ ...range, first: progress.next }, progress, priority));
        else await this.#shard(range.shard, priority, fresh);
        return;
      } catch (error) {
        const wait = RETRY_MS[attempt];
        if (!(error instanceof TransientError) || wait === undefined || this.#abort.signal.aborted) throw error;
        await new Promise((resolve) => setTimeout(resolve, wait));
      }
    }
  }

  /** One range request. A host without ranges answers with the whole shard, which is kept. */
  async #part(range: PageRange, progress: { next: number }, priority: Priority): Promise<void> {
    const shard = this.#shardAt(range);
    const base = range.shard * this.#pagesPerShard;
    const from = (range.first - base) * PAGE_BYTES;
    const to = (range.last - base + 1) * PAGE_BYTES;
    // Chromium makes range requests of one address wait for each other in its cache: pass it by.
    const response = await this.#request(shard, { headers: { Range: `bytes=${from}-${to - 1}` }, cache: "no-store", priority });
    if (response.status === 416) {
      throw new PywasmError("corrupt", `${shard.file} is shorter than the manifest says`, { file: shard.file, offset: from, expected: `${shard.bytes} bytes` });
    }
    if (response.status === 206) {
      if (isPart(response, from)) return this.#read(response, shard, from, to, progress, range.first);
      this.#ranged = false;
      void response.body?.cancel();
      throw new TransientError("network", `${shard.file}: the answer is not the range that was asked for`, { file: shard.file });
    }
    this.#ranged = false;
    if (this.#whole.has(range.shard)) void response.body?.cancel();
    await this.#once(range.shard, () => this.#read(response, shard, 0, shard.bytes, { next: 0 }, base));
  }

  /** All pages of a shard without a range request. */
  #shard(number: number, priority: Priority, fresh: boolean): Promise<void> {
    return this.#once(number, () => this.#limited(priority, async () => {
      const first = number * this.#pagesPerShard;
      const shard = this.#shardAt({ shard: number, first, last: first });
      const response = await this.#request(shard, { cache: fresh ? "reload" : "default", priority });
      return this.#read(response, shard, 0, shard.bytes, { next: 0 }, first);
    }));
  }

  /** Whoever asks for a whole shard while it is being read waits for that reading. */
  #once(number: number, read: () => Promise<void>): Promise<void> {
    let reading = this.#whole.get(number);
    if (!reading) {
      reading = read().finally(() => this.#whole.delete(number));
      this.#whole.set(number, reading);
    }
    return reading;
  }

  #shardAt({ shard: number, first }: PageRange): Shard {
    const shard = this.#shards[number];
    if (!shard) throw new PywasmError("corrupt", `page ${first} would lie in shard ${number}, but the manifest names ${this.#shards.length}`, { file: "manifest.json" });
    return shard;
  }

  async #request(shard: Shard, init: RequestInit): Promise<Response> {
    let response: Response;
    this.requests++;
    try {
      response = await fetch(new URL(shard.file, this.#base), { ...init, signal: this.#abort.signal });
    } catch (cause) {
      throw new TransientError("network", `${shard.file} could not be fetched: ${reasonOf(cause)}`, { file: shard.file, cause });
    }
    if (response.status === 404 || response.status === 410) throw new GoneError(shard.file, response.status);
    if (response.ok || response.status === 416) return response;
    throw new TransientError("network", `${shard.file} answered ${response.status}`, { file: shard.file });
  }

  /** Cuts the body, bytes [from, to) of the shard, into pages from `first` on and delivers them. */
  async #read(response: Response, shard: Shard, from: number, to: number, progress: { next: number }, first: number): Promise<void> {
    let page = first;
    let filled = 0;
    let at = from;
    let buffer = new Uint8Array(PAGE_BYTES);
    const reader = response.body!.getReader();
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        this.bytes += value.byteLength;
        for (let used = 0; used < value.byteLength && at < to; ) {
          const taken = Math.min(PAGE_BYTES - filled, value.byteLength - used, to - at);
          buffer.set(value.subarray(used, used + taken), filled);
          used += taken;
          filled += taken;
          at += taken;
          if (filled < PAGE_BYTES) continue;
          this.#deliver(page++, buffer);
          progress.next = page;
          buffer = new Uint8Array(PAGE_BYTES);
          filled = 0;
        }
      }
    } catch (cause) {
      throw new TransientError("network", `${shard.file}: the connection broke at byte ${at}: ${reasonOf(cause)}`, { file: shard.file, offset: at, cause });
    }
    if (at < to) {
      throw new TransientError("network", `${shard.file}: the answer ends at byte ${at}, ${to} expected`, { file: shard.file, offset: at, expected: `${to} bytes` });
    }
  }

  /** At most PARALLEL requests at a time; what a search waits for goes before the background. */
  async #limited<T>(priority: Priority, request: () => Promise<T>): Promise<T> {
    if (this.#running >= PARALLEL) {
      await new Promise<void>((go) => (priority === "high" ? this.#waiting.unshift(go) : this.#waiting.push(go)));
    }
    this.#running++;
    try {
      return await request();
    } finally {
      this.#running--;
      this.#waiting.shift()?.();
    }
  }
}

/** Whether a 206 is the part that was asked for, uncompressed (a range of a compressed file is of no use). */
function isPart(response: Response, from: number): boolean {
  const encoding = response.headers.get("content-encoding");
  if (encoding !== null && encoding !== "identity") return false;
  const range = response.headers.get("content-range");  // hidden from other origins unless exposed
  return range === null || range.startsWith(`bytes ${from}-`);
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
