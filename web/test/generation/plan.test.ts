import { expect, test } from "vitest";

import type { Plan, PlanDecoder } from "../../src/generated/plan.ts";
import { parsePlan } from "../../src/inference/plan.ts";
import { samplePlan } from "./sample.ts";

const changes: [string, (decoder: PlanDecoder, plan: Plan) => void][] = [
  ['kind: "encoder" or "decoder"', (_, plan) => ((plan as { kind: string }).kind = "vision")],
  ["missing or of another kind", (_, plan) => (plan.decoder = null)],
  ["decoder.vocab", (decoder) => (decoder.vocab = 0)],
  ["decoder.context", (decoder) => (decoder.context = 2 ** 30)],
  ["decoder.layers", (decoder) => (decoder.layers = 1.5)],
  ["decoder.chunk", (decoder) => (decoder.chunk = -1)],
  ["blocks of 32 tokens", (decoder) => (decoder.kv_block = 16)],
  ["blocks of 32 tokens", (decoder) => (decoder.context = 500)],
  ["decoder.kv_block_bytes", (decoder) => (decoder.kv_block_bytes = 2 ** 40)],
  ["decoder.kv_block_bytes", (decoder) => (decoder.kv_block_bytes = 100)],
  ["decoder.tokenizer", (decoder) => (decoder.tokenizer.file = "../x.json")],
  ["decoder.template", (decoder) => ((decoder as { template: unknown }).template = null)],
  ["token 262", (decoder) => (decoder.eos = [262])],
  ["token -1", (decoder) => (decoder.bos = -1)],
  ["decoder.aux.kv_move", (decoder) => (decoder.aux["kv_move"] = 8)],
  ["decoder.head", (decoder) => (decoder.head = 5)],
  ["steps[0].kv", (_, plan) => (plan.steps[0]!.buffers[3] = { kv: 2 })],
  ["symbols: rows", (_, plan) => plan.symbols.push("batch")],
  ["inputs and outputs", (_, plan) => (plan.inputs[2]!.shape = [8])],
  ["inputs and outputs", (_, plan) => (plan.outputs[0]!.dtype = "i32")],
  ["inputs and outputs", (_, plan) => plan.inputs.pop()],
];

test("a decoder's plan as it is written is accepted", () => {
  expect(parsePlan(JSON.stringify(samplePlan()), "plan.json")).toEqual(samplePlan());
});

test.each(changes)("one with a wrong part is refused: %s", (where, change) => {
  const plan = samplePlan();
  change(plan.decoder!, plan);
  expect(() => parsePlan(JSON.stringify(plan), "plan.json")).toThrow(expect.objectContaining({ code: "corrupt", file: "plan.json", message: expect.stringContaining(where) }));
});
