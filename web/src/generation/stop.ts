/** Stop strings in a stream of text: what may be the beginning of one is held back. */

export class StopStrings {
  readonly #stops: readonly string[];
  #held = "";
  #stopped = false;

  /** None of `stops` is empty. */
  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  /** True once a stop string has come; nothing after it counts. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** Takes the next text; answers what is certain to stand before any stop string. */
  push(text: string): string {
    if (this.#stopped) return "";
    const whole = this.#held + text;
    let end = Infinity;
    for (const stop of this.#stops) {
      const at = whole.indexOf(stop);
      if (at >= 0 && at < end) end = at;
    }
    if (end < Infinity) {
      this.#stopped = true;
      this.#held = "";
      return whole.slice(0, end);
    }
    const keep = Math.max(0, ...this.#stops.map((stop) => overlap(whole, stop)));
    this.#held = whole.slice(whole.length - keep);
    return whole.slice(0, whole.length - keep);
  }

  /** What was held back: the text has ended, and it was no stop string. */
  flush(): string {
    const held = this.#held;
    this.#held = "";
    return held;
  }
}

/** Length of the longest beginning of `stop`, not all of it, that `text` ends with. */
function overlap(text: string, stop: string): number {
  for (let length = Math.min(text.length, stop.length - 1); length > 0; length--) {
    if (text.endsWith(stop.slice(0, length))) return length;
  }
  return 0;
}
