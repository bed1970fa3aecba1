/**
 * The tier below storage: KV that came with the site, of documents behind its system prompt. It is
 * fetched while the prompt before it is computed, kept compressed in local storage, and unpacked by
 * a kernel into the blocks of the sequence that wants it.
 */
import { checksum } from "../inference/seal.ts";
import type { KvStore } from "./kv_store.ts";
import type { Rates } from "./rates.ts";
import { prefixHash } from "./tree.ts";

/** A record on the site (shipped.ts). */
interface SiteRecord {
  readonly bytes: number;
  readonly bits: 4 | 8;
  fetch(signal?: AbortSignal): Promise<Uint8Array>;
}

/** What the site ships. */
export interface ShippedSource {
  /** The record of the last segment of `tokens`, which begins at `start`; null where there is none. */
  find(tokens: Int32Array, start: number): SiteRecord | null;
}

export interface ShippedTierOptions {
  source: ShippedSource;
  /** Of the records' content, for their names in storage. */
  identity: string;
  /** Writes the KV of `rows` tokens from position `start` on into the blocks of `table`; throws "corrupt". */
  unpack: (bits: 4 | 8, record: Uint8Array, rows: number, start: number, table: Int32Array) => void;
  store: KvStore | null;
  /** The most bytes to store. */
  budget: number | Promise<number>;
  rates: Rates;
}

/** KV of positions [start, end) that is on its way to a sequence. */
export interface Arrival {
  readonly start: number;
  readonly end: number;
  /** ms for which waiting is better than computing. */
  readonly patience: number;
  /** null: it does not come. */
  readonly record: Promise<Uint8Array | null>;
  /** Puts it into its place. */
  place(record: Uint8Array, table: Int32Array): void;
  /** It is not wanted any more. */
  cancel(): void;
}

/** Round trips and what they cost until the first byte comes, ms. */
const LATENCY_MS = 60;
const NAME = /^shipped-[0-9a-f]{64}-(\d+)$/;
const SUM_BYTES = 16;

export class ShippedTier {
  readonly #options: ShippedTierOptions;
  /** Bytes of what is stored, by name, the oldest first. */
  readonly #stored = new Map<string, number>();
  readonly #ready: Promise<void>;

  constructor(options: ShippedTierOptions) {
    this.#options = options;
    this.#ready = this.#list().catch(() => undefined);
  }

  async #list(): Promise<void> {
    for (const name of (await this.#options.store?.names()) ?? []) {
      const bytes = NAME.exec(name)?.[1];
      if (bytes) this.#stored.set(name, Number(bytes));
    }
  }

  /**
   * Has the KV of the last segment of `tokens`, which begins at `start`, brought here; null where
   * there is none, or computing it is quicker.
   */
  async request(tokens: Int32Array, start: number): Promise<Arrival | null> {
    const { source, identity, unpack, rates } = this.#options;
    const record = source.find(tokens, start);
    if (!record) return null;
    await this.#ready;
    const name = `shipped-${prefixHash(`${identity} ${record.bits}`, tokens)}-${record.bytes}`;
    const rows = tokens.length - start;
    const compute = rates.computeMs(start, rows);
    const bring = this.#stored.has(name) ? rates.storage.ms(record.bytes) : LATENCY_MS + rates.network.ms(record.bytes);
    if (bring > compute) return null;
    const controller = new AbortController();
    return {
      start,
      end: tokens.length,
      patience: Math.min(2 * bring + LATENCY_MS, compute),
      record: this.#bring(name, record, controller.signal).catch(() => null),
      place: (bytes, table) => unpack(record.bits, bytes, rows, start, table),
      cancel: () => controller.abort(),
    };
  }

  async #bring(name: string, record: SiteRecord, signal: AbortSignal): Promise<Uint8Array> {
    const stored = this.#stored.has(name) ? await this.#read(name, record.bytes) : null;
    if (stored) return stored;
    const began = performance.now();
    const bytes = await record.fetch(signal);
    this.#options.rates.network.learn(bytes.byteLength, performance.now() - began);
    void this.#write(name, bytes).catch(() => undefined);  // a full disk: it is fetched again
    return bytes;
  }

  async #read(name: string, bytes: number): Promise<Uint8Array | null> {
    const { store } = this.#options;
    const file = await store!.open(name);
    const found = new Uint8Array(bytes + SUM_BYTES);
    const whole = file !== null && file.size === found.length && (await file.read(0, found.length, () => found));
    file?.close();
    const record = found.slice(0, bytes);
    const sums = new Int32Array(found.slice(bytes).buffer);
    if (whole && checksum(record).every((word, index) => word === sums[index])) return record;
    this.#stored.delete(name);
    await store!.remove(name);
    return null;
  }

  async #write(name: string, record: Uint8Array): Promise<void> {
    const { store } = this.#options;
    const budget = await this.#options.budget;
    if (!store || record.byteLength > budget) return;
    let bytes = [...this.#stored.values()].reduce((sum, one) => sum + one, record.byteLength);
    for (const [oldest, size] of [...this.#stored]) {
      if (bytes <= budget) break;
      bytes -= size;
      this.#stored.delete(oldest);
      await store.remove(oldest);
    }
    await store.write(name, [record, new Uint8Array(Int32Array.from(checksum(record)).buffer)]);
    this.#stored.set(name, record.byteLength);
  }

  /** The store was cleared. */
  forget(): void {
    this.#stored.clear();
  }
}
