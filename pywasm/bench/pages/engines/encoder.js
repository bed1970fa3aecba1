// Ours: a plan that `pywasm compile` wrote, run by a Session.
// options: { module: address of encoder.js, model: folder of the plan, open: options of open() }.
import { Sentences } from "./sentence.js";

export default class extends Sentences {
  async start({ options: { module, model, open } }) {
    const { Session } = await import(module);
    this.session = await Session.open(model, open);
    return this.session.status();
  }

  input(ids, batch, seq) {
    const inputs = { ids: Int32Array.from(ids), lengths: new Int32Array(batch).fill(seq) };
    return { inputs, sizes: { batch, seq } };
  }

  run = ({ inputs, sizes }) => this.session.run(inputs, sizes);

  embedding({ sizes: { batch } }, { embedding }) {
    const values = Array.from(embedding);
    const dim = values.length / batch;
    return Array.from({ length: batch }, (_, row) => values.slice(row * dim, (row + 1) * dim));
  }

  status = () => this.session.status();
}
