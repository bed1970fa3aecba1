/** Timing candidates of a kernel against one another, in this thread. */

export interface Candidate {
  number: number;
  call: () => void;
}

/** How long a timing is at least, ms: also twenty times the resolution of a page's clock that isn't isolated. */
const BATCH_MS = 2;
/** How long a function runs before it is timed, ms: V8's first tier is 4 to 5 times slower. */
const WARM_MS = 8;

/**
 * Seconds of a call for every candidate, `samples` of each, interleaved so that what slows the
 * machine down slows all of them. `turn` is awaited between timings: pausing, stopping.
 */
export async function measure(candidates: readonly Candidate[], samples: number, turn: () => Promise<void>): Promise<number[][]> {
  const batches: number[] = [];
  for (const { call } of candidates) {
    warm(call);
    batches.push(batchOf(call));
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

/** How many calls take BATCH_MS. */
function batchOf(call: () => void): number {
  for (let calls = 1; ; calls *= 2) {
    const ms = time(call, calls);
    if (ms >= BATCH_MS) return Math.max(1, Math.ceil((calls * BATCH_MS) / ms));
  }
}

function time(call: () => void, calls: number): number {
  const from = performance.now();
  for (let i = 0; i < calls; i++) call();
  return performance.now() - from;
}
