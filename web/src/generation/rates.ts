/**
 * How fast this device computes KV and brings it from elsewhere, learned from what it does: which
 * source is the cheapest, and what losing something costs.
 */

/** How much of what was learned is kept with each new measurement. */
const MEMORY = 0.97;
/** Chunks shorter than this run another way (a token at a time) and tell nothing about prefill. */
const PREFILL_TOKENS = 8;

/** A source that costs a wait and then so much a byte. */
class Transfer {
  /** ms a byte. */
  #rate: number;

  constructor(bytesPerMs: number) {
    this.#rate = 1 / bytesPerMs;
  }

  learn(bytes: number, ms: number): void {
    if (bytes <= 0 || !(ms >= 0)) return;
    this.#rate += (ms / bytes - this.#rate) / 4;
  }

  ms(bytes: number): number {
    return bytes * this.#rate;
  }
}

export class Rates {
  /** Local storage, until it is measured: a slow IndexedDB. */
  readonly storage = new Transfer(200e3);
  /** The host, until it is measured: 20 Mbit/s. */
  readonly network = new Transfer(2.5e3);

  // Weighted least squares of ms a token against position: attention makes later tokens dearer. The
  // two measurements it starts from are a phone's.
  #weight = 0;
  #position = 0;
  #position2 = 0;
  #ms = 0;
  #positionMs = 0;

  constructor() {
    this.#observe(0, 5, 0.01);
    this.#observe(1000, 7, 0.01);
  }

  /** `tokens` from position `start` on were computed together in `ms`. */
  computed(start: number, tokens: number, ms: number): void {
    if (tokens < PREFILL_TOKENS || !(ms > 0)) return;
    this.#observe(start + tokens / 2, ms / tokens, tokens);
  }

  #observe(position: number, ms: number, weight: number): void {
    this.#weight = this.#weight * MEMORY + weight;
    this.#position = this.#position * MEMORY + weight * position;
    this.#position2 = this.#position2 * MEMORY + weight * position * position;
    this.#ms = this.#ms * MEMORY + weight * ms;
    this.#positionMs = this.#positionMs * MEMORY + weight * position * ms;
  }

  /** ms to compute `tokens` from position `start` on. */
  computeMs(start: number, tokens: number): number {
    const spread = this.#weight * this.#position2 - this.#position ** 2;
    const measured = (this.#weight * this.#positionMs - this.#position * this.#ms) / spread;
    const slope = spread > 0 && measured > 0 ? measured : 0;
    const base = (this.#ms - slope * this.#position) / this.#weight;
    return tokens * Math.max(base + slope * (start + tokens / 2), this.#ms / this.#weight / 10);
  }
}
