/** Encodes and decodes the messages of kernels_wasm/src/messages.h: little-endian, 4-byte aligned. */
import { NO_ROW, PwColumnType, PwDtype, PwKind, PwMetric } from "./generated/abi.ts";
import type { Dtype, Metric, Site } from "./types.ts";

const utf8 = new TextEncoder();
const text = new TextDecoder();

/** Appends to a buffer that doubles; every `put*` keeps 4-byte alignment. */
export class Writer {
  #bytes: Uint8Array<ArrayBuffer>;
  #view: DataView;
  #at = 0;

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  get at(): number {
    return this.#at;
  }

  u32(...values: number[]): this {
    this.#room(values.length * 4);
    for (const value of values) {
      this.#view.setUint32(this.#at, value, true);
      this.#at += 4;
    }
    return this;
  }

  f32(value: number): this {
    this.#room(4);
    this.#view.setFloat32(this.#at, value, true);
    this.#at += 4;
    return this;
  }

  f64(value: number): this {
    this.#room(8);
    this.#view.setFloat64(this.#at, value, true);
    this.#at += 8;
    return this;
  }

  /** Raw bytes, then zeros to a multiple of 4. */
  bytes(data: ArrayBufferView): this {
    const padded = (data.byteLength + 3) & ~3;
    this.#room(padded);
    this.#bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), this.#at);
    this.#at += padded;
    return this;
  }

  align(multiple: number): this {
    const at = Math.ceil(this.#at / multiple) * multiple;
    this.#room(at - this.#at);
    this.#at = at;
    return this;
  }

  /** u32 offsets[count + 1], then the UTF-8 bytes padded to 4. */
  strings(values: readonly string[]): this {
    const encoded = values.map((value) => utf8.encode(value));
    let offset = 0;
    this.u32(0);
    for (const item of encoded) this.u32((offset += item.byteLength));
    this.#room(offset + 3);
    for (const item of encoded) {
      this.#bytes.set(item, this.#at);
      this.#at += item.byteLength;
    }
    return this.align(4);
  }

  done(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.#at);
  }

  #room(bytes: number): void {
    if (this.#at + bytes <= this.#bytes.byteLength) return;
    const grown = new Uint8Array(Math.max(this.#bytes.byteLength * 2, this.#at + bytes));
    grown.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
}

// --- what the engine is asked

export interface VectorSearch {
  k: number;
  recall?: number;
  nprobe?: number;
  efSearch?: number;
  rerank?: number;
  maxPages?: number;
  exclude?: number;
  filter: Uint32Array;
  query: Float32Array;
}

export function encodeVectorSearch(search: VectorSearch): Uint8Array {
  return new Writer(64 + search.filter.byteLength + search.query.byteLength)
    .u32(search.k)
    .f32(search.recall ?? 0)
    .u32(search.nprobe ?? 0, search.efSearch ?? 0, search.rerank ?? 0, search.maxPages ?? 0)
    .u32(search.exclude ?? NO_ROW, search.filter.byteLength)
    .bytes(search.filter)
    .bytes(search.query)
    .done();
}

export function encodeTextSearch(search: { k: number; prefix: boolean; filter: Uint32Array; text: string }): Uint8Array {
  const query = utf8.encode(search.text);
  return new Writer(32 + search.filter.byteLength + query.byteLength)
    .u32(search.k, search.prefix ? 1 : 0, search.filter.byteLength, query.byteLength)
    .bytes(search.filter)
    .bytes(query)
    .done();
}

export function encodeRows(rows: ArrayLike<number>): Uint8Array {
  return new Writer(16 + rows.length * 4).u32(rows.length, 0).bytes(Uint32Array.from(rows)).done();
}

export function encodeStrings(values: readonly string[]): Uint8Array {
  const body = new Writer(64).strings(values).done();
  const bytes = values.length === 0 ? 0 : new DataView(body.buffer).getUint32(values.length * 4, true);
  return new Writer(8 + body.byteLength).u32(values.length, bytes).bytes(body).done();
}

export function encodeFilterCount(filter: Uint32Array): Uint8Array {
  return new Uint8Array(filter.buffer, filter.byteOffset, filter.byteLength);
}

/** Rows as the engine takes them: texts and payloads as UTF-8, columns in the index's order. */
export interface RowBatch {
  ids: readonly string[];
  /** ids.length x dim */
  vectors: Float32Array;
  dim: number;
  texts: readonly string[];
  payloads: readonly string[];
  /** Category codes (u32) or numbers (f64, NaN: none), each ids.length long. */
  columns: readonly (Uint32Array | Float64Array)[];
  clusters?: Uint32Array;
}

const batchFlag = { vectors: 1, ids: 2, texts: 4, payloads: 8, clusters: 16, columns: 32 } as const;

/** A row batch; for an insert it follows `prefix` (replace, 0). */
export function encodeRowBatch(batch: RowBatch, prefix: readonly number[] = []): Uint8Array {
  const count = batch.ids.length;
  const flags =
    batchFlag.vectors | batchFlag.ids | batchFlag.texts | batchFlag.payloads |
    (batch.clusters ? batchFlag.clusters : 0) | (batch.columns.length > 0 ? batchFlag.columns : 0);
  const writer = new Writer(batch.vectors.byteLength + count * 256 + 64);
  writer.u32(...prefix, count, batch.dim, flags, batch.columns.length);
  writer.bytes(batch.vectors).strings(batch.ids).strings(batch.texts).strings(batch.payloads);
  if (batch.clusters) writer.bytes(batch.clusters);
  for (const column of batch.columns) writer.align(8).bytes(column);
  return writer.done();
}

export interface IndexConfig {
  dim: number;
  metric: Metric;
  dtype: Dtype;
  kind: Site["kind"];
  codeBits: number;
  clusters: number;
  m?: number;
  efConstruction?: number;
  seed?: bigint;
  rows?: number;
  columns: readonly { name: string; type: "category" | "number" }[];
  keyword?: boolean;
}

const metricCode = { cosine: PwMetric.Cosine, ip: PwMetric.InnerProduct, l2: PwMetric.L2 } as const;
const dtypeCode = { f32: PwDtype.F32, f16: PwDtype.F16, int8: PwDtype.I8 } as const;
const kindCode = { flat: PwKind.Flat, scan: PwKind.Scan, clusters: PwKind.Clusters, graph: PwKind.Graph } as const;

export function encodeConfig(config: IndexConfig): Uint8Array {
  const seed = config.seed ?? 0x7079_7761_736dn;
  const writer = new Writer().u32(
    config.dim, metricCode[config.metric], dtypeCode[config.dtype], kindCode[config.kind],
    config.codeBits, config.clusters, config.m ?? 16, config.efConstruction ?? 100,
    Number(seed & 0xffffffffn), Number(seed >> 32n), config.rows ?? 0, 0,
    config.columns.length, config.keyword === false ? 1 : 0,
  );
  for (const { name, type } of config.columns) {
    const bytes = utf8.encode(name);
    writer.u32(type === "category" ? PwColumnType.Category : PwColumnType.Number, bytes.byteLength).bytes(bytes);
  }
  return writer.done();
}

// --- what it answers

export interface RawHit {
  row: number;
  score: number;
  exact: boolean;
}

export interface RawHits {
  hits: RawHit[];
  passing: number | null;
  hops: number;
  codes: number;
  distances: number;
  pagesHit: number;
  pagesMissed: number;
  clusters: number;
}

const HITS_BYTES = 32;
const HIT_BYTES = 16;

export function decodeHits(bytes: Uint8Array): RawHits {
  const view = viewOf(bytes);
  const u32 = (index: number): number => view.getUint32(index * 4, true);
  const passing = u32(1);
  const hits: RawHit[] = [];
  for (let index = 0; index < u32(0); index++) {
    const at = HITS_BYTES + index * HIT_BYTES;
    hits.push({ row: view.getUint32(at, true), score: view.getFloat32(at + 4, true), exact: (view.getUint32(at + 8, true) & 1) === 1 });
  }
  return { hits, passing: passing === NO_ROW ? null : passing, hops: u32(2), codes: u32(3), distances: u32(4), pagesHit: u32(5), pagesMissed: u32(6), clusters: u32(7) };
}

export function decodeRows(bytes: Uint8Array): { rows: Uint32Array; total: number } {
  const view = viewOf(bytes);
  return { rows: new Uint32Array(bytes.buffer, bytes.byteOffset + 8, view.getUint32(0, true)), total: view.getUint32(4, true) };
}

/** `times` string tables one after another (Records: ids, texts, payloads). */
export function decodeStrings(bytes: Uint8Array, times: number): string[][] {
  const view = viewOf(bytes);
  const tables: string[][] = [];
  let at = 0;
  for (let table = 0; table < times; table++) {
    const count = view.getUint32(at, true);
    const total = view.getUint32(at + 4, true);
    const offsets = at + 8;
    const data = offsets + (count + 1) * 4;
    // A call of the decoder costs a microsecond, most of a search of a small index: one for the table
    // where bytes and UTF-16 units agree (ASCII), one a string elsewhere.
    const whole = text.decode(bytes.subarray(data, data + total));
    const ascii = whole.length === total;
    const values: string[] = [];
    for (let index = 0; index < count; index++) {
      const from = view.getUint32(offsets + index * 4, true);
      const to = view.getUint32(offsets + index * 4 + 4, true);
      values.push(ascii ? whole.slice(from, to) : text.decode(bytes.subarray(data + from, data + to)));
    }
    tables.push(values);
    at = data + ((total + 3) & ~3);
  }
  return tables;
}

export function decodeF32(bytes: Uint8Array): Float32Array<ArrayBuffer> {
  return new Float32Array(bytes.slice().buffer);
}

export function decodeF64(bytes: Uint8Array): Float64Array {
  return new Float64Array(bytes.slice().buffer);
}

/** A match of the engine's segmentation: bytes of the input, and the folded term. */
export interface Token {
  start: number;
  end: number;
  term: string;
}

export function decodeTokens(bytes: Uint8Array): Token[] {
  const view = viewOf(bytes);
  const count = view.getUint32(0, true);
  const terms = 4 + count * 16;
  const tokens: Token[] = [];
  for (let index = 0; index < count; index++) {
    const at = 4 + index * 16;
    const from = terms + view.getUint32(at + 8, true);
    tokens.push({
      start: view.getUint32(at, true),
      end: view.getUint32(at + 4, true),
      term: text.decode(bytes.subarray(from, from + view.getUint32(at + 12, true))),
    });
  }
  return tokens;
}

export interface SectionInfo {
  firstPage: number;
  pages: number;
  resident: boolean;
  present: number;
}

export interface Info {
  rows: number;
  deleted: number;
  deltaRows: number;
  dim: number;
  codeDim: number;
  metric: Metric;
  dtype: Dtype;
  kind: Site["kind"];
  codeBits: number;
  clusters: number;
  m: number;
  efConstruction: number;
  columns: number;
  totalPages: number;
  cachedPages: number;
  cacheSlots: number;
  residentBytes: number;
  deltaBytes: number;
  budget: number;
  pagesFetched: number;
  pagesEvicted: number;
  /** By section number; [0] unused. */
  sections: SectionInfo[];
}

const metrics: readonly Metric[] = ["cosine", "ip", "l2"];
const dtypes: readonly Dtype[] = ["f32", "f16", "int8"];
const kinds: readonly Site["kind"][] = ["flat", "scan", "clusters", "graph"];
const SECTIONS = 9;

export function decodeInfo(view: DataView, at: number): Info {
  let next = at;
  const u32 = (): number => {
    const value = view.getUint32(next, true);
    next += 4;
    return value;
  };
  const info: Info = {
    rows: u32(), deleted: u32(), deltaRows: u32(), dim: u32(), codeDim: u32(),
    metric: metrics[u32()] ?? "cosine", dtype: dtypes[u32()] ?? "f32", kind: kinds[u32()] ?? "flat",
    codeBits: u32(), clusters: u32(), m: u32(), efConstruction: u32(), columns: u32(),
    totalPages: u32(), cachedPages: u32(), cacheSlots: u32(),
    residentBytes: u32(), deltaBytes: u32(), budget: u32(),
    pagesFetched: u32(), pagesEvicted: u32(), sections: [],
  };
  for (let section = 0; section < SECTIONS; section++) {
    info.sections.push({ firstPage: u32(), pages: u32(), resident: u32() === 1, present: u32() });
  }
  return info;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
