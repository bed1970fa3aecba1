// onnxruntime-web on Wasm. options: { model: address of an .onnx file, threads }.
import * as ort from "/peers/onnxruntime-web/dist/ort.wasm.min.mjs";
import { Sentences, pooled } from "./sentence.js";

export default class extends Sentences {
  async start({ options: { model, threads } }) {
    ort.env.wasm.numThreads = threads;
    ort.env.wasm.wasmPaths = new URL("/peers/onnxruntime-web/dist/", import.meta.url).href;
    const bytes = new Uint8Array(await (await fetch(model)).arrayBuffer());
    this.session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"], graphOptimizationLevel: "all" });
    return {};
  }

  input(ids, batch, seq) {
    const tensor = (numbers) => new ort.Tensor("int64", BigInt64Array.from(numbers, BigInt), [batch, seq]);
    const feeds = { input_ids: tensor(ids), attention_mask: tensor(ids.map(() => 1)), token_type_ids: tensor(ids.map(() => 0)) };
    return { batch, seq, feeds };
  }

  run = ({ feeds }) => this.session.run(feeds);

  embedding = ({ batch, seq }, { last_hidden_state }) => pooled(last_hidden_state.data, batch, seq);
}
