/**
 * A plan for one shape: every call with its arguments as numbers. It is made once a shape
 * and sent to all threads, of which each makes its own list of calls from it; a run then neither
 * computes an address nor allocates.
 */
import type { Expr, Plan } from "../generated/plan.ts";
import { evaluate, type Symbols } from "./expr.ts";
import { scratchOffsets, WEIGHTS_ADDRESS, type Layout } from "./layout.ts";

/** Of a tuned kernel, or of a default one: the iterations that its threads share, over its extents. */
export type Grids = readonly Expr[];

/**
 * Calls one after the other: kernel, size of the grid, bits of the arguments that are scratch
 * addresses (given as offsets), number of arguments, arguments.
 */
export type Program = Int32Array;

/** A call as one thread makes it. */
export interface Call {
  kernel: number;
  /** The last two are the part of the grid that is being run: at first all of it. */
  args: number[];
  /** Piece i of the grid, of which threads take one after the other, is [pieces[i], pieces[i + 1]). */
  pieces: number[];
}

/** The share of a grid that threads take first, a large piece each; the rest evens out what holds one of them up. */
const FIRST = 0.6;
/** Small pieces for each thread. */
const SMALL = 3;

export function compileProgram(plan: Plan, grids: Grids, layout: Layout, symbols: Symbols): Program {
  const cells: number[] = [];
  // A block holds all layers, one after the other.
  const kvLayerBytes = plan.decoder ? plan.decoder.kv_block_bytes / plan.decoder.layers : 0;
  for (const step of plan.steps) {
    const kernel = plan.kernels[step.kernel]!;
    const offsets = scratchOffsets(kernel.scratch);
    let scratch = 0;
    const addresses = step.buffers.map((buffer, index) => {
      if ("weight" in buffer) return WEIGHTS_ADDRESS + plan.weights.tensors[buffer.weight]!.offset;
      if ("slot" in buffer) return layout.slots[buffer.slot]!;
      if ("kv" in buffer) return layout.bytes + buffer.kv * kvLayerBytes;
      scratch |= 1 << index;
      return offsets[buffer.scratch]!;
    });
    const extents = step.extents.map((extent) => evaluate(extent, symbols));
    const values = Object.fromEntries(kernel.extents.map((name, index) => [name, extents[index]!]));
    cells.push(step.kernel, evaluate(grids[step.kernel]!, values), scratch, addresses.length + extents.length, ...addresses, ...extents);
  }
  return Int32Array.from(cells);
}

/** The calls of one of `threads` threads, whose scratch region begins at `scratch`. */
export function callsOf(program: Program, scratch: number, threads: number): Call[] {
  const calls: Call[] = [];
  for (let at = 0; at < program.length;) {
    const [kernel, grid, bits, count] = program.subarray(at, at + 4) as unknown as [number, number, number, number];
    const args: number[] = [];
    for (let index = 0; index < count; index++) {
      args.push(program[at + 4 + index]! + ((bits >>> index) & 1 ? scratch : 0));
    }
    args.push(0, grid);
    calls.push({ kernel, args, pieces: piecesOf(grid, threads) });
    at += 4 + count;
  }
  return calls;
}

function piecesOf(grid: number, threads: number): number[] {
  const first = Math.floor(grid * FIRST);
  const ends = [
    ...Array.from({ length: threads }, (_, index) => Math.floor((first * (index + 1)) / threads)),
    ...Array.from({ length: threads * SMALL }, (_, index) => first + Math.floor(((grid - first) * (index + 1)) / (threads * SMALL))),
  ];
  return [0, ...ends.filter((end, index) => end > (ends[index - 1] ?? 0))];
}
