/** How long recent queries took. */

const kept = 120;

export class Latency {
  #samples: number[] = [];

  add(milliseconds: number): void {
    this.#samples.push(milliseconds);
    if (this.#samples.length > kept) this.#samples.shift();
  }

  get samples(): readonly number[] {
    return this.#samples;
  }

  /** The smallest sample that a share `q` (0 to 1) of the samples do not exceed; NaN without samples. */
  quantile(q: number): number {
    const sorted = [...this.#samples].sort((a, b) => a - b);
    return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? NaN;
  }
}
