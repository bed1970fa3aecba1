// A decoder in onnxruntime-web on Wasm: the whole prompt in one run, then token after token, KV from
// one run's outputs to the next run's inputs as transformers.js does.
// options: { model: address of an .onnx file, threads, layers, kvHeads, headDim }.
import * as ort from "/peers/onnxruntime-web/dist/ort.wasm.min.mjs";
import { Decoding, fetched } from "./decoding.js";

const integers = (numbers) => new ort.Tensor("int64", BigInt64Array.from(numbers, BigInt), [1, numbers.length]);

export default class extends Decoding {
  async start({ options: { model, threads, layers, kvHeads, headDim } }) {
    ort.env.wasm.numThreads = threads;
    ort.env.wasm.wasmPaths = new URL("/peers/onnxruntime-web/dist/", import.meta.url).href;
    const bytes = new Uint8Array(await (await fetched(model)).arrayBuffer());
    this.session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"], graphOptimizationLevel: "all" });
    this.parts = [];
    for (let layer = 0; layer < layers; layer++) this.parts.push(`key.${layer}`, `value.${layer}`);
    this.empty = () => new ort.Tensor("float32", new Float32Array(0), [1, kvHeads, 0, headDim]);
    return {};
  }

  async decode({ ids }, count, onToken) {
    const found = [];
    let length = ids.length;
    let given = ids;
    let past = Object.fromEntries(this.parts.map((part) => [`past_${part}`, this.empty()]));
    while (true) {
      const mask = integers(new Array(length).fill(1));
      const outputs = await this.session.run({ input_ids: integers(given), attention_mask: mask, ...past });
      const { data } = outputs.logits;
      let best = 0;
      for (let id = 1; id < data.length; id++) if (data[id] > data[best]) best = id;
      found.push(best);
      onToken();
      if (found.length === count) return { ids: found };
      past = Object.fromEntries(this.parts.map((part) => [`past_${part}`, outputs[`present_${part}`]]));
      given = [best];
      length++;
    }
  }
}
