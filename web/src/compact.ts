/**
 * Writes an index with all its changes as a new generation: a second engine builds it from the live
 * rows, which are streamed in cluster order, so that neither index is ever in memory as a whole.
 */
import type { Base } from "./base.ts";
import { Builder } from "./builder.ts";
import { codeBits } from "./empty.ts";
import { throwIfAborted } from "./error.ts";
import { PAGE_BYTES, PAGES_PER_SHARD, PwOperation } from "./generated/abi.ts";
import type { Manifest } from "./generated/manifest.ts";
import { formatManifest, toBase64, type Opened } from "./manifest.ts";
import {
  decodeF32, decodeF64, decodeRows, decodeStrings, encodeConfig, encodeRowBatch, encodeRows, Writer, type IndexConfig,
} from "./messages.ts";
import type { PageStore } from "./pages/tier.ts";

/** Rows handled at a time. */
const BATCH = 512;
/** Up to so many rows every vector is compared; up to the second figure every code is. As `pywasm build` chooses. */
const FLAT_ROWS = 1_000;
const SCAN_ROWS = 20_000;
/** Training rows a cluster. */
const SAMPLE = 64;

export interface Compacted {
  opened: Opened;
  /** In staging: where page `index` of the new generation lies. */
  order: Uint32Array;
}

/**
 * Builds the new generation. Its pages go to `staging` as they are finished, numbered in that
 * order; `order` tells where each page of the index is.
 */
export async function buildGeneration(
  base: Base, module: WebAssembly.Module, staging: PageStore, signal: AbortSignal, progress: (done: number, total: number) => void,
): Promise<Compacted> {
  const rows = await liveRows(base, signal);
  const config = chooseConfig(base, rows.length);
  const builder = await Builder.create(module);
  const written = new Pages(builder, staging);
  const runs = new SpilledRuns(builder);
  builder.start(encodeConfig(config));

  const clusters = await cluster(base, builder, rows, config.clusters, signal);
  const order = Uint32Array.from(rows.keys()).sort((left, right) => clusters[left]! - clusters[right]! || left - right);
  for (let from = 0; from < order.length; from += BATCH) {
    throwIfAborted(signal);
    const picked = order.subarray(from, from + BATCH);
    const batch = await readRows(base, picked.map((index) => rows[index]!), signal);
    builder.rows(encodeRowBatch({ ...batch, clusters: picked.map((index) => clusters[index]!) }));
    runs.store();
    await written.drain();
    progress(Math.min(from + BATCH, order.length), order.length);
    await breathe();
  }
  while (!builder.finish()) {
    runs.store();
    runs.feed();
    await written.drain();
    await breathe();
  }
  await written.drain();
  const head = builder.head();
  return { opened: describe(base, builder, config, rows.length, head), order: written.order() };
}

/** The head of an index of that kind without any row. */
export async function emptyHead(module: WebAssembly.Module, config: IndexConfig): Promise<Uint8Array<ArrayBuffer>> {
  const builder = await Builder.create(module);
  builder.start(encodeConfig(config));
  while (!builder.finish());
  return builder.head();
}

/** Moves the pages of a finished generation from staging into their places. */
export async function placePages(order: Uint32Array, staging: PageStore, target: PageStore): Promise<void> {
  for (let from = 0; from < order.length; from += BATCH) {
    const places = order.subarray(from, from + BATCH);
    const staged = await staging.read([...places].sort((left, right) => left - right));
    const pages = new Map<number, Uint8Array>();
    places.forEach((place, index) => pages.set(from + index, staged.get(place)!));
    await target.write(pages);
  }
  await target.flush();
}

/** Row numbers of everything that is not deleted, ascending. */
async function liveRows(base: Base, signal: AbortSignal): Promise<Uint32Array> {
  const rows: number[] = [];
  for (let from = 0; ; from = rows.at(-1)! + 1) {
    const message = new Writer(8).u32(from, 65_536).done();
    const batch = decodeRows(await base.run(PwOperation.LiveRows, message, signal)).rows;
    for (const row of batch) rows.push(row);
    if (batch.length === 0) return Uint32Array.from(rows);
  }
}

function chooseConfig(base: Base, rows: number): IndexConfig {
  const { dim, metric, dtype, keyword, code_bits } = base.manifest;
  const kind = rows <= FLAT_ROWS ? "flat" : rows <= SCAN_ROWS ? "scan" : "clusters";
  return {
    dim, metric, dtype: dtype === "i8" ? "int8" : dtype, kind, keyword, rows,
    codeBits: Math.max(code_bits, codeBits(dim)),
    clusters: kind === "clusters" ? Math.round(Math.sqrt(rows)) : 1,
    columns: base.columns.columns,
  };
}

/** The cluster of each row. */
async function cluster(base: Base, builder: Builder, rows: Uint32Array, clusters: number, signal: AbortSignal): Promise<Uint32Array> {
  const vectorsOf = async (picked: Uint32Array): Promise<Float32Array> => decodeF32(await base.run(PwOperation.Vectors, encodeRows(picked), signal));
  // A single centroid is trained as well: codes are residuals to it.
  const stride = Math.max(1, Math.floor(rows.length / Math.max(SAMPLE * clusters, 4_096)));
  const sample = rows.filter((_, index) => index % stride === 0);
  for (let from = 0; from < sample.length; from += BATCH) {
    const picked = sample.subarray(from, from + BATCH);
    builder.train(await vectorsOf(picked), picked.length);
  }
  while (!builder.trainStep()) {
    throwIfAborted(signal);
    await breathe();
  }
  const assigned = new Uint32Array(rows.length);
  for (let from = 0; clusters > 1 && from < rows.length; from += BATCH) {
    const picked = rows.subarray(from, from + BATCH);
    assigned.set(builder.assign(await vectorsOf(picked), picked.length), from);
    await breathe();
  }
  return assigned;
}

async function readRows(base: Base, rows: Uint32Array, signal: AbortSignal): Promise<Parameters<typeof encodeRowBatch>[0]> {
  const message = encodeRows(rows);
  const vectors = decodeF32(await base.run(PwOperation.Vectors, message, signal));
  const [ids = [], texts = [], payloads = []] = decodeStrings(await base.run(PwOperation.Records, message, signal), 3);
  const columns: (Uint32Array | Float64Array)[] = [];
  for (const [number, { type }] of base.columns.columns.entries()) {
    const request = new Writer(16 + rows.length * 4).u32(number, 0).bytes(message).done();
    const values = decodeF64(await base.run(PwOperation.ColumnValues, request, signal));
    columns.push(type === "number" ? values : Uint32Array.from(values));
  }
  return { ids, vectors, dim: base.manifest.dim, texts, payloads, columns };
}

function describe(base: Base, builder: Builder, config: IndexConfig, rows: number, head: Uint8Array<ArrayBuffer>): Opened {
  const generation = `local-${builder.xxh64(head).toString(16).padStart(16, "0")}`;
  const manifest: Manifest = {
    ...base.manifest,
    generation, rows, head: toBase64(head),
    kind: config.kind, clusters: config.clusters, code_bits: config.codeBits,
    columns: base.manifest.columns.map((column, number) => column.type === "category" ? { ...column, values: base.columns.valuesOf(number) } : column),
    page_bytes: PAGE_BYTES, pages_per_shard: PAGES_PER_SHARD,
    shards: [], assets: [], previous: [],
  };
  return { manifest, head, text: formatManifest(manifest, (data) => builder.xxh64(data)) };
}

/** Finished pages on their way to staging. */
class Pages {
  readonly #builder: Builder;
  readonly #staging: PageStore;
  /** By section: for each of its pages, the place in staging. */
  readonly #places: number[][] = [];
  #next = 0;

  constructor(builder: Builder, staging: PageStore) {
    this.#builder = builder;
    this.#staging = staging;
  }

  async drain(): Promise<void> {
    const pages = new Map<number, Uint8Array>();
    for (let page = this.#builder.take(); page; page = this.#builder.take()) {
      (this.#places[page.section] ??= [])[page.index] = this.#next;
      pages.set(this.#next++, page.bytes);
    }
    if (pages.size > 0) await this.#staging.write(pages);
  }

  /** Sections lie in the order of their numbers. */
  order(): Uint32Array {
    return Uint32Array.from(this.#places.flatMap((places) => places ?? []));
  }
}

/** The lexicon's sorted runs: rarely any, an index made in a browser is small against its budget. */
class SpilledRuns {
  readonly #builder: Builder;
  readonly #runs: Uint8Array[] = [];

  constructor(builder: Builder) {
    this.#builder = builder;
  }

  store(): void {
    for (let run = this.#builder.spill(); run; run = this.#builder.spill()) this.#runs.push(run);
  }

  feed(): void {
    const wanted = this.#builder.runWanted();
    if (!wanted) return;
    const run = this.#runs[wanted.run] ?? new Uint8Array();
    this.#builder.runFeed(run.subarray(wanted.offset, wanted.offset + FEED_BYTES));
  }
}

const FEED_BYTES = 1 << 20;

/** Lets searches that wait have their turn. */
function breathe(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve));
}
