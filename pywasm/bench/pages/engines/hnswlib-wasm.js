// hnswlib-wasm: hnswlib compiled by Emscripten, without SIMD.
// It was built for pages only and looks for `window`; in a worker we give it one.
globalThis.window ??= globalThis;
const { loadHnswlib } = await import("/peers/hnswlib-wasm/dist/hnswlib.js");

export default class {
  async start({ vectors, dim, options: { m, efConstruction, batch = 1000 } }) {
    const library = await loadHnswlib();
    const count = vectors.length / dim;
    // Vectors are normalised, so the inner product orders as the cosine does.
    this.index = new library.HierarchicalNSW("ip", dim, "");
    this.index.initIndex(count, m, efConstruction, 100);
    const rates = [];
    for (let row = 0; row < count; row += batch) {
      const end = Math.min(count, row + batch);
      const before = performance.now();
      for (let i = row; i < end; i++)
        this.index.addPoint(vectors.subarray(i * dim, (i + 1) * dim), i, false);
      rates.push(((end - row) * 1e3) / (performance.now() - before));
    }
    return { rates };
  }

  search(query, k, { ef }) {
    if (ef !== this.ef) this.index.setEfSearch((this.ef = ef));
    return this.index.searchKnn(query, k, undefined);
  }

  ids = ({ neighbors }) => [...neighbors];
}
