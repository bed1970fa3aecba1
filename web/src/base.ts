/** One generation of an index, open in one engine: what searches and changes work on. */
import { Columns } from "./columns.ts";
import { Engine } from "./engine.ts";
import { PAGE_BYTES, PAGES_PER_SHARD, type PwOperation } from "./generated/abi.ts";
import type { Manifest } from "./generated/manifest.ts";
import { pageSums } from "./head.ts";
import { run, type Wait } from "./operation.ts";
import { Pager } from "./pages/pager.ts";
import type { PageSink } from "./pages/tier.ts";

export class Base implements PageSink {
  readonly engine: Engine;
  readonly manifest: Manifest;
  readonly pager: Pager;
  readonly columns: Columns;
  readonly #sums: Uint32Array;
  /** By page, the section's number and first page: what the checksum is seeded with. */
  readonly #sections: readonly { section: number; firstPage: number; pages: number }[];

  /** `engine` is open on the manifest's head (empty for an index without a base). */
  constructor(engine: Engine, manifest: Manifest, head: Uint8Array) {
    this.engine = engine;
    this.manifest = manifest;
    this.columns = new Columns(manifest.columns.map(({ name, type, values }) => ({ name, type, ...(values && { values }) })));
    this.#sums = head.byteLength > 0 ? pageSums(head) : new Uint32Array();
    this.#sections = engine.info().sections.map(({ firstPage, pages }, section) => ({ section, firstPage, pages })).filter(({ pages }) => pages > 0);
    this.pager = new Pager(this, (page) => this.locate(page));
  }

  get totalPages(): number {
    return this.#sums.length;
  }

  present(page: number): boolean {
    return this.engine.present(page);
  }

  fill(page: number, read: (target: Uint8Array) => boolean): "ok" | "busy" | "corrupt" | "absent" {
    return this.engine.fill(page, read);
  }

  fillPlaces(first: number, count: number, read: (target: Uint8Array) => boolean): number[] | null {
    return this.engine.fillPlaces(first, count, read);
  }

  verify(page: number, bytes: Uint8Array): boolean {
    const place = this.#sections.find(({ firstPage, pages }) => page >= firstPage && page < firstPage + pages);
    if (!place || bytes.byteLength !== PAGE_BYTES) return false;
    const seed = (BigInt(place.section) << 32n) | BigInt(page - place.firstPage);
    return Number(this.engine.xxh64(bytes, seed) & 0xffffffffn) === this.#sums[page];
  }

  /** The shard that holds a page, and the byte in it. */
  locate(page: number): { file: string; offset: number } {
    const perShard = this.manifest.pages_per_shard || PAGES_PER_SHARD;
    const shard = Math.floor(page / perShard);
    return { file: this.manifest.shards[shard]?.file ?? `page ${page}`, offset: (page % perShard) * PAGE_BYTES };
  }

  run(kind: PwOperation, message: Uint8Array, signal?: AbortSignal, wait?: Wait): Promise<Uint8Array<ArrayBuffer>> {
    return run(this.engine, this.pager, kind, message, signal, wait);
  }
}
