/**
 * Kernels beside a decoder's steps that change its KV: between the arena and records of 8 or 4 bits
 * (pywasm_jit.kernels.kv_records has their layout), and from one place of a sequence to another. Each
 * runs at once, on this thread alone; never while the decoder runs.
 */
import { PywasmError } from "../error.ts";
import type { Plan } from "../generated/plan.ts";
import { evaluate } from "../inference/expr.ts";
import { WEIGHTS_ADDRESS, type Layout } from "../inference/layout.ts";
import type { Runner } from "../inference/runner.ts";
import type { Arena } from "./blocks.ts";

export type Bits = 8 | 4;

/** What the decoder has of itself. */
interface Parts {
  plan: Plan;
  numeric: "fused" | "separate";
  memory: WebAssembly.Memory;
  runner: Runner;
  /** Nothing of its slots is kept between runs: they are where records lie while a kernel reads or writes them. */
  layout: Layout;
  arena: Arena;
}

/** A part of a record: `count` pieces, each of `row` bytes for each of its tokens, or of `fixed` bytes. */
interface Part {
  name: string;
  count: number;
  row: number;
  fixed: number;
  /** In a record of so many tokens. */
  offset: number;
  bytes: number;
}

/** Where the parts of a record begin. */
const ALIGN = 16;
const PARTS = 6;
const NAMES = ["kv_move", "kv_pack8", "kv_unpack8", "kv_pack4", "kv_unpack4"] as const;
type Name = (typeof NAMES)[number];

export class KvKernels {
  readonly #parts: Parts;

  /** null where the plan lacks one of the kernels or the angles they turn keys by, or has no room for a record. */
  static of(parts: Parts): KvKernels | null {
    const { decoder, weights } = parts.plan;
    const whole = NAMES.every((name) => decoder!.aux[name] !== undefined) && ["rope.cos", "rope.sin"].every((name) => weights.tensors.some((tensor) => tensor.name === name));
    if (!whole) return null;
    const kernels = new KvKernels(parts);
    return kernels.mostRows(8) > 0 ? kernels : null;
  }

  private constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** Bytes of a record of `rows` tokens. */
  recordBytes(bits: Bits, rows: number): number {
    const last = this.#record(bits, rows).at(-1)!;
    return align(last.offset + last.bytes);
  }

  /** Tokens of the largest record that pack() can make. */
  mostRows(bits: Bits): number {
    const { layout } = this.#parts;
    const room = layout.bytes - layout.slots[0]! - this.#tables() - PARTS * ALIGN;
    const [one, two] = [this.recordBytes(bits, 64), this.recordBytes(bits, 128)];
    // A record's size grows with its tokens.
    return Math.max(0, Math.floor((room - 2 * one + two) / ((two - one) / 64)));
  }

  /** Puts the KV of `rows` tokens, as `record` has it, at positions from `start` on of the sequence with blocks `table`. */
  unpack(bits: Bits, record: Uint8Array, rows: number, start: number, table: Int32Array): void {
    const bytes = this.recordBytes(bits, rows);
    if (record.byteLength !== bytes) throw new PywasmError("corrupt", `a KV record of ${rows} tokens has ${record.byteLength} bytes, expected ${bytes}`, { expected: `${bytes} bytes` });
    this.#check(start, rows, table);
    const whole = this.#record(bits, rows);
    // Keys share their scales, so pieces of a record can be put in one by one.
    const step = Math.min(rows, this.mostRows(bits));
    for (let from = 0; from < rows; from += step) {
      const count = Math.min(step, rows - from);
      const piece = this.#record(bits, count);
      const { at, tables } = this.#stage([start + from, 0], table);
      piece.forEach((part, index) => copyRows(record, whole[index]!, from, this.#bytes(at + part.offset, part.bytes), part, count));
      this.#call(`kv_unpack${bits}`, { ...tables, ...addresses(piece, at) }, { rows: count, blocks: table.length });
    }
  }

  /** A record of the KV of `rows` tokens, at most mostRows(), from position `start` on. */
  pack(bits: Bits, rows: number, start: number, table: Int32Array): Uint8Array<ArrayBuffer> {
    this.#check(start, rows, table);
    if (rows > this.mostRows(bits)) throw new PywasmError("argument", `a KV record of ${rows} tokens: at most ${this.mostRows(bits)} at a time`);
    const parts = this.#record(bits, rows);
    const { at, tables } = this.#stage([start, 0], table);
    // Gaps between the parts are part of the record, which is compared and hashed as a whole.
    const room = this.#bytes(at, this.recordBytes(bits, rows)).fill(0);
    this.#call(`kv_pack${bits}`, { ...tables, ...addresses(parts, at) }, { rows, blocks: table.length });
    return Uint8Array.from(room);
  }

  /** Copies the KV of `rows` tokens at `from` of the sequence `source` to `to` of the sequence `table`, keys turned by the difference of positions. */
  move(source: Int32Array, from: number, table: Int32Array, to: number, rows: number): void {
    this.#check(from, rows, source);
    this.#check(to, rows, table);
    const { tables } = this.#stage([from, to], table, source);
    this.#call("kv_move", tables, { rows, source_blocks: source.length, blocks: table.length });
  }

  /** Where the parts of a record of `rows` tokens lie. */
  #record(bits: Bits, rows: number): Part[] {
    const { layers, kv_heads, head_dim } = this.#parts.plan.decoder!;
    const heads = layers * kv_heads;
    const code = (head_dim * bits) / 8;
    let offset = 0;
    return ([["keys", heads, code, 0], ["values", heads, code, 0], ["key_scale", 1, 0, 2 * heads * head_dim], ["key_low", 1, 0, 2 * heads * head_dim], ["value_scale", heads, 2, 0], ["value_low", heads, 2, 0]] as const)
      .map(([name, count, row, fixed]) => {
        const bytes = count * (row * rows + fixed);
        const part = { name, count, row, fixed, offset, bytes };
        offset = align(offset + bytes);
        return part;
      });
  }

  /** Of positions and two tables. */
  #tables(): number {
    const { context, kv_block: block } = this.#parts.plan.decoder!;
    return align(8) + 2 * align((4 * context) / block);
  }

  /** Writes positions and tables; `at` is where a record may lie behind them. */
  #stage(places: [number, number], table: Int32Array, source: Int32Array = table): { at: number; tables: Record<string, number> } {
    const first = this.#parts.layout.slots[0]!;
    const own = first + align(8);
    const other = own + align(table.byteLength);
    const buffer = this.#parts.memory.buffer as ArrayBuffer;
    new Int32Array(buffer, first, 2).set(places);
    new Int32Array(buffer, own, table.length).set(table);
    new Int32Array(buffer, other, source.length).set(source);
    return { at: first + this.#tables(), tables: { place: first, places: first, table: own, source: other } };
  }

  #bytes(address: number, bytes: number): Uint8Array {
    return new Uint8Array(this.#parts.memory.buffer, address, bytes);
  }

  #call(name: Name, buffers: Readonly<Record<string, number>>, sizes: Readonly<Record<string, number>>): void {
    const { plan, numeric, runner, layout, arena } = this.#parts;
    const number = plan.decoder!.aux[name]!;
    const kernel = plan.kernels[number]!;
    const angle = (part: string): number => {
      const tensor = plan.weights.tensors.find((one) => one.name === `rope.${part}`)!;
      return WEIGHTS_ADDRESS + tensor.offset;
    };
    const known: Record<string, number> = { ...buffers, cos: angle("cos"), sin: angle("sin"), kv: layout.bytes };
    const extents: Record<string, number> = { ...sizes, positions: plan.decoder!.context, kv_blocks: arena.capacity };
    const args = [...kernel.buffers.map((buffer) => known[buffer.name]), ...kernel.extents.map((extent) => extents[extent])];
    if (args.includes(undefined)) throw new PywasmError("corrupt", `${plan.name}: ${name} has other arguments than this library knows`);
    runner.call(number, args as number[], evaluate(kernel.variants[numeric].grid, extents));
  }

  /** The kernels trust tables. */
  #check(start: number, rows: number, table: Int32Array): void {
    const { context, kv_block: block } = this.#parts.plan.decoder!;
    const end = start + rows;
    const wrong = (problem: string): PywasmError => new PywasmError("argument", `KV of ${rows} tokens from position ${start}: ${problem}`);
    if (!(rows > 0 && start >= 0 && end <= context)) throw wrong(`the context has ${context}`);
    if (table.length * block < end || table.length * block > context) throw wrong(`the sequence has ${table.length} blocks`);
    for (const number of table) if (number < 0 || number >= this.#parts.arena.capacity) throw wrong(`block ${number} of ${this.#parts.arena.capacity}`);
  }
}

/** Tokens [from, from + count) of a part of a record to `target`, the same part of a smaller record. */
function copyRows(record: Uint8Array, whole: Part, from: number, target: Uint8Array, piece: Part, count: number): void {
  const stride = whole.bytes / whole.count;
  const bytes = piece.row * count + piece.fixed;
  for (let index = 0; index < whole.count; index++) {
    const at = whole.offset + index * stride + from * piece.row;
    target.set(record.subarray(at, at + bytes), index * bytes);
  }
}

function addresses(parts: readonly Part[], at: number): Record<string, number> {
  return Object.fromEntries(parts.map(({ name, offset }) => [name, at + offset]));
}

function align(bytes: number): number {
  return Math.ceil(bytes / ALIGN) * ALIGN;
}
