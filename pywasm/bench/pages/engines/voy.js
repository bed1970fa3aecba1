// Voy: a k-d tree in Rust. It has no parameter; its package expects a bundler that understands
// `import ... from "x.wasm"`, so the module is instantiated by hand.
import * as glue from "/peers/voy-search/voy_search_bg.js";

export default class {
  async start({ vectors, dim }) {
    const module = fetch("/peers/voy-search/voy_search_bg.wasm");
    const { instance } = await WebAssembly.instantiateStreaming(module, { "./voy_search_bg.js": glue });
    glue.__wbg_set_wasm(instance.exports);
    const count = vectors.length / dim;
    const embeddings = [];
    for (let i = 0; i < count; i++)
      embeddings.push({
        id: String(i),
        title: "",
        url: "",
        embeddings: Array.from(vectors.subarray(i * dim, (i + 1) * dim)),
      });
    this.index = new glue.Voy({ embeddings });
    return {};
  }

  search(query, k) {
    return this.index.search(query, k);
  }

  ids = ({ neighbors }) => neighbors.map(({ id }) => Number(id));
}
