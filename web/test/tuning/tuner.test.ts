import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { deleteDatabase } from "../../src/pages/idb.ts";
import type { FromTuner, ToTuner, TuneStats, TuneTask, Winner } from "../../src/tuning/messages.ts";
import { TunedKernels } from "../../src/tuning/store.ts";
import type { TuneWork } from "../../src/tuning/tasks.ts";
import { Tuner, type Tunable, type TuningOptions } from "../../src/tuning/tuner.ts";
import { taskOf, winnerOf, workOf } from "./work.ts";

const STATS: TuneStats = { bootMs: 1, tuneMs: 2, emitMs: 3, compileMs: 4, candidates: 5, discarded: 0 };

/** The worker's end of the conversation: Python in it runs in e2e/test_tuning.py. */
class Conversation extends EventTarget {
  readonly heard: ToTuner[] = [];
  ended = false;

  constructor(private readonly answer: (message: ToTuner, say: (message: FromTuner) => void) => void) {
    super();
  }

  postMessage(message: ToTuner): void {
    this.heard.push(message);
    queueMicrotask(() => this.answer(message, (data) => this.ended || this.dispatchEvent(new MessageEvent("message", { data }))));
  }

  terminate(): void {
    this.ended = true;
  }
}

class Model implements Tunable {
  readonly adopted: Winner[] = [];
  refuse = false;

  constructor(readonly tuned: TuneWork) {}

  async work(): Promise<TuneWork> {
    return this.tuned;
  }

  async adopt(winner: Winner): Promise<void> {
    if (this.refuse) throw new Error("no such kernel");
    this.adopted.push(winner);
  }

  async idle(): Promise<void> {}
}

const tasks = [taskOf(0), taskOf(1)];
const work = workOf(tasks);

/** Decides all tasks: the first has a winner, the others keep their defaults. */
function decides(message: ToTuner, say: (message: FromTuner) => void): void {
  if (message.kind !== "start") return;
  say({ kind: "progress", stage: "tuning", done: 0, total: message.tasks.length });
  message.tasks.forEach((task: TuneTask, index: number) => say({ kind: "decided", task: index, winner: index === 0 ? winnerOf(task) : null }));
  say({ kind: "done", device: {}, stats: STATS });
}

function tunerOf(model: Model, worker: Conversation, options: Partial<TuningOptions> = {}): Tuner {
  const files = async () => ({ pyodide: "http://localhost/pyodide/", wheel: "http://localhost/jit.whl" });
  return new Tuner(model, { mode: "on", files, limitMs: 1000, spawn: () => worker as unknown as Worker, ...options });
}

beforeEach(async () => {
  await deleteDatabase("pywasm tuned kernels");
  vi.stubGlobal("requestIdleCallback", (callback: () => void) => setTimeout(callback, 0));
});

afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

test("what is found is adopted, stored, and restored by the next visit without a worker", async () => {
  const first = new Model(work);
  const tuner = tunerOf(first, new Conversation(decides));
  await tuner.run();
  expect(tuner.status).toMatchObject({ state: "done", done: 2, total: 2, winners: [{ name: "k0", gain: 0.8 }], stats: STATS });
  expect(first.adopted).toEqual([winnerOf(tasks[0]!)]);

  // The same kernel has another number in this visit's plan.
  const second = new Model(workOf([{ ...tasks[0]!, kernel: 5, name: "k5" }, tasks[1]!]));
  const again = tunerOf(second, new Conversation(() => { throw new Error("nothing is left to tune"); }));
  await again.run();
  expect(again.status).toMatchObject({ state: "restored", done: 2 });
  expect(second.adopted).toEqual([{ ...winnerOf(tasks[0]!), kernel: 5, name: "k5" }]);
});

test("only what is left is tuned", async () => {
  const store = (await TunedKernels.open())!;
  await store.put(tasks[0]!, work, null);
  store.close();
  const worker = new Conversation(decides);
  const model = new Model(work);
  await tunerOf(model, worker).run();
  expect(worker.heard[0]).toMatchObject({ kind: "start", tasks: [{ name: "k1" }], limitMs: 1000 });
  expect(model.adopted.map(({ name }) => name)).toEqual(["k1"]);
});

test("a winner that the model refuses is neither served nor stored", async () => {
  const model = new Model(work);
  model.refuse = true;
  const tuner = tunerOf(model, new Conversation(decides));
  await tuner.run();
  expect(tuner.status).toMatchObject({ state: "done", winners: [] });
  const store = (await TunedKernels.open())!;
  expect(await store.get(tasks[0]!, work)).toBeNull();
  store.close();
});

test("a stored winner that is refused is forgotten and tuned anew", async () => {
  const store = (await TunedKernels.open())!;
  await store.put(tasks[0]!, work, winnerOf(tasks[0]!));
  await store.put(tasks[1]!, work, null);
  const model = new Model(work);
  model.refuse = true;
  const worker = new Conversation(decides);
  await tunerOf(model, worker).run();
  expect(worker.heard[0]).toMatchObject({ tasks: [{ name: "k0" }] });
  store.close();
});

test.each<[string, Partial<Navigator> & Record<string, unknown>, RegExp]>([
  ["Save-Data", { connection: { saveData: true } }, /save data/],
  ["a phone", { userAgentData: { mobile: true } }, /phones/],
  ["a phone by its name", { userAgent: "Mozilla/5.0 (iPhone) Mobile/15E148" }, /phones/],
  ["little memory", { userAgent: "desktop", deviceMemory: 2 }, /2 GB/],
])("nothing is started under %s unless asked", async (_, browser, reason) => {
  vi.stubGlobal("navigator", { hardwareConcurrency: 2, userAgent: "desktop", ...browser });
  const worker = new Conversation(decides);
  const tuner = tunerOf(new Model(work), worker, { mode: "auto" });
  await tuner.run();
  expect(tuner.status).toMatchObject({ state: "off", reason: expect.stringMatching(reason) });
  expect(worker.heard).toEqual([]);
  await tunerOf(new Model(work), worker, { mode: "on" }).run();
  expect(worker.heard.length).toBe(1);
});

test("a site without the tuner, and tuning switched off, say so", async () => {
  const without = tunerOf(new Model(work), new Conversation(decides), { files: async () => null });
  await without.run();
  expect(without.status).toMatchObject({ state: "off", reason: expect.stringContaining("--no-tune") });
  const off = tunerOf(new Model(work), new Conversation(decides), { mode: "off" });
  await off.run();
  expect(off.status).toMatchObject({ state: "off", reason: "tuning is switched off" });
});

test("Python that never starts is given up after a minute", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  vi.stubGlobal("requestIdleCallback", (callback: () => void) => queueMicrotask(callback));
  const worker = new Conversation(() => undefined);
  const tuner = tunerOf(new Model(work), worker);
  const running = tuner.run();
  // fake-indexeddb works by timers, too.
  while (worker.heard.length === 0) await vi.advanceTimersByTimeAsync(1);
  await vi.advanceTimersByTimeAsync(59_000);
  expect(worker.ended).toBe(false);
  await vi.advanceTimersByTimeAsync(2000);
  await running;
  expect(worker.ended).toBe(true);
  expect(tuner.status).toMatchObject({ state: "failed", reason: expect.stringContaining("60 s") });
});

test("a worker that fails leaves what was decided before", async () => {
  const worker = new Conversation((message, say) => {
    if (message.kind !== "start") return;
    say({ kind: "decided", task: 0, winner: winnerOf(tasks[0]!) });
    say({ kind: "failed", reason: "MemoryError" });
  });
  const model = new Model(work);
  const tuner = tunerOf(model, worker);
  await tuner.run();
  expect(tuner.status).toMatchObject({ state: "failed", reason: "MemoryError", done: 1 });
  expect(model.adopted.length).toBe(1);
});

test("paused, resumed and stopped", async () => {
  const worker = new Conversation((message, say) => {
    if (message.kind === "start") say({ kind: "progress", stage: "tuning", done: 0, total: 2 });
  });
  const states: string[] = [];
  const tuner = tunerOf(new Model(work), worker, { onChange: ({ state }) => states.push(state) });
  const running = tuner.run();
  await vi.waitFor(() => expect(tuner.status.state).toBe("tuning"));
  tuner.pause();
  expect(tuner.status.state).toBe("paused");
  tuner.resume();
  expect(worker.heard.map(({ kind }) => kind)).toEqual(["start", "pause", "resume"]);
  tuner.stop();
  await running;
  expect(worker.ended).toBe(true);
  expect(tuner.status).toMatchObject({ state: "off", reason: "stopped" });
  expect(states.at(-1)).toBe("off");
});
