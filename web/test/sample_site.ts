/** A small real site, built by the real engine, and what brute force says about it. */
import { readFile } from "node:fs/promises";

import { Core, type Modules } from "../src/core.ts";
import { packRows } from "../src/pack.ts";
import type { OpenRequest } from "../src/protocol.ts";
import type { Column, ExportedFile, NewRow } from "../src/types.ts";

export const DIM = 32;
export const columns: Column[] = [{ name: "kind", type: "category" }, { name: "year", type: "number" }];
const words = "parse date heap queue tree café 日本語 file socket thread lock".split(" ");

const compiled = new Map<string, Promise<WebAssembly.Module>>();

function compile(name: string): Promise<WebAssembly.Module> {
  const module = compiled.get(name) ?? readFile(new URL(`../../pywasm/_web/${name}`, import.meta.url)).then((bytes) => WebAssembly.compile(bytes));
  compiled.set(name, module);
  return module;
}

/** The engine that ships, in both forms, and what changes an index. */
export async function modules(): Promise<Modules> {
  return { search: await compile("engine.wasm"), builder: () => compile("builder.wasm"), writer: () => import("../src/writer.ts") };
}

/** Numbers in [-0.5, 0.5) that are the same on every run. */
export function random(seed: number): () => number {
  let state = seed;
  return () => (state = (state * 16807) % 2147483647) / 2147483647 - 0.5;
}

export function vector(next: () => number, dim = DIM): Float32Array {
  return Float32Array.from({ length: dim }, next);
}

/** Row i: id "r<i>", kind k0..k4, year 1990 + i % 30, a text with the unique word "number<i>". */
export function sampleRows(count: number, seed = 1): NewRow[] {
  const next = random(seed);
  return Array.from({ length: count }, (_, i) => ({
    id: `r${i}`,
    vector: vector(next),
    text: `${words[i % words.length]} ${words[(i * 7) % words.length]} number${i}`,
    title: `Row ${i}`,
    url: `https://example.org/${i}`,
    metadata: { kind: `k${i % 5}`, year: 1990 + (i % 30) },
  }));
}

export function request(name: string, options: OpenRequest["options"] = { storage: "memory" }, create = false): OpenRequest {
  return {
    name, options, network: !name.startsWith("name:"), hint: null, builderUrl: null, writerUrl: null,
    create: create ? { dim: DIM, columns: { kind: "category", year: "number" } } : null,
  };
}

export const never = new AbortController().signal;
export const ignore = (): void => undefined;

/** The files of a site with these rows. */
export async function buildSite(rows: NewRow[]): Promise<Map<string, Uint8Array<ArrayBuffer>>> {
  const core = await Core.open(request("name:sample", { storage: "memory" }, true), await modules(), null, ignore, never);
  await core.insert(packRows(rows, DIM, columns), false, never);
  const files = await core.export(never);
  await core.close();
  return new Map(await Promise.all(files.map(async ({ path, blob }: ExportedFile) => [path, new Uint8Array(await blob.arrayBuffer())] as const)));
}

/** Ids of the k nearest rows by cosine. */
export function nearest(rows: readonly NewRow[], query: ArrayLike<number>, k: number): string[] {
  const cosine = (row: NewRow): number => {
    let dot = 0;
    let norm = 0;
    for (let i = 0; i < query.length; i++) {
      dot += row.vector[i]! * query[i]!;
      norm += row.vector[i]! ** 2;
    }
    return dot / Math.sqrt(norm);
  };
  return rows.map((row) => ({ id: row.id, score: cosine(row) })).sort((left, right) => right.score - left.score).slice(0, k).map(({ id }) => id);
}
