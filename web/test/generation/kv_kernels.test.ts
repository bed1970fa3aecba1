import { expect, test } from "vitest";

import type { Decoder } from "../../src/generation/decoder.ts";
import { KvKernels } from "../../src/generation/kv_kernels.ts";
import { following, startDecoder } from "./sample.ts";

const ROWS = 100;
const tokens = Int32Array.from({ length: ROWS + 40 }, (_, index) => (index * 7) % 250);
const table = Int32Array.of(9, 2, 7, 4, 0);
const other = Int32Array.of(8, 1, 3, 5, 6);

async function started(): Promise<{ decoder: Decoder; kernels: KvKernels }> {
  const decoder = await startDecoder();
  decoder.arena.grow(10);
  return { decoder, kernels: decoder.kernels! };
}

async function run(decoder: Decoder, from: number, end: number, blocks: Int32Array): Promise<number> {
  return (await decoder.forward(tokens.subarray(from, end), from, blocks, { logits: true }))!.indexOf(0);
}

/** A record of 8 bits with `values` as the first elements of keys and values: exact, since its scales are 1. */
function recordOf(values: Int32Array, bytes: number): Uint8Array {
  const record = new Uint8Array(bytes);
  const rows = values.length;
  const ones = (at: number, count: number): void => void new Uint16Array(record.buffer, at, count).fill(0x3c00);
  const sizes = [2 * rows * 8, 2 * rows * 8, 32, 32, 4 * rows, 4 * rows];
  const at = sizes.map((_, index) => sizes.slice(0, index).reduce((sum, size) => sum + Math.ceil(size / 16) * 16, 0));
  for (let layer = 0; layer < 2; layer++) {
    values.forEach((value, row) => {
      for (const part of [0, 1]) record[at[part]! + (layer * rows + row) * 8] = value;
    });
  }
  ones(at[2]!, 16);
  ones(at[4]!, 2 * rows);
  return record;
}

test("a record is put in its place, in pieces where it is long", async () => {
  const { decoder, kernels } = await started();
  expect(kernels.mostRows(8)).toBeLessThan(ROWS);
  expect(kernels.mostRows(4)).toBeGreaterThan(kernels.mostRows(8));
  await run(decoder, 0, 20, table);
  const record = recordOf(tokens.subarray(20, 20 + ROWS), kernels.recordBytes(8, ROWS));
  kernels.unpack(8, record, ROWS, 20, table);
  expect(await run(decoder, 20 + ROWS, 130, table)).toBe(following(tokens.subarray(0, 130)));
});

test("what is packed and unpacked elsewhere is what was there, but for the rounding", async () => {
  const { decoder, kernels } = await started();
  await run(decoder, 0, 60, table);
  for (const bits of [8, 4] as const) {
    const rows = kernels.mostRows(8);
    const record = kernels.pack(bits, rows, 5, table);
    expect(record).toHaveLength(kernels.recordBytes(bits, rows));
    expect(kernels.pack(bits, rows, 5, table)).toEqual(record);
    kernels.unpack(bits, record, rows, 37, other);
    const again = kernels.pack(bits, rows, 37, other);
    // Codes of codes are the same; scales are rounded once more.
    const codes = 2 * 2 * rows * bits;
    expect(again.subarray(0, codes)).toEqual(record.subarray(0, codes));
  }
  expect(() => kernels.pack(8, kernels.mostRows(8) + 1, 0, table)).toThrow(expect.objectContaining({ code: "argument" }));
});

test("tokens move to other positions and sequences", async () => {
  const { decoder, kernels } = await started();
  await run(decoder, 0, 80, table);
  // The sequence that follows: tokens 10 to 79 at position 3 behind tokens 0 to 2.
  await run(decoder, 0, 3, other);
  kernels.move(table, 10, other, 3, 70);
  const made = (await decoder.forward(Int32Array.of(5), 73, other, { logits: true }))!.indexOf(0);
  expect(made).toBe(following([...tokens.subarray(0, 3), ...tokens.subarray(10, 80), 5]));
});

test("a record of another length, or a place that there is not, is refused", async () => {
  const { decoder, kernels } = await started();
  const record = new Uint8Array(kernels.recordBytes(8, 10));
  expect(() => kernels.unpack(8, record.subarray(1), 10, 0, table)).toThrow(expect.objectContaining({ code: "corrupt" }));
  for (const [rows, start, blocks] of [[10, 155, table], [10, 510, table], [10, -1, table], [10, 0, Int32Array.of(decoder.arena.capacity)], [10, 0, Int32Array.of(-1)]] as const) {
    expect(() => kernels.unpack(8, record, rows, start, blocks), `${rows} ${start}`).toThrow(expect.objectContaining({ code: "argument" }));
    expect(() => kernels.move(table, 0, blocks, start, rows)).toThrow(expect.objectContaining({ code: "argument" }));
  }
  expect(() => kernels.pack(8, 0, 0, table)).toThrow(expect.objectContaining({ code: "argument" }));
});
