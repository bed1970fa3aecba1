import { expect, test } from "vitest";

import { layOut, scratchOffsets, WEIGHTS_ADDRESS } from "../../src/inference/layout.ts";
import { callsOf, compileProgram } from "../../src/inference/program.ts";
import { samplePlan } from "./sample.ts";

test("slots lie behind the weights, scratch behind the slots, one region a thread", async () => {
  const plan = await samplePlan();
  const layout = layOut(plan, { batch: 2, seq: 5 }, 3);
  const ends = layout.slots.map((address, index) => address + [40, 8, 320, 320, 64][index]!);
  expect(layout.slots[0]).toBeGreaterThanOrEqual(WEIGHTS_ADDRESS + plan.weights.bytes);
  for (const [index, address] of layout.slots.entries()) {
    expect(address % 64).toBe(0);
    expect(layout.slots[index + 1] ?? layout.scratch).toBeGreaterThanOrEqual(ends[index]!);
  }
  expect(layout).toMatchObject({ stride: 64, bytes: layout.scratch + 3 * 64 });
  expect(scratchOffsets([1, 64, 65, 4])).toEqual([0, 64, 128, 256]);
});

test("threads share each grid in the same pieces, and scratch not at all", async () => {
  const plan = await samplePlan();
  for (const threads of [1, 2, 3, 7, 64]) {
    const symbols = { batch: 2, seq: 5 };
    const layout = layOut(plan, symbols, threads);
    const program = compileProgram(plan, ["rows", "rows", "batch"], layout, symbols);
    const all = Array.from({ length: threads }, (_, thread) => callsOf(program, layout.scratch + thread * layout.stride, threads));
    [10, 10, 2].forEach((grid, step) => {
      for (const calls of all) {
        const { args, pieces } = calls[step]!;
        expect(args.slice(-2)).toEqual([0, grid]);
        expect([pieces[0], pieces.at(-1)]).toEqual([0, grid]);
        expect(pieces).toEqual([...new Set(pieces)].sort((a, b) => a - b));
        expect(pieces).toEqual(all[0]![step]!.pieces);
      }
    });
    const dense = all.map((calls) => calls[1]!.args);
    expect(dense[0]!.slice(0, 3)).toEqual([layout.slots[2], WEIGHTS_ADDRESS + 384, layout.slots[3]]);
    expect(dense.map((args) => args[3])).toEqual(all.map((_, thread) => layout.scratch + thread * 64));
    expect(dense[0]![4]).toBe(10);
  }
});

test("a size that no memory has is an error that says it", async () => {
  const plan = await samplePlan();
  expect(() => layOut(plan, { batch: 2 ** 20, seq: 2 ** 12 }, 1)).toThrow(expect.objectContaining({ code: "memory", message: expect.stringContaining("MB") }));
  expect(() => layOut(plan, { batch: -5, seq: 1 }, 1)).toThrow(expect.objectContaining({ code: "memory" }));
});
