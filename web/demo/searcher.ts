/** Runs what the view asks for: one query at a time, the newest wins. */

import type { Index, Results } from "../src/pywasm.ts";
import { toFilter, type View } from "./view.ts";

export interface Outcome {
  results: Results;
  /** Milliseconds from the call of the library to its answer. */
  milliseconds: number;
  /** False for keyword results that are shown while the vector search still runs. */
  final: boolean;
}

/** Typing faster than this runs one query, for what was typed last. */
const debounce = 40;

export class Searcher {
  readonly #index: Index;
  readonly #show: (outcome: Outcome) => void;
  readonly #fail: (error: unknown) => void;
  #running: AbortController | null = null;
  #waiting: number | undefined;

  constructor(index: Index, show: (outcome: Outcome) => void, fail: (error: unknown) => void) {
    this.#index = index;
    this.#show = show;
    this.#fail = fail;
  }

  /** Runs the view's query once nothing newer came for a moment. */
  soon(view: View, k: number): void {
    this.cancel();
    this.#waiting = setTimeout(() => { void this.now(view, k); }, debounce);
  }

  /** Runs the view's query; what was running is aborted and never shown. */
  async now(view: View, k: number): Promise<void> {
    this.cancel();
    const running = new AbortController();
    this.#running = running;
    const start = performance.now();
    const report = (results: Results, final: boolean): void => {
      if (!running.signal.aborted) this.#show({ results, milliseconds: performance.now() - start, final });
    };
    try {
      report(await this.#query(view, k, running.signal, (partial) => { report(partial, false); }), true);
    } catch (error) {
      if (!running.signal.aborted) this.#fail(error);
    } finally {
      if (this.#running === running) this.#running = null;
    }
  }

  cancel(): void {
    clearTimeout(this.#waiting);
    this.#running?.abort();
    this.#running = null;
  }

  #query(view: View, k: number, signal: AbortSignal, onPartial: (partial: Results) => void): Promise<Results> {
    const filter = toFilter(view.filters);
    const options = { k, signal, onPartial, ...(filter ? { filter } : {}) };
    if (view.suggestion !== null) return this.#index.suggest(view.suggestion, { ...options, mode: view.mode });
    if (view.like !== null) return this.#index.similar(view.like, options);
    // The last word is still being typed unless a space follows it. The default mode does without meaning where data is to be saved.
    const mode = view.mode === "hybrid" || !this.#index.encoder ? {} : { mode: view.mode };
    return this.#index.search(view.query, { ...options, ...mode, prefix: !/\s$/.test(view.query) });
  }
}
