// LiteRT.js on Wasm (XNNPACK). It is loaded by a script element, so on a page, not in a worker.
// options: { model: address of a .tflite file, which is of one shape, threads }.
import { Tensor, loadAndCompile, loadLiteRt } from "/peers/@litertjs/core/dist/index.js";
import { Sentences, pooled } from "./sentence.js";

export default class extends Sentences {
  async start({ options: { model, threads } }) {
    await loadLiteRt(new URL("/peers/@litertjs/core/wasm/", import.meta.url).href, { threads: threads > 1 });
    this.model = await loadAndCompile(model, { accelerator: "wasm", cpuOptions: { numThreads: threads } });
    return {};
  }

  input = (ids, batch, seq) => ({ batch, seq, ids: Int32Array.from(ids) });

  async run({ ids, batch, seq }) {
    const input = new Tensor(ids, [batch, seq]);
    const [output] = await this.model.run(input);
    const hidden = output.toTypedArray().slice();
    input.delete();
    output.delete();
    return hidden;
  }

  embedding = ({ batch, seq }, hidden) => pooled(hidden, batch, seq);
}
