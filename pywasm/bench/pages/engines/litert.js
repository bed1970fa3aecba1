// LiteRT.js on Wasm (XNNPACK). It is loaded by a script element, so on a page, not in a worker.
// options: { models: addresses of .tflite files by "batch x seq", threads }.
import { Tensor, loadAndCompile, loadLiteRt } from "/peers/@litertjs/core/dist/index.js";
import { Sentences, pooled } from "./sentence.js";

export default class extends Sentences {
  #model = null;

  async start({ options: { models, threads } }) {
    this.models = models;
    this.threads = threads;
    await loadLiteRt(new URL("/peers/@litertjs/core/wasm/", import.meta.url).href, { threads: threads > 1 });
    return {};
  }

  /** A .tflite file is of one shape: the model before is given back. */
  async input(ids, batch, seq) {
    this.#model?.delete();
    const options = { accelerator: "wasm", cpuOptions: { numThreads: this.threads } };
    this.#model = await loadAndCompile(this.models[`${batch}x${seq}`], options);
    return { batch, seq, ids: Int32Array.from(ids) };
  }

  async run({ ids, batch, seq }) {
    const input = new Tensor(ids, [batch, seq]);
    const [output] = await this.#model.run(input);
    const hidden = output.toTypedArray().slice();
    input.delete();
    output.delete();
    return hidden;
  }

  embedding = ({ batch, seq }, hidden) => pooled(hidden, batch, seq);
}
