import { Worker } from "node:worker_threads";

import { rolldown } from "rolldown";
import { beforeAll, expect, test, vi } from "vitest";

import { Crew, TAGS } from "../../src/inference/crew.ts";
import type { Call } from "../../src/inference/program.ts";

/** Behind the control block: pieces done of each step, then how often one was run out of order. */
const COUNTS = 256;
const STEPS = 12;
const WRONG = COUNTS + STEPS;

/** Steps of none to many pieces, some of one in a row. */
const calls: Call[] = [0, 1, 2, 1, 1, 5, 0, 1, 1, 9, 11, 1].map((pieces, step) => ({
  kernel: step, args: [0, 0], pieces: Array.from({ length: pieces + 1 }, (_, piece) => piece),
}));

let code: string;
beforeAll(async () => {
  const bundle = await rolldown({ input: new URL("../../src/inference/crew.ts", import.meta.url).pathname });
  code = (await bundle.generate({ format: "iife", name: "library" })).output[0].code;
});

/** A thread as thread.ts has it, whose kernel notes what it was asked to do; `trap` makes it throw in that run. */
function startThread(memory: WebAssembly.Memory, trap = -1): { run: (run: number) => void; answers: string[]; end: () => Promise<number> } {
  const worker = new Worker(`${code}
    const { parentPort, workerData: { memory, calls, trap } } = require("node:worker_threads");
    const cells = new Int32Array(memory.buffer);
    const perform = ${perform.toString()};
    parentPort.on("message", (run) => {
      const crew = new library.Crew(memory, run, calls);
      try {
        crew.work((call) => { perform(cells, calls, call, ${COUNTS}, ${WRONG}); if (run === trap) throw new Error("trap"); });
        parentPort.postMessage("done");
      } catch (error) { crew.fail(); parentPort.postMessage(error.message); }
    });`, { eval: true, workerData: { memory, calls, trap } });
  const answers: string[] = [];
  worker.on("message", (answer: string) => answers.push(answer));
  return { run: (run) => worker.postMessage(run), answers, end: () => worker.terminate() };
}

/** Counts the piece, and whether the steps before were not over yet. */
function perform(cells: Int32Array, calls: Call[], { kernel }: Call, counts: number, wrong: number): void {
  for (let step = 0; step < kernel; step++) {
    if (Atomics.load(cells, counts + step) !== calls[step]!.pieces.length - 1) Atomics.add(cells, wrong, 1);
  }
  for (let spin = 0; spin < 500; spin++) Atomics.load(cells, 0);
  Atomics.add(cells, counts + kernel, 1);
}

const makeMemory = (): [WebAssembly.Memory, Int32Array] => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  return [memory, new Int32Array(memory.buffer)];
};

test("every piece is run once and in its step, in many runs, by threads that come late or never", async () => {
  const [memory, cells] = makeMemory();
  const threads = [startThread(memory), startThread(memory)];
  for (let run = 1; run <= 3 * TAGS; run++) {
    cells.fill(0, COUNTS, WRONG);
    const crew = new Crew(memory, run, calls);
    crew.open();
    // Thread 0 doesn't wait until they have heard of it; now and then it lets them catch up.
    if (run % 3 > 0) for (const thread of threads) thread.run(run);
    if (run % 50 === 0) await expect.poll(() => threads.map(({ answers }) => answers.length)).toEqual(threads.map(() => run - Math.floor(run / 3)));
    expect(crew.work((call) => perform(cells, calls, call, COUNTS, WRONG))).toBe(true);
    expect(crew.failed).toBe(false);
    expect([...cells.slice(COUNTS, WRONG)], `run ${run}`).toEqual(calls.map(({ pieces }) => pieces.length - 1));
    expect(cells[WRONG]).toBe(0);
  }
  await expect.poll(() => threads.every(({ answers }) => answers.length === 2 * TAGS && answers.every((answer) => answer === "done"))).toBe(true);
  for (const thread of threads) await thread.end();
});

test("a thread that fails ends the run for all; the next one is whole", async () => {
  const [memory, cells] = makeMemory();
  const thread = startThread(memory, 7);
  for (const run of [7, 8]) {
    cells.fill(0, COUNTS, WRONG);
    const crew = new Crew(memory, run, calls);
    crew.open();
    thread.run(run);
    // The other one has the first piece for sure.
    while (run === 7 && !crew.failed) await new Promise((resolve) => setTimeout(resolve, 1));
    expect(crew.work((call) => perform(cells, calls, call, COUNTS, WRONG))).toBe(true);
    await expect.poll(() => thread.answers.length).toBe(run - 6);
    expect(crew.failed).toBe(run === 7);
  }
  expect(thread.answers).toEqual(["trap", "done"]);
  await thread.end();
});

test("thread 0 can leave at a step's end and come back; an abort is the end for all", () => {
  const [memory, cells] = makeMemory();
  const crew = new Crew(memory, 1, calls);
  crew.open();
  const ends = new Float64Array(STEPS);
  let visits = 0;
  while (!crew.work((call) => perform(cells, calls, call, COUNTS, WRONG), 0, ends)) visits++;
  expect(visits).toBe(STEPS - 2);  // before each but the two that have nothing to do
  expect([...ends].every((end, step) => end > 0 && end >= (ends[step - 1] ?? 0))).toBe(true);
  const other = new Crew(memory, 2, calls);
  other.open();
  other.fail();
  expect(other.work(() => expect.unreachable())).toBe(true);
  expect(other.failed).toBe(true);
});

test("an abort is not undone by a thread that was about to publish the next step", () => {
  const [memory] = makeMemory();
  const [crew, other] = [new Crew(memory, 1, calls), new Crew(memory, 1, calls)];
  crew.open();
  const exchange = Atomics.compareExchange;
  const spy = vi.spyOn(Atomics, "compareExchange").mockImplementation(((cells: Int32Array, index: number, ...values: [number, number]) => {
    const found = exchange(cells, index, ...values);
    if (index === 16) crew.fail();  // DONE: the first step's only piece
    return found;
  }) as typeof Atomics.compareExchange);
  const steps: number[] = [];
  expect(other.work(({ kernel }) => steps.push(kernel))).toBe(true);
  spy.mockRestore();
  expect(steps).toEqual([1]);
  expect(crew.work(() => expect.unreachable())).toBe(true);
});
