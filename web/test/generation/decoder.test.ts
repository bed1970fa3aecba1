import { expect, test, vi } from "vitest";

import { kvBudget } from "../../src/generation/decoder.ts";
import { following, samplePlan, startDecoder } from "./sample.ts";

const BLOCK_BYTES = 2048;
const tokens = Int32Array.from({ length: 300 }, (_, index) => (index * 7) % 250);
/** Blocks of a sequence, in no order. */
const table = Int32Array.of(9, 2, 7, 4, 0, 5, 8, 1, 3, 6);

function winner(logits: Float32Array | null): number {
  return logits!.indexOf(0);
}

test("however the tokens are cut into runs, the logits are those of all", async () => {
  const decoder = await startDecoder();
  decoder.arena.grow(10);
  const ends = tokens.length;
  for (const cuts of [[128, 256, ends], [1, 2, 3, 64, 96, 200, ends], [100, 101, 200, 299, ends]]) {
    let from = 0;
    for (const end of cuts) {
      const logits = await decoder.forward(tokens.subarray(from, end), from, table, { logits: end === ends });
      if (end === ends) expect(winner(logits), cuts.join()).toBe(following(tokens));
      else expect(logits).toBeNull();
      from = end;
    }
  }
});

test("more numbers of rows than programs are kept", async () => {
  const decoder = await startDecoder();
  decoder.arena.grow(10);
  for (let round = 0; round < 2; round++) {
    for (let rows = 1; rows <= 60; rows++) {
      const logits = await decoder.forward(tokens.subarray(0, rows), 0, table, { logits: true });
      expect(winner(logits), `${rows} rows`).toBe(following(tokens.subarray(0, rows)));
    }
  }
});

test("each layer's keys and values lie in their part of the block", async () => {
  const decoder = await startDecoder();
  decoder.arena.grow(3);
  await decoder.forward(Int32Array.of(11, 12), 33, Int32Array.of(0, 2), { logits: false });
  const bytes = decoder.arena.bytes(2);
  // Of each layer keys [8, 32], then values [32, 8]; 0x4980 is 11 as a half, 0x4a00 is 12.
  for (const layer of [0, 1]) {
    const [keys, values] = [0, 1].map((part) => new Uint16Array(bytes.buffer as ArrayBuffer, bytes.byteOffset + (2 * layer + part) * 512, 256)) as [Uint16Array, Uint16Array];
    expect([...keys.subarray(0, 4)]).toEqual([0, 0x4980, 0x4a00, 0]);
    expect([0, 8, 16, 24].map((at) => values[at])).toEqual([0, 0x4980, 0x4a00, 0]);
  }
  decoder.arena.copyBlock(2, 1);
  expect(decoder.arena.bytes(1)).toEqual(decoder.arena.bytes(2));
});

test("the arena grows to its budget and no further, and keeps what it has", async () => {
  const decoder = await startDecoder(1000);
  const { arena } = decoder;
  expect(arena.blockBytes).toBe(BLOCK_BYTES);
  expect(arena.grow(3)).toBe(true);
  arena.bytes(2).fill(7);
  expect(arena.grow(900)).toBe(true);
  expect(arena.capacity).toBeGreaterThanOrEqual(903);
  expect(arena.bytes(2)).toEqual(new Uint8Array(BLOCK_BYTES).fill(7));
  expect(arena.grow(1000)).toBe(false);
  const { memory } = decoder.status();
  expect(memory.kv).toBe(memory.total - memory.weights - memory.arena - 1024);
});

test("what kernels would trust is checked", async () => {
  const decoder = await startDecoder();
  decoder.arena.grow(2);
  const run = (ids: number[], start: number, blocks: number[]): Promise<unknown> => decoder.forward(Int32Array.from(ids), start, Int32Array.from(blocks), { logits: false });
  const wrong: [string, Promise<unknown>][] = [
    ["from 1 to 128 tokens", run([], 0, [0])],
    ["from 1 to 128 tokens", run(new Array(129).fill(1), 0, [0, 1, 0, 1, 0])],
    ["the context has 512", run([1], 512, new Array(17).fill(0))],
    ["the context has 512", run([1], -1, [0])],
    ["token 262", run([262], 0, [0])],
    ["token -1", run([-1], 0, [0])],
    ["position 32 is in block undefined", run([1], 32, [0])],
    [`position 0 is in block ${decoder.arena.capacity}`, run([1], 0, [decoder.arena.capacity])],
    ["position 0 is in block -1", run([1], 0, [-1])],
  ];
  for (const [message, failing] of wrong) await expect(failing).rejects.toMatchObject({ code: "argument", message: expect.stringContaining(message) });
});

test("an abort before the run, and a decoder that is closed", async () => {
  const decoder = await startDecoder();
  decoder.arena.grow(1);
  await expect(decoder.forward(Int32Array.of(1), 0, table, { logits: true, signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "aborted" });
  decoder.close();
});

test("how much KV there may be: what is asked for in whole blocks, else what the device can have", () => {
  const plan = samplePlan();
  expect(kvBudget(plan, 1, 7000)).toBe(6144);
  expect(() => kvBudget(plan, 1, 2047)).toThrow(expect.objectContaining({ code: "argument" }));
  expect(kvBudget(plan, 1, "auto")).toBe(256 << 20);
  vi.stubGlobal("navigator", { deviceMemory: 0.25 });
  const small = kvBudget(plan, 1, "auto");
  vi.unstubAllGlobals();
  expect(small % BLOCK_BYTES).toBe(0);
  expect(small).toBeGreaterThan(100 << 20);
  expect(small).toBeLessThan(128 << 20);
});
