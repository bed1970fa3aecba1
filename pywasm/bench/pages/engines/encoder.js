// Ours: a plan that `pywasm compile` wrote, run by a Session.
// options: { module: address of encoder.js, model: folder of the plan, open: options of open(),
// tuning: address of tuning.js, folder: that of the tuner (both only for kernels tuned here) }.
import { Sentences } from "./sentence.js";

export default class extends Sentences {
  #options;
  #opened = null;

  async start({ options }) {
    this.#options = options;
    return {};
  }

  /** Kernels are tuned on one shape: each begins with the defaults again. */
  async input(ids, batch, seq) {
    const input = { inputs: { ids: Int32Array.from(ids), lengths: new Int32Array(batch).fill(seq) }, sizes: { batch, seq } };
    const { module, model, open, tuning } = this.#options;
    if (tuning || !this.#opened) {
      await this.#opened?.close();
      const { Session } = await import(module);
      this.#opened = await Session.open(model, open);
    }
    if (tuning) {
      await this.run(input);
      this.tuned = await this.#tune();
    }
    return input;
  }

  /** Resolves with the tuner's status when it has ended. */
  async #tune() {
    const { tuning, folder } = this.#options;
    const { tune } = await import(tuning);
    const status = await new Promise((resolve) => {
      const ends = new Set(["done", "restored", "failed", "off"]);
      const onChange = (status) => ends.has(status.state) && resolve(status);
      tune(this.#opened, { mode: "on", folder, onChange });
    });
    if (status.state !== "done" && status.state !== "restored") throw new Error(`tuning ended ${status.state}: ${status.reason}`);
    return status;
  }

  run = ({ inputs, sizes }) => this.#opened.run(inputs, sizes);

  embedding({ sizes: { batch } }, { embedding }) {
    const values = Array.from(embedding);
    const dim = values.length / batch;
    return Array.from({ length: batch }, (_, row) => values.slice(row * dim, (row + 1) * dim));
  }

  status = () => this.#opened.status();

  tuning = () => this.tuned;
}
