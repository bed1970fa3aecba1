/** The tuner in Python, as TypeScript sees it: pywasm_jit.tuning in Pyodide. */

/** What is used of Pyodide's API (the npm package's own types pull in Emscripten's). */
interface Pyodide {
  unpackArchive(archive: ArrayBuffer, format: "wheel"): void;
  pyimport(name: string): PyModule;
}
interface PyModule {
  Session(start: string): PySession;
}
interface PyBytes {
  toJs(): Uint8Array;
  destroy(): void;
}
interface PySession {
  ask(): string;
  module(number: number): PyBytes;
  winner(shared: boolean): PyBytes;
  probe(name: string): PyBytes;
  describe(device: string): void;
  answer(times: string): void;
}

/** Time these candidates; 0 is the default. */
export interface Ask {
  /** Index into the tasks; -1: all is done. */
  task: number;
  candidates: number[];
  /** Of each: the end of its grid on the task's extents. */
  grids: number[];
  samples: number;
  /** Tasks decided since the last ask; null: the default stays. At most one has a winner. */
  decided: { task: number; winner: { number: number; steps: unknown[]; grid: unknown; gain: number } | null }[];
}

/** A tuning session; every call is a call into Python. */
export class PythonTuner {
  readonly #session: PySession;

  private constructor(session: PySession) {
    this.#session = session;
  }

  /** Boots Python from `folder` and loads the wheel. `start`: what pywasm_jit.tuning.Session takes. */
  static async boot(folder: string, wheel: string, start: unknown): Promise<PythonTuner> {
    const address = new URL("pyodide.mjs", folder).href;
    looksLikeModuleWorker();
    const [{ loadPyodide }, archive] = await Promise.all([
      // Its address is known only to the site; a bundler must leave it alone.
      import(/* @vite-ignore */ /* webpackIgnore: true */ address) as Promise<{ loadPyodide(options: { indexURL: string }): Promise<Pyodide> }>,
      fetchBytes(wheel),
    ]);
    const python = await loadPyodide({ indexURL: folder });
    python.unpackArchive(archive, "wheel");
    return new PythonTuner(python.pyimport("pywasm_jit.tuning").Session(JSON.stringify(start)));
  }

  ask(): Ask {
    return JSON.parse(this.#session.ask()) as Ask;
  }

  /** The module of a candidate of the current task. */
  module(number: number): Uint8Array<ArrayBuffer> {
    return owned(this.#session.module(number));
  }

  /** The module of the winner that the last ask() told of. */
  winner(shared: boolean): Uint8Array<ArrayBuffer> {
    return owned(this.#session.winner(shared));
  }

  /** The module of a loop that measures the device, by its name in tuning.py. */
  probe(name: string): Uint8Array<ArrayBuffer> {
    return owned(this.#session.probe(name));
  }

  describe(device: unknown): void {
    this.#session.describe(JSON.stringify(device));
  }

  /** Seconds, a list for each candidate asked for; empty where it failed. */
  answer(times: readonly (readonly number[])[]): void {
    this.#session.answer(JSON.stringify(times));
  }
}

/**
 * Pyodide 314 refuses a worker in which importScripts works, although all it needs is import(), which
 * a classic worker has, too; and in a module worker it hangs under a policy with only wasm-unsafe-eval.
 */
function looksLikeModuleWorker(): void {
  Object.defineProperty(globalThis, "importScripts", {
    value: () => { throw new TypeError("scripts are loaded by import()"); },
  });
}

async function fetchBytes(address: string): Promise<ArrayBuffer> {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address}: HTTP ${response.status}`);
  return response.arrayBuffer();
}

function owned(bytes: PyBytes): Uint8Array<ArrayBuffer> {
  const copy = new Uint8Array(bytes.toJs());
  bytes.destroy();
  return copy;
}
