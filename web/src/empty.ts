/** The manifest of an index that was made in this browser and has no pages yet. */
import { PAGE_BYTES, PAGES_PER_SHARD } from "./generated/abi.ts";
import type { Opened } from "./manifest.ts";
import type { CreateOptions } from "./types.ts";

export function emptyManifest(name: string, config: Pick<CreateOptions, "dim" | "metric" | "dtype" | "columns">): Opened {
  const { dim, metric = "cosine", dtype = "int8", columns = {} } = config;
  return {
    head: new Uint8Array(),
    text: "",
    manifest: {
      pywasm_version: "", title: name.slice("name:".length), language: "", generation: "empty", rows: 0, documents: 0,
      kind: "scan", dim, metric, dtype: dtype === "int8" ? "i8" : dtype, code_bits: 1, clusters: 1,
      columns: Object.entries(columns).map(([column, type]) => ({ name: column, type })),
      encoder: null, licences: [], suggestions: [], page_bytes: PAGE_BYTES, pages_per_shard: PAGES_PER_SHARD,
      shards: [], head: "", keyword: true, memory: {}, assets: [], previous: [],
    },
  };
}
