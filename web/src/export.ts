/** The files of a site out of an open index: what `pywasm build` would have written. */
import type { Base } from "./base.ts";
import { PAGE_BYTES, PAGES_PER_SHARD } from "./generated/abi.ts";
import type { Manifest } from "./generated/manifest.ts";
import { formatManifest } from "./manifest.ts";
import { throwIfAborted } from "./error.ts";
import type { ExportedFile } from "./types.ts";

/** Pages read at a time. */
const BATCH = 64;

/** manifest.json and the shards, without bundle and encoder. The index must have no changes beside its pages. */
export async function exportSite(base: Base, signal: AbortSignal): Promise<ExportedFile[]> {
  const files: ExportedFile[] = [];
  const shards: Manifest["shards"] = [];
  for (let first = 0; first < base.totalPages; first += PAGES_PER_SHARD) {
    const parts: Uint8Array[] = [];
    const end = Math.min(first + PAGES_PER_SHARD, base.totalPages);
    for (let page = first; page < end; page += BATCH) {
      throwIfAborted(signal);
      const pages = Array.from({ length: Math.min(BATCH, end - page) }, (_, index) => page + index);
      const bytes = await base.pager.read(pages);
      for (const number of pages) parts.push(bytes.get(number)!);
    }
    const blob = new Blob(parts as Uint8Array<ArrayBuffer>[], { type: "application/octet-stream" });
    const sha256 = await sha256Of(await blob.arrayBuffer());
    const file = `data/${sha256.slice(0, 20)}.bin`;
    shards.push({ file, bytes: (end - first) * PAGE_BYTES, sha256 });
    files.push({ path: file, blob });
  }
  const { encoder } = base.manifest;
  const text = formatManifest({ ...base.manifest, encoder: encoder && { ...encoder, compiled: null }, shards, previous: [], assets: [] }, (data) => base.engine.xxh64(data));
  return [{ path: "manifest.json", blob: new Blob([text], { type: "application/json" }) }, ...files];
}

async function sha256Of(data: ArrayBuffer): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", data);
  return [...new Uint8Array(hash)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
