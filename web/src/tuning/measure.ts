/** Timing candidates of a kernel against one another, in this thread. */

export interface Candidate {
  number: number;
  call: () => void;
}

/** How long a timing is at least, ms, and in steps of this page's clock: 0.1 ms where it isn't isolated, 1 ms in some browsers. */
const BATCH_MS = 2;
const BATCH_STEPS = 20;
/** With a coarser clock nothing can be told apart in reasonable time, ms. */
const COARSEST_MS = 2;
/** How long a function runs before it is timed, ms: V8's first tier is 4 to 5 times slower. */
const WARM_MS = 8;

/**
 * Seconds of a call for every candidate, `samples` of each, interleaved so that what slows the
 * machine down slows all of them. `turn` is awaited between timings: pausing, stopping.
 */
export async function measure(candidates: readonly Candidate[], samples: number, turn: () => Promise<void>): Promise<number[][]> {
  const step = clockStep();
  if (step > COARSEST_MS) throw new Error(`this page's clock ticks every ${step.toFixed(1)} ms, too coarse to time kernels`);
  const least = Math.max(BATCH_MS, BATCH_STEPS * step);
  const batches: number[] = [];
  for (const { call } of candidates) {
    warm(call);
    batches.push(batchOf(call, least));
    await turn();
  }
  const times: number[][] = candidates.map(() => []);
  for (let sample = 0; sample < samples; sample++) {
    for (const [index, { call }] of candidates.entries()) {
      times[index]!.push(time(call, batches[index]!) / 1000 / batches[index]!);
    }
    await turn();
  }
  return times;
}

function warm(call: () => void): void {
  const until = performance.now() + WARM_MS;
  do call(); while (performance.now() < until);
}

/** How much the clock moves when it does, ms: the least of some. */
function clockStep(): number {
  let least = Infinity;
  for (let tick = 0; tick < 5; tick++) {
    const from = performance.now();
    let now = from;
    while (now === from) now = performance.now();
    least = Math.min(least, now - from);
  }
  return least;
}

/** How many calls take `least` ms. */
function batchOf(call: () => void, least: number): number {
  for (let calls = 1; ; calls *= 2) {
    const ms = time(call, calls);
    if (ms >= least) return Math.max(1, Math.ceil((calls * least) / ms));
  }
}

function time(call: () => void, calls: number): number {
  const from = performance.now();
  for (let i = 0; i < calls; i++) call();
  return performance.now() - from;
}
