/**
 * The entry of tuning.js: makes the kernels of an open model faster on the visitor's device.
 *
 *   const tuner = tune(encoder, { folder: "/site/tune/" });
 *   tuner.status  // { state, done, total, winners, ... }
 */
import type { Session } from "../inference/encoder.ts";
import type { Winner } from "./messages.ts";
import { Tuner, type TuningStatus } from "./tuner.ts";

export type { TuneStats } from "./messages.ts";
export type { TuningState, TuningStatus } from "./tuner.ts";
export { Tuner };

export interface TuneOptions {
  /** "auto" (default): not on phones, under Save-Data or with little memory; "on": there, too. */
  mode?: "auto" | "on" | "off";
  /** The folder that `pywasm build` writes: tune.json, Pyodide and the wheel of pywasm_jit. */
  folder: string | URL;
  /** Most time for tuning once Python runs, ms; default 20,000. */
  limitMs?: number;
  /** Where tuner-worker.js is; default: beside tuning.js. */
  workerUrl?: string | URL;
  onChange?: (status: TuningStatus) => void;
}

/** What the folder holds. */
interface Contents {
  /** Addresses, relative to the folder. */
  pyodide: string;
  wheel: string;
}

const LIMIT_MS = 20_000;

/** Starts: restores what earlier visits found, then tunes the rest when the page is idle. */
export function tune(model: Session, { mode = "auto", folder, limitMs = LIMIT_MS, workerUrl, onChange }: TuneOptions): Tuner {
  const tuner = new Tuner({
    work: () => model.tuneWork(),
    adopt: async ({ kernel, name, grid, module }: Winner) => model.adopt({
      module: await WebAssembly.compile(module as Uint8Array<ArrayBuffer>),
      kernels: [{ kernel, export: name, grid: grid as never }],
    }),
    // Calls are answered in order: this one when no run is going on.
    idle: async () => void (await model.status()),
  }, {
    mode,
    limitMs,
    files: () => contents(new URL(folder, location.href)),
    // A classic worker: see worker.ts.
    spawn: () => (workerUrl ? new Worker(workerUrl, { name: "pywasm-tuner" }) : new Worker(new URL("./tuner-worker.js", import.meta.url), { name: "pywasm-tuner" })),
    ...(onChange && { onChange }),
  });
  void tuner.run();
  return tuner;
}

/** null where the site carries no tuner. */
async function contents(folder: URL): Promise<{ pyodide: string; wheel: string } | null> {
  const response = await fetch(new URL("tune.json", folder), { cache: "no-cache" });
  if (response.status === 404) return null;
  if (!response.ok) throw new Error(`${response.url}: HTTP ${response.status}`);
  const { pyodide, wheel } = (await response.json()) as Contents;
  return { pyodide: new URL(pyodide, folder).href, wheel: new URL(wheel, folder).href };
}
