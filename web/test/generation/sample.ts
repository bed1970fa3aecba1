/** The sample decoder (make_sample.py) on a host, and what it should answer, worked out here. */
import { readdirSync, readFileSync } from "node:fs";

import type { Plan } from "../../src/generated/plan.ts";
import { Decoder } from "../../src/generation/decoder.ts";
import { StaticHost } from "../static_host.ts";

const FOLDER = new URL("sample/", import.meta.url);

/** Ids of bytes are the bytes. */
export const START = 256;
export const END = 257;
export const TOOL = 258;
export const HI = 259;
export const SPACE_HI = 260;
export const OK = 261;

export function sampleFile(name: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(readFileSync(new URL(name, FOLDER)));
}

export function samplePlan(): Plan {
  return JSON.parse(readFileSync(new URL("plan.json", FOLDER), "utf8")) as Plan;
}

export function sampleTokenizer(): Uint8Array {
  return sampleFile(samplePlan().decoder!.tokenizer.file);
}

/** The sample with room for `blocks` of KV, ready to run. */
export async function startDecoder(blocks = 16): Promise<Decoder> {
  const plan = samplePlan();
  const { file } = plan.modules.find(({ numeric, shared }) => numeric === "separate" && !shared)!;
  const decoder = new Decoder({
    plan, device: { threads: 1, shared: false, numeric: "separate" }, module: WebAssembly.compile(sampleFile(file)),
    kv: blocks * plan.decoder!.kv_block_bytes, spawn: () => { throw new Error("no threads here"); },
  });
  decoder.place(0, plan.weights.bytes).set(sampleFile(plan.weights.shards[0]!.file));
  await decoder.start();
  return decoder;
}

/** A host with the model in model/; `change` may alter the plan first. */
export async function serveSample(change: (plan: Plan) => void = () => undefined): Promise<{ host: StaticHost; address: string; plan: Plan }> {
  const files = new Map<string, Uint8Array>();
  for (const name of readdirSync(FOLDER)) files.set(`model/${name}`, sampleFile(name));
  const plan = samplePlan();
  change(plan);
  files.set("model/plan.json", new TextEncoder().encode(JSON.stringify(plan)));
  const host = new StaticHost(files);
  return { host, address: `${(await host.start()).href}model/`, plan };
}

/** The token that follows `tokens`. */
export function following(tokens: Iterable<number>): number {
  let h = 0;
  for (const token of tokens) h = (h * 31 + token) % 65521;
  const t = h % 27;
  return t === 26 ? END : "a".charCodeAt(0) + t;
}

/** What is generated behind `tokens`, END last if it comes. */
export function continued(tokens: Iterable<number>, most = 256): number[] {
  const all = [...tokens];
  const made: number[] = [];
  while (made.length < most && made.at(-1) !== END) made.push(all[all.push(following(all)) - 1]!);
  return made;
}

/** Of generated tokens. */
export function textOf(tokens: readonly number[]): string {
  return String.fromCharCode(...tokens.filter((token) => token < START));
}
