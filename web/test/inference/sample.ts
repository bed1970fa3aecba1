/** The sample model (make_sample.py) on a host, and what it should answer, worked out the slow way. */
import { readdir, readFile } from "node:fs/promises";

import type { Plan } from "../../src/generated/plan.ts";
import { StaticHost } from "../static_host.ts";

export const WIDTH = 8;
const FOLDER = new URL("sample/", import.meta.url);
const WORDS = ["red", "green", "blue", "one", "two", "three", "tree"];

export async function sampleFile(name: string): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await readFile(new URL(name, FOLDER)));
}

export async function samplePlan(): Promise<Plan> {
  return JSON.parse(await readFile(new URL("plan.json", FOLDER), "utf8")) as Plan;
}

/** A host with the model in model/; `change` may alter the plan first. */
export async function serveSample(change: (plan: Plan) => void = () => undefined): Promise<{ host: StaticHost; address: string; plan: Plan }> {
  const files = new Map<string, Uint8Array>();
  for (const name of await readdir(FOLDER)) files.set(`model/${name}`, await sampleFile(name));
  const plan = await samplePlan();
  change(plan);
  files.set("model/plan.json", new TextEncoder().encode(JSON.stringify(plan)));
  const host = new StaticHost(files);
  return { host, address: `${(await host.start()).href}model/`, plan };
}

/** Ids of words that the model knows; others are 1. */
export function idsOf(text: string): number[] {
  const words = text.split(/\s+/).filter((word) => word !== "").map((word) => (WORDS.includes(word) ? WORDS.indexOf(word) + 4 : 1));
  return [2, ...words, 3];
}

export async function expected(ids: readonly number[]): Promise<number[]> {
  const plan = await samplePlan();
  const shards = await Promise.all(plan.weights.shards.map(({ file }) => sampleFile(file)));
  const flat = new Uint8Array(plan.weights.bytes);
  flat.set(shards[0]!);
  flat.set(shards[1]!, shards[0]!.byteLength);
  const [word, w] = plan.weights.tensors.map(({ offset, bytes }) => new Float32Array(flat.buffer, offset, bytes / 4)) as [Float32Array, Float32Array];
  const rows = ids.map((id) => Array.from({ length: WIDTH }, (_, c) => {
    let sum = 0;
    for (let j = 0; j < WIDTH; j++) sum += word[id * WIDTH + j]! * w[j * WIDTH + c]!;
    return sum;
  }));
  return Array.from({ length: WIDTH }, (_, c) => rows.reduce((sum, row) => sum + row[c]!, 0) / rows.length);
}
