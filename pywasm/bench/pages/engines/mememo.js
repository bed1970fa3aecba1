// Mememo (SIGIR 2024): HNSW in JavaScript over Maps, vectors in memory.
import { HNSW } from "/peers/mememo/dist/index.es.js";

export default class {
  async start({ vectors, dim, options: { m, efConstruction } }) {
    this.index = new HNSW({
      distanceFunction: "cosine-normalized",
      m,
      efConstruction,
      useIndexedDB: false,
      seed: 100,
    });
    const count = vectors.length / dim;
    for (let row = 0; row < count; row += 1000) {
      const keys = [];
      const values = [];
      for (let i = row; i < Math.min(count, row + 1000); i++) {
        keys.push(String(i));
        values.push(Array.from(vectors.subarray(i * dim, (i + 1) * dim)));
      }
      await this.index.bulkInsert(keys, values);
    }
    return {};
  }

  search(query, k, { ef }) {
    return this.index.query(Array.from(query), k, ef);
  }

  ids = ({ keys }) => keys.map(Number);
}
