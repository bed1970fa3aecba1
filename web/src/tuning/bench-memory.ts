/** Memory of a kernel's own to be timed in: its buffers filled alike for every candidate. */
import type { KernelBuffer } from "../generated/plan.ts";
import { evaluate } from "../inference/expr.ts";
import type { TuneTask } from "./messages.ts";

const PAGE_BYTES = 65536;
const ALIGN = 64;
/** More is not timed on a visitor's device. */
const MOST_BYTES = 256 << 20;

interface Place {
  buffer: KernelBuffer;
  address: number;
  bytes: number;
}

const WIDTH = { f32: 4, i32: 4, i8x4: 4, f16: 2, i8: 1, u8: 1 } as const;

export class BenchMemory {
  readonly memory: WebAssembly.Memory;
  /** Of a call on the whole grid, but for its two bounds. */
  readonly args: number[];
  readonly #places: Place[] = [];

  constructor(task: TuneTask) {
    let address = ALIGN;
    for (const buffer of task.buffers) {
      const count = buffer.shape.reduce<number>((product, size) => product * evaluate(size, task.extents), 1);
      const bytes = count * WIDTH[buffer.dtype];
      this.#places.push({ buffer, address, bytes });
      address += Math.ceil(bytes / ALIGN) * ALIGN;
      if (!(bytes >= 0 && address <= MOST_BYTES)) throw new RangeError(`${task.name} needs more than ${MOST_BYTES >> 20} MB`);
    }
    this.memory = new WebAssembly.Memory({ initial: Math.ceil(address / PAGE_BYTES), maximum: 65536 });
    this.args = [...this.#places.map((place) => place.address), ...Object.values(task.extents)];
    this.#fill(task.extents);
  }

  /** Makes sure that what the next call writes is its own. */
  clear(): void {
    for (const { buffer, address, bytes } of this.#places) {
      if (buffer.access === "write") new Uint8Array(this.memory.buffer, address, bytes).fill(0xff);
    }
  }

  /** Values like those of a model; the same every time. */
  #fill(extents: Readonly<Record<string, number>>): void {
    let seed = 1;
    const random = (): number => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0);
    for (const { buffer, address, bytes } of this.#places) {
      const { buffer: memory } = this.memory;
      if (buffer.dtype === "f32") {
        const values = new Float32Array(memory, address, bytes / 4);
        for (let i = 0; i < values.length; i++) values[i] = random() / 2 ** 31 - 1;
      } else if (buffer.dtype === "f16") {
        const values = new Uint16Array(memory, address, bytes / 2);
        for (let i = 0; i < values.length; i++) values[i] = 0x2c00 + (random() >>> 22) + ((random() >>> 16) & 0x8000);  // 1/16 to 1/8, either sign
      } else if (buffer.dtype === "i32") {
        // Lengths, and sums that are only added: all alike do.
        new Int32Array(memory, address, bytes / 4).fill(extents["seq"] ?? 0);
      } else {
        const values = new Uint8Array(memory, address, bytes);
        for (let i = 0; i < values.length; i++) values[i] = (random() >>> 24) & 0x7f;  // what dot4 takes
      }
    }
  }

  /** What the last call has written, as a copy. */
  results(): Uint8Array[] {
    return this.#places.filter(({ buffer }) => !buffer.scratch && buffer.access !== "read")
      .map(({ address, bytes }) => new Uint8Array(this.memory.buffer.slice(address, address + bytes)));
  }
}

export function equal(a: readonly Uint8Array[], b: readonly Uint8Array[]): boolean {
  return a.every((left, index) => {
    const right = b[index]!;
    if (left.length !== right.length) return false;
    for (let at = 0; at < left.length; at++) if (left[at] !== right[at]) return false;
    return true;
  });
}
