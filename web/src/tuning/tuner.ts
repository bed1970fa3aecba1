/**
 * Tuning of a model's kernels on the visitor's device, from the page's side: when it may run, what
 * it has found, and that nobody has to wait for it. What it can't do it leaves: the defaults stay.
 */
import type { FromTuner, ToTuner, TuneStart, TuneStats, TuneTask, Winner } from "./messages.ts";
import { TunedKernels } from "./store.ts";
import type { TuneWork } from "./tasks.ts";

export type TuningState =
  /** Not allowed here, or not wanted: `reason` says why. */
  | "off"
  /** For the page to be idle. */
  | "waiting"
  | "booting" | "probing" | "tuning" | "paused"
  /** Every kernel is decided, or `reason` says why not all; `restored`: all on an earlier visit. */
  | "done" | "restored"
  | "failed";

export interface TuningStatus {
  state: TuningState;
  reason?: string;
  /** Kernels decided, and in all. */
  done: number;
  total: number;
  /** Kernels that run tuned, and their time over the defaults'. */
  winners: { name: string; gain: number }[];
  stats?: TuneStats;
  device?: unknown;
}

/** The model whose kernels are tuned. */
export interface Tunable {
  work(): Promise<TuneWork>;
  /** Takes a winner into use, in all threads together, from the next run on. */
  adopt(winner: Winner): Promise<void>;
  /** Resolves when no run is going on. */
  idle(): Promise<void>;
}

export interface TuningOptions {
  /** "auto": not on phones, under Save-Data or with little memory. */
  mode: "auto" | "on" | "off";
  /** Addresses of Pyodide's folder and of the wheel; null where the site carries none. */
  files: () => Promise<{ pyodide: string; wheel: string } | null>;
  limitMs: number;
  spawn: () => Worker;
  onChange?: (status: TuningStatus) => void;
}

/** How long Python may take to boot, ms: under a policy that forbids it, it never would. */
const BOOT_MS = 60_000;
/** Less memory than this, GB, is left to the page. */
const MEMORY_GB = 4;

export class Tuner {
  readonly #model: Tunable;
  readonly #options: TuningOptions;
  #status: TuningStatus = { state: "waiting", done: 0, total: 0, winners: [] };
  #worker: Worker | null = null;
  #finish: (() => void) | null = null;
  #stopped = false;
  #paused = false;

  constructor(model: Tunable, options: TuningOptions) {
    this.#model = model;
    this.#options = options;
  }

  get status(): TuningStatus {
    return this.#status;
  }

  /** Takes what earlier visits found into use, then tunes the rest when the page is idle. Never rejects. */
  async run(): Promise<void> {
    const reason = this.#refusal();
    const store = await TunedKernels.open();
    try {
      if (this.#options.mode === "off") return this.#change({ state: "off", reason: reason! });
      const work = await this.#model.work();
      const left = await this.#restore(work, store);
      if (left.length === 0) return this.#change({ state: "restored" });
      if (reason) return this.#change({ state: "off", reason });
      this.#change({ state: "waiting" });
      await idle();
      await this.#model.idle();
      const files = await this.#options.files();
      if (!files) return this.#change({ state: "off", reason: "the site carries no tuner (it was built with --no-tune)" });
      if (!this.#stopped) await this.#tune({ ...work, tasks: left }, files, store);
    } catch (error) {
      this.#change({ state: "failed", reason: String(error) });
    } finally {
      store?.close();
    }
  }

  /** Between two timings, so within some milliseconds. */
  pause(): void {
    this.#paused = true;
    if (!this.#worker) return;
    this.#worker.postMessage({ kind: "pause" } satisfies ToTuner);
    this.#change({ state: "paused" });
  }

  resume(): void {
    this.#paused = false;
    if (this.#status.state !== "paused") return;
    this.#worker?.postMessage({ kind: "resume" } satisfies ToTuner);
    this.#change({ state: "tuning" });
  }

  stop(): void {
    this.#stopped = true;
    if (this.#finish) this.#finish();
    else if (this.#status.state === "waiting") this.#change({ state: "off", reason: "stopped" });
  }

  #change(change: Partial<TuningStatus>): void {
    this.#status = { ...this.#status, ...change };
    this.#options.onChange?.(this.#status);
  }

  /** Why nothing may be tuned here; null if it may. */
  #refusal(): string | null {
    const { mode } = this.#options;
    if (mode === "off") return "tuning is switched off";
    if (mode === "on") return null;
    const { connection, deviceMemory, userAgentData } = navigator as Navigator & {
      connection?: { saveData?: boolean };
      deviceMemory?: number;
      userAgentData?: { mobile?: boolean };
    };
    if (connection?.saveData) return "the visitor asks to save data";
    if (userAgentData?.mobile ?? /Mobi|Android/i.test(navigator.userAgent)) return "not on phones unless asked";
    if (deviceMemory !== undefined && deviceMemory < MEMORY_GB) return `the device has ${deviceMemory} GB of memory`;
    return null;
  }

  /** Adopts stored winners; answers the tasks of which nothing is known. */
  async #restore(work: TuneWork, store: TunedKernels | null): Promise<TuneTask[]> {
    this.#change({ total: work.tasks.length });
    const left: TuneTask[] = [];
    for (const task of work.tasks) {
      const found = await store?.get(task, work);
      if (found === undefined) left.push(task);
      // The number of a kernel is the plan's, which may be another's than the one that was tuned.
      else if (found && !(await this.#adopt({ ...found, kernel: task.kernel, name: task.name }))) {
        await store?.forget(task, work);
        left.push(task);
      } else this.#change({ done: this.#status.done + 1 });
    }
    return left;
  }

  async #adopt(winner: Winner): Promise<boolean> {
    try {
      await this.#model.adopt(winner);
    } catch {
      return false;  // discarded: the default goes on
    }
    this.#change({ winners: [...this.#status.winners, { name: winner.name, gain: winner.gain }] });
    return true;
  }

  #tune(job: TuneWork, files: { pyodide: string; wheel: string }, store: TunedKernels | null): Promise<void> {
    const { tasks, shared } = job;
    return new Promise((resolve) => {
      const worker = (this.#worker = this.#options.spawn());
      let work: Promise<unknown> = Promise.resolve();
      const finish = (change: Partial<TuningStatus>): void => {
        clearTimeout(boot);
        worker.terminate();
        this.#worker = this.#finish = null;
        // What was decided before is adopted and stored first.
        void work.then(() => {
          this.#change(change);
          resolve();
        });
      };
      this.#finish = () => finish({ state: "off", reason: "stopped" });
      const boot = setTimeout(() => finish({ state: "failed", reason: `Python has not started after ${BOOT_MS / 1000} s` }), BOOT_MS);
      const decide = async (task: TuneTask, winner: Winner | null): Promise<void> => {
        if (winner && !(await this.#adopt(winner))) winner = null;
        await store?.put(task, job, winner);
        this.#change({ done: this.#status.done + 1 });
      };
      worker.addEventListener("error", (event) => finish({ state: "failed", reason: event.message || "the tuner could not be started" }));
      worker.addEventListener("message", ({ data }: MessageEvent<FromTuner>) => {
        switch (data.kind) {
          case "progress":
            if (data.stage !== "booting") clearTimeout(boot);
            if (this.#status.state !== "paused") this.#change({ state: data.stage });
            break;
          case "decided": {
            const task = tasks[data.task];
            if (task) work = work.then(() => decide(task, data.winner)).catch(() => undefined);
            break;
          }
          case "done":
            finish({ state: "done", stats: data.stats, device: data.device, ...(data.reason && { reason: data.reason }) });
            break;
          case "failed":
            finish({ state: "failed", reason: data.reason });
        }
      });
      const { limitMs } = this.#options;
      worker.postMessage({ kind: "start", ...files, tasks, shared, limitMs } satisfies TuneStart);
      if (this.#paused) this.pause();
    });
  }
}

/** When the page has nothing else to do. */
function idle(): Promise<void> {
  return new Promise((resolve) => {
    if (typeof requestIdleCallback === "function") requestIdleCallback(() => resolve(), { timeout: 10_000 });
    else setTimeout(resolve, 1000);
  });
}
