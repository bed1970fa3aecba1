// wllama: llama.cpp in WebAssembly, in a worker that it starts. Lives on the page.
// options: { model: address of a .gguf file, threads, context }.
import { Wllama, LoggerWithoutDebug } from "/peers/@wllama/wllama/esm/index.js";
import { Decoding, fetched } from "./decoding.js";

const WASM = new URL("/peers/@wllama/wllama/esm/wasm/wllama.wasm", import.meta.url).href;

export default class extends Decoding {
  async start({ options: { model, threads, context } }) {
    this.engine = new Wllama({ default: WASM }, { suppressNativeLog: true, logger: LoggerWithoutDebug });
    await this.engine.loadModel([await (await fetched(model)).blob()], { n_ctx: context, n_threads: threads, n_gpu_layers: 0, n_parallel: 1 });
    if (this.engine.getNumThreads() !== threads) throw new Error(`wllama runs on ${this.engine.getNumThreads()} threads, not on ${threads}`);
    return {};
  }

  /** Of a text: it fails where it is given tokens. */
  async decode({ ids, text: given }, count, onToken) {
    let text = "";
    let timings;
    const onData = (chunk) => {
      const piece = chunk.choices?.[0]?.text;
      if (piece) {
        text += piece;
        onToken();
      }
      timings = chunk.timings ?? timings;
    };
    const sampling = { max_tokens: count, temperature: 0, ignore_eos: true, cache_prompt: false };
    await this.engine.createCompletion({ prompt: given, ...sampling, stream: true, onData });
    if (timings?.prompt_n !== ids.length) throw new Error(`wllama read ${timings?.prompt_n} tokens, expected ${ids.length}`);
    return { text, count: timings.predicted_n };
  }
}
