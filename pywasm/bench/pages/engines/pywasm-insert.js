// Ours as an index that lives in the browser and is filled row by row.
export default class {
  async start({ vectors, dim, options: { module, batch } }) {
    this.library = await import(module);
    this.vectors = vectors;
    this.dim = dim;
    this.index = await this.library.Index.create("bench", { dim, thread: "inline", storage: "memory" });
    return { rates: await this.#fill(this.index, vectors.length / dim, batch) };
  }

  async #fill(index, count, batch) {
    const { vectors, dim } = this;
    const rates = [];
    for (let row = 0; row < count; row += batch) {
      const rows = [];
      for (let i = row; i < Math.min(count, row + batch); i++)
        rows.push({ id: String(i), vector: vectors.subarray(i * dim, (i + 1) * dim) });
      const before = performance.now();
      await index.insert(rows);
      rates.push((rows.length * 1e3) / (performance.now() - before));
    }
    return rates;
  }

  /** The same with every batch made durable before the next; rows per second of each batch. */
  async durable({ rows }) {
    const index = await this.library.Index.create("bench-durable", {
      dim: this.dim,
      thread: "inline",
      storage: ["indexeddb"],
    });
    const rates = await this.#fill(index, rows, 1000);
    await index.clear();
    await index.close();
    return rates;
  }

  search(query, k, parameter) {
    return this.index.search(query, { k, ...parameter });
  }

  ids = ({ hits }) => hits.map(({ id }) => Number(id));
}
