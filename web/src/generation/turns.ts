/** Who computes next: one at a time, in the order in which they asked. Several generations so go on token by token. */
import { pause } from "../inference/pause.ts";

export class Turns {
  #queue: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #busy = false;

  /** Turns that were asked for and have not begun. */
  get waiting(): number {
    return this.#waiting;
  }

  take<T>(work: () => Promise<T>): Promise<T> {
    this.#waiting++;
    const turn = this.#queue.then(async () => {
      this.#waiting--;
      this.#busy = true;
      try {
        // An abort that was posted is heard before each token.
        await pause();
        return await work();
      } finally {
        this.#busy = false;
      }
    });
    this.#queue = turn.catch(() => undefined);
    return turn;
  }

  /** Fulfilled when nobody has asked for a turn for a moment: after what has been posted here was heard. */
  async idle(): Promise<void> {
    do {
      await this.#queue;
      await pause();
    } while (this.#busy || this.#waiting > 0);
  }
}
