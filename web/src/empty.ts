/** An index that was made in this browser and has no pages yet: it lives by its log until it is compacted. */
import { PAGE_BYTES, PAGES_PER_SHARD } from "./generated/abi.ts";
import type { Opened } from "./manifest.ts";
import type { IndexConfig } from "./messages.ts";
import type { CreateOptions } from "./types.ts";

/**
 * Bits a dimension of the codes of an index built here, where nothing is measured: the estimate's
 * error falls with the dimension (RaBitQ: as 1/sqrt(dim)) and halves with every bit.
 */
export function codeBits(dim: number): number {
  return dim >= 256 ? 1 : dim >= 96 ? 2 : 4;
}

/** What Index.create asks for, with the defaults filled in. */
export function emptyConfig({ dim, metric = "cosine", dtype = "int8", columns = {} }: Pick<CreateOptions, "dim" | "metric" | "dtype" | "columns">): IndexConfig {
  return {
    dim, metric, dtype, kind: "scan", codeBits: codeBits(dim), clusters: 1,
    columns: Object.entries(columns).map(([name, type]) => ({ name, type })),
  };
}

/** The manifest of such an index: no head, no shards. */
export function emptyManifest(name: string, { dim, metric, dtype, codeBits: bits, columns }: IndexConfig): Opened {
  return {
    head: new Uint8Array(),
    text: "",
    manifest: {
      pywasm_version: "", title: name.slice("name:".length), language: "", generation: "empty", rows: 0, documents: 0,
      kind: "scan", dim, metric, dtype: dtype === "int8" ? "i8" : dtype, code_bits: bits, clusters: 1, columns: [...columns],
      encoder: null, licences: [], suggestions: [], page_bytes: PAGE_BYTES, pages_per_shard: PAGES_PER_SHARD,
      shards: [], head: "", keyword: true, memory: {}, assets: [], previous: [],
    },
  };
}
