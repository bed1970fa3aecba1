/**
 * KV that the site ships: which chunks there is some of, and its records, fetched by range when they
 * are wanted. docs/kv-cache.md, "Shipped", has the files; pywasm/kv_shards.py writes them.
 */
import { PywasmError, throwIfAborted } from "../error.ts";
import type { ShippedKv } from "../generated/manifest.ts";
import { Sha256 } from "../inference/sha256.ts";
import { prefixHash } from "./tree.ts";

/** "PWKV". */
const MAGIC = 0x564b5750;
const VERSION = 1;
const HEAD_BYTES = 16;
const ENTRY_BYTES = 48;
/** Hexadecimal digits of a hash that are kept: 16 bytes. */
const DIGITS = 32;

/** A compressed record (pywasm_jit.kernels.kv_records) of a document's KV. */
export interface ShippedRecord {
  /** Bytes of the record. */
  readonly bytes: number;
  /** Of the document, behind the system segment. */
  readonly tokens: number;
  /** Of a number in it. */
  readonly bits: 4 | 8;
  /** From the host, checked. Throws PywasmError "network" or "corrupt". */
  fetch(signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>>;
}

export class ShippedIndex {
  readonly #site: URL;
  readonly #kv: ShippedKv;
  readonly #view: DataView<ArrayBuffer>;

  /** `bytes`: the index file. Throws PywasmError "corrupt" or "version". */
  constructor(site: URL, kv: ShippedKv, bytes: Uint8Array<ArrayBuffer>) {
    const { file } = kv.index;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const count = (bytes.byteLength - HEAD_BYTES) / ENTRY_BYTES;
    if (bytes.byteLength < HEAD_BYTES || view.getUint32(0, true) !== MAGIC) {
      throw new PywasmError("corrupt", `${file}: an index of KV expected`, { file, offset: 0, expected: "PWKV" });
    }
    if (view.getUint32(4, true) > VERSION) {
      throw new PywasmError("version", `${file} is of version ${view.getUint32(4, true)}, this library reads up to ${VERSION}: load a newer pywasm`, { file, expected: String(VERSION) });
    }
    if (view.getUint32(8, true) !== kv.system_tokens || view.getUint32(12, true) !== count) {
      throw new PywasmError("corrupt", `${file}: ${bytes.byteLength} bytes for ${view.getUint32(12, true)} chunks`, { file, offset: 8 });
    }
    this.#site = site;
    this.#kv = kv;
    this.#view = view;
  }

  /**
   * The record of the last segment of `tokens`, a whole prefix whose last segment begins at `start`;
   * null where none is shipped.
   */
  find(tokens: Int32Array, start: number): ShippedRecord | null {
    const { identity, system_tokens, shards } = this.#kv;
    if (start !== system_tokens) return null;
    const at = this.#entry(prefixHash(identity, tokens).slice(0, DIGITS));
    if (at < 0) return null;
    const u32 = (offset: number): number => this.#view.getUint32(at + offset, true);
    const shard = shards[u32(32)];
    const [offset, bytes, count, bits] = [u32(36), u32(40), this.#view.getUint16(at + 44, true), this.#view.getUint16(at + 46, true)];
    if (!shard || offset + bytes > shard.bytes || count !== tokens.length - start || (bits !== 4 && bits !== 8)) return null;
    const check = this.#hex(at + 16);
    return { bytes, tokens: count, bits, fetch: (signal) => this.#fetch(shard.file, offset, bytes, check, signal) };
  }

  /** Offset of the entry with this key, -1 for none. Keys ascend. */
  #entry(key: string): number {
    let low = 0;
    let high = this.#view.getUint32(12, true);
    while (low < high) {
      const middle = (low + high) >> 1;
      const at = HEAD_BYTES + middle * ENTRY_BYTES;
      const found = this.#hex(at);
      if (found === key) return at;
      if (found < key) low = middle + 1;
      else high = middle;
    }
    return -1;
  }

  #hex(offset: number): string {
    let text = "";
    for (let byte = 0; byte < DIGITS / 2; byte++) text += this.#view.getUint8(offset + byte).toString(16).padStart(2, "0");
    return text;
  }

  async #fetch(file: string, offset: number, bytes: number, check: string, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
    const record = await fetched(new URL(file, this.#site), file, { offset, bytes }, signal);
    const found = new Sha256().update(record).digest().slice(0, DIGITS);
    if (found !== check) throw new PywasmError("corrupt", `${file}: the KV at ${offset} is damaged`, { file, offset, expected: check });
    return record;
  }
}

/** Fetches and checks the index. `site`: the folder of the manifest. */
export async function openShipped(site: URL, kv: ShippedKv, signal?: AbortSignal): Promise<ShippedIndex> {
  const { file, bytes, sha256 } = kv.index;
  const index = await fetched(new URL(file, site), file, null, signal);
  if (index.byteLength !== bytes || new Sha256().update(index).digest() !== sha256) {
    throw new PywasmError("corrupt", `${file}: differs from what the manifest says`, { file, offset: 0, expected: sha256 });
  }
  return new ShippedIndex(site, kv, index);
}

/** A range of a file, or all of it. A host without ranges sends all, out of which the range is taken. */
async function fetched(url: URL, file: string, range: { offset: number; bytes: number } | null, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
  throwIfAborted(signal);
  const headers = range ? { Range: `bytes=${range.offset}-${range.offset + range.bytes - 1}` } : undefined;
  try {
    const response = await fetch(url, { ...(headers && { headers }), ...(signal && { signal }) });
    if (!response.ok) throw new PywasmError(response.status >= 500 ? "network" : "corrupt", `${url.href}: the host answered ${response.status}`, { file });
    const body = new Uint8Array(await response.arrayBuffer());
    const from = range && response.status !== 206 ? range.offset : 0;
    const found = range ? body.subarray(from, from + range.bytes) : body;
    if (range && found.byteLength !== range.bytes) {
      throw new PywasmError("network", `${url.href}: ${found.byteLength} of ${range.bytes} bytes came`, { file, offset: range.offset, expected: `${range.bytes} bytes` });
    }
    return found;
  } catch (cause) {
    throwIfAborted(signal);
    if (cause instanceof PywasmError) throw cause;
    throw new PywasmError("network", `${url.href}: it could not be fetched: ${cause instanceof Error ? cause.message : String(cause)}`, { file, cause });
  }
}
