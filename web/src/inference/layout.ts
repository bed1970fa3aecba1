/**
 * Where things lie in a model's memory: control block, weights, arena (the slots, one after the
 * other), the scratch region of every thread, then a decoder's KV blocks.
 */
import { PywasmError } from "../error.ts";
import type { Plan } from "../generated/plan.ts";
import { evaluate, type Symbols } from "./expr.ts";

/** Cells that threads meet at (crew.ts); the weights begin behind it. */
export const CONTROL_BYTES = 1024;
export const PAGE_BYTES = 65536;
/** All that addresses of 32 bits reach, less a page so that the end has an address too. */
const MOST_BYTES = 2 ** 32 - PAGE_BYTES;
const ALIGN = 64;

export interface Layout {
  /** Address of each slot. */
  slots: number[];
  /** Address of thread 0's scratch region; thread t's is t * stride further. */
  scratch: number;
  stride: number;
  /** Of everything, a multiple of 64: KV blocks begin here. */
  bytes: number;
}

export const WEIGHTS_ADDRESS = CONTROL_BYTES;

export function layOut(plan: Plan, symbols: Symbols, threads: number): Layout {
  let address = align(WEIGHTS_ADDRESS + plan.weights.bytes);
  const slots = plan.slots.map(({ bytes }) => {
    const at = address;
    const size = evaluate(bytes, symbols);
    address += align(size);
    // NaN, too.
    if (!(size >= 0 && address <= MOST_BYTES)) throw tooLarge(address);
    return at;
  });
  const stride = Math.max(0, ...plan.kernels.map(({ scratch }) => scratch.reduce((sum, bytes) => sum + align(bytes), 0)));
  const bytes = address + stride * threads;  // all multiples of 64
  if (bytes > MOST_BYTES) throw tooLarge(bytes);
  return { slots, scratch: address, stride, bytes };
}

/** Of each of a kernel's scratch buffers in the region of its thread. */
export function scratchOffsets(sizes: readonly number[]): number[] {
  let offset = 0;
  return sizes.map((bytes) => {
    const at = offset;
    offset += align(bytes);
    return at;
  });
}

export function align(bytes: number): number {
  return Math.ceil(bytes / ALIGN) * ALIGN;
}

function tooLarge(bytes: number): PywasmError {
  return new PywasmError("memory", `the model needs ${megabytes(bytes)} for so many texts at once, more than WebAssembly can address: give fewer`);
}

export function megabytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MB`;
}
