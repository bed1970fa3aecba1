import { expect, test } from "vitest";

import type { Plan } from "../../src/generated/plan.ts";
import { evaluate, exprProblem } from "../../src/inference/expr.ts";
import { parsePlan } from "../../src/inference/plan.ts";
import { samplePlan } from "./sample.ts";

test("expressions are whole numbers", () => {
  const symbols = { batch: 3, seq: 7 };
  expect(evaluate(["*", 4, ["+", "batch", "seq", 1]], symbols)).toBe(44);
  expect(evaluate(["quo", "seq", 2], symbols)).toBe(3);
  expect(evaluate(["ceil_div", "seq", 2], symbols)).toBe(4);
  expect(evaluate(["-", ["max", "batch", "seq"], ["min", "batch", "seq"]], symbols)).toBe(4);
});

test("what is no expression is refused", () => {
  let deep: unknown = 1;
  for (let depth = 0; depth < 1000; depth++) deep = ["+", deep];
  for (const wrong of [1.5, NaN, "rows", ["**", 1, 2], ["quo", 1], ["+"], {}, null, true, deep]) {
    expect(exprProblem(wrong, ["batch"]), JSON.stringify(wrong)?.slice(0, 40)).toBeTypeOf("string");
  }
  expect(exprProblem(["+", "batch", 1], ["batch"])).toBeNull();
});

test("a plan as it is written is accepted", async () => {
  const plan = await samplePlan();
  expect(parsePlan(JSON.stringify(plan), "plan.json")).toEqual(plan);
});

const changes: [string, (plan: Plan) => void][] = [
  ["weights.shards[0]", (plan) => (plan.weights.shards[0]!.file = "../../elsewhere.bin")],
  ["weights.shards[0]", (plan) => (plan.weights.shards[0]!.file = "https://elsewhere/x.bin")],
  ["weights.shards[1]", (plan) => (plan.weights.shards[1]!.bytes = -1)],
  ["weights.shards[1]", (plan) => (plan.weights.shards[1]!.bytes = 17 * 2 ** 20)],
  ["shards have", (plan) => (plan.weights.shards[1]!.bytes = 20)],
  ["SHA-256", (plan) => (plan.weights.shards[1]!.sha256 = "abc")],
  ["weights.bytes", (plan) => (plan.weights.bytes = 1e18)],
  ["weights.tensors[0]", (plan) => (plan.weights.tensors[0]!.bytes = 641)],
  ["weights.tensors[1]", (plan) => (plan.weights.tensors[1]!.offset = 1000)],
  ["multiple of 64", (plan) => (plan.weights.tensors[1]!.offset = 60)],
  ["steps[0].kernel", (plan) => (plan.steps[0]!.kernel = 3)],
  ["steps[0].slot", (plan) => (plan.steps[0]!.buffers[0] = { slot: 99 })],
  ["steps[0].weight", (plan) => (plan.steps[0]!.buffers[0] = { weight: -1 })],
  ["steps[1].scratch", (plan) => (plan.steps[1]!.buffers[3] = { scratch: 1 })],
  ["steps[1]: 4 buffers", (plan) => plan.steps[1]!.buffers.pop()],
  ["steps[1]: 1 extents", (plan) => (plan.steps[1]!.extents = [])],
  ["there is no symbol", (plan) => (plan.steps[1]!.extents = ["rows"])],
  ["there is no symbol", (plan) => (plan.kernels[1]!.variants.fused.grid = "batch")],
  ["kernels[1].scratch", (plan) => (plan.kernels[1]!.scratch = [2 ** 40])],
  ["kernels[1]", (plan) => (plan.kernels[1]!.scratch = [])],
  ["slots[0]", (plan) => (plan.slots[0]!.bytes = ["*", "x"])],
  ["ids.slot", (plan) => (plan.inputs[0]!.slot = 5)],
  ["symbols", (plan) => ((plan as { symbols: unknown }).symbols = "batch seq")],
  ["symbols", (plan) => ((plan as { symbols: unknown }).symbols = ["batch", 1])],
  ["limits", (plan) => ((plan as { limits: unknown }).limits = "none")],
  ["limits", (plan) => ((plan as { limits: unknown }).limits = [16])],
  ["limits.seq", (plan) => (plan.limits["seq"] = 0)],
  ["encoder.tokenizer", (plan) => (plan.encoder!.tokenizer.bytes = 2 ** 33)],
  ["encoder.dim", (plan) => (plan.encoder!.dim = 0.5)],
  ["modules", (plan) => ((plan as { modules: unknown }).modules = null)],
  ["missing or of another kind", (plan) => ((plan as { steps: unknown }).steps = [null])],
];

test.each(changes)("a plan with a wrong part is refused: %s", async (where, change) => {
  const plan = await samplePlan();
  change(plan);
  expect(() => parsePlan(JSON.stringify(plan), "plan.json")).toThrow(expect.objectContaining({ code: "corrupt", file: "plan.json", message: expect.stringContaining(where) }));
});

test("what is no plan, or a newer one, says so", () => {
  expect(() => parsePlan("<!doctype html>", "plan.json")).toThrow(/found an HTML page/);
  expect(() => parsePlan("{", "plan.json")).toThrow(expect.objectContaining({ code: "corrupt" }));
  expect(() => parsePlan('{"format": 2}', "plan.json")).toThrow(expect.objectContaining({ code: "version", expected: "1" }));
  for (const nothing of ["null", "1", "[]", "{}"]) expect(() => parsePlan(nothing, "plan.json")).toThrow(expect.objectContaining({ code: "corrupt" }));
});
