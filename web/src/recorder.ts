/** Where the time of one search goes: stages relative to its start, and User Timing entries on request. */
import type { Stage } from "./types.ts";

export class Recorder {
  readonly #started = performance.now();
  readonly #marks: boolean;
  readonly stages: Stage[] = [];

  constructor(marks: boolean) {
    this.#marks = marks;
  }

  /** Times `work` as stage `name`. */
  async stage<T>(name: string, work: () => Promise<T> | T): Promise<T> {
    const from = performance.now();
    try {
      return await work();
    } finally {
      const to = performance.now();
      this.stages.push({ name, start: from - this.#started, ms: to - from });
      if (this.#marks) performance.measure(`pywasm:${name}`, { start: from, end: to });
    }
  }
}
