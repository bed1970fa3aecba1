/**
 * The tuner's own thread: boots Python, measures the device, holds the conversation with
 * pywasm_jit.tuning and times its candidates. A *classic* worker: a module worker that boots
 * Pyodide hangs under a policy with only wasm-unsafe-eval. It ends when it has reported.
 */
import { BenchMemory, equal } from "./bench-memory.ts";
import { measure } from "./measure.ts";
import type { FromTuner, ToTuner, TuneStart, TuneStats, TuneTask } from "./messages.ts";
import { probe } from "./probe.ts";
import { PythonTuner, type Ask } from "./python.ts";

type Kernel = (...args: number[]) => void;

let resume: (() => void) | null = null;
let paused: Promise<void> | null = null;
let pausedMs = 0;

self.addEventListener("message", ({ data }: MessageEvent<ToTuner>) => {
  if (data.kind === "pause") paused ??= new Promise((settle) => (resume = settle));
  else if (data.kind === "resume") {
    resume?.();
    paused = resume = null;
  } else void tune(data).catch((error: unknown) => post({ kind: "failed", reason: String(error) }));
});

function post(message: FromTuner): void {
  self.postMessage(message);
}

/** Lets messages in, and waits while paused. */
async function turn(): Promise<void> {
  await new Promise<void>((next) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      next();
    };
    port2.postMessage(null);
  });
  const from = performance.now();
  while (paused) await paused;
  pausedMs += performance.now() - from;
}

/** The task being tuned: the memory its candidates run in, and what the default computes there. */
class Trial {
  readonly memory: BenchMemory;
  readonly #name: string;
  readonly #python: PythonTuner;
  readonly #stats: TuneStats;
  readonly #calls = new Map<number, (() => void) | null>();
  #expected: Uint8Array[] = [];

  constructor(task: TuneTask, python: PythonTuner, stats: TuneStats) {
    this.memory = new BenchMemory(task);
    this.#name = task.name;
    this.#python = python;
    this.#stats = stats;
  }

  /** The candidate as a call; null if it fails or computes anything but what the default does. */
  call(number: number, grid: number): (() => void) | null {
    let call = this.#calls.get(number);
    if (call === undefined) {
      call = this.#make(number, grid);
      this.#calls.set(number, call);
      this.#stats.candidates++;
      if (!call) this.#stats.discarded++;
    }
    return call;
  }

  #make(number: number, grid: number): (() => void) | null {
    try {
      const from = performance.now();
      const bytes = this.#python.module(number);
      const emitted = performance.now();
      const module = new WebAssembly.Module(bytes);
      const { exports } = new WebAssembly.Instance(module, { env: { memory: this.memory.memory } });
      this.#stats.emitMs += emitted - from;
      this.#stats.compileMs += performance.now() - emitted;
      const kernel = exports[this.#name] as Kernel;
      const args = [...this.memory.args, 0, grid];
      const call = (): void => kernel(...args);
      this.memory.clear();
      call();
      const results = this.memory.results();
      if (number === 0) this.#expected = results;
      return equal(results, this.#expected) ? call : null;
    } catch (error) {
      if (number === 0) throw error;
      return null;
    }
  }
}

async function tune(start: TuneStart): Promise<void> {
  const stats: TuneStats = { bootMs: 0, tuneMs: 0, emitMs: 0, compileMs: 0, candidates: 0, discarded: 0 };
  const total = start.tasks.length;
  post({ kind: "progress", stage: "booting", done: 0, total });
  const from = performance.now();
  const python = await PythonTuner.boot(start.pyodide, start.wheel, start.tasks);
  const booted = performance.now();
  stats.bootMs = booted - from;
  post({ kind: "progress", stage: "probing", done: 0, total });
  const device = probe(python);
  python.describe(device);

  let trial: Trial | null = null;
  let current = -1;
  let reason = "";
  for (let ask = python.ask(); ; ask = python.ask()) {
    for (const decided of ask.decided) report(decided, start, python);
    if (ask.task < 0) break;
    if (performance.now() - booted - pausedMs > start.limitMs) {
      reason = `time is up: ${total - ask.task} kernels keep their defaults`;
      break;
    }
    if (ask.task !== current) {
      current = ask.task;
      trial = null;
      post({ kind: "progress", stage: "tuning", done: current, total });
    }
    try {
      trial ??= new Trial(start.tasks[current]!, python, stats);
      python.answer(await answer(ask, trial));
    } catch {
      python.answer(ask.candidates.map(() => []));  // this one keeps its default, the others are tuned
    }
  }
  stats.tuneMs = performance.now() - booted - pausedMs;
  post({ kind: "done", device, stats, ...(reason && { reason }) });
}

async function answer(ask: Ask, trial: Trial): Promise<number[][]> {
  const calls = ask.candidates.map((number, index) => trial.call(number, ask.grids[index]!));
  const runs = ask.candidates.flatMap((number, index) => {
    const call = calls[index];
    return call ? [{ number, call }] : [];
  });
  const times = await measure(runs, ask.samples, turn);
  const byNumber = new Map(runs.map(({ number }, index) => [number, times[index]!]));
  return ask.candidates.map((number) => byNumber.get(number) ?? []);
}

function report({ task, winner }: Ask["decided"][number], { tasks, shared }: TuneStart, python: PythonTuner): void {
  const { kernel, name } = tasks[task]!;
  if (!winner) return post({ kind: "decided", task, winner: null });
  const { steps, grid, gain } = winner;
  post({ kind: "decided", task, winner: { kernel, name, steps, grid, gain, module: python.winner(shared) } });
}
