/** Runs one operation of the engine: steps it, brings the pages it wants, gives its result. */
import type { Engine } from "./engine.ts";
import { PywasmError, throwIfAborted } from "./error.ts";
import type { Pager } from "./pages/pager.ts";
import type { PwOperation } from "./generated/abi.ts";

/** Steps an operation may take without any of the pages it wants arriving, before that is an error. */
const MOST_FRUITLESS = 100;

export interface Wait {
  /** Time spent waiting for pages, ms. */
  ms: number;
  pages: number;
}

/** The operation's result (a copy). `wait` is added to. */
export async function run(
  engine: Engine, pager: Pager, kind: PwOperation, message: Uint8Array, signal?: AbortSignal, wait?: Wait,
): Promise<Uint8Array<ArrayBuffer>> {
  await engine.usable();
  throwIfAborted(signal);
  const operation = engine.begin(kind, message);
  try {
    let fruitless = 0;
    while (!engine.step(operation)) {
      const started = performance.now();
      const needed = engine.needed(operation);
      const absent = pager.bringNow(needed);
      // As long as something came, the operation can go on; only a step without anything waits.
      if (absent.length > 0) {
        await orAborted(pager.bring(absent), signal);
        const came = needed.length > absent.length || absent.some((page) => engine.present(page));
        fruitless = came ? 0 : fruitless + 1;
        if (fruitless > MOST_FRUITLESS) throw new PywasmError("memory", "the page cache is too small for the operations that are running: raise `memory`");
        if (fruitless > 0) await new Promise((resolve) => setTimeout(resolve, 1));
      }
      if (wait) {
        wait.ms += performance.now() - started;
        wait.pages += needed.length;
      }
    }
    return engine.result(operation);
  } finally {
    engine.end(operation);
  }
}

/** `work`, or the abort if that comes first; the work itself goes on for whoever shares it. */
export async function orAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work;
  throwIfAborted(signal);
  let stop: () => void = () => undefined;
  const abort = new Promise<never>((_, reject) => {
    stop = () => {
      try {
        throwIfAborted(signal);
      } catch (error) {
        reject(error);
      }
    };
    signal.addEventListener("abort", stop, { once: true });
  });
  try {
    return await Promise.race([work, abort]);
  } finally {
    signal.removeEventListener("abort", stop);
    work.catch(() => undefined);
  }
}
