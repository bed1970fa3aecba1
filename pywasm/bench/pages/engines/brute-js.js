// Brute force in plain JavaScript: what a page can do with no library at all. Also exact.
export default class {
  async start({ vectors, dim }) {
    this.vectors = vectors;
    this.dim = dim;
    return { version: "" };
  }

  search(query, k) {
    const { vectors, dim } = this;
    const best = new Float64Array(k).fill(-Infinity);
    const rows = new Int32Array(k).fill(-1);
    const count = vectors.length / dim;
    for (let row = 0, at = 0; row < count; row++, at += dim) {
      // Four sums let the processor overlap additions; V8 does not vectorise.
      let a = 0, b = 0, c = 0, d = 0;
      for (let i = 0; i < dim; i += 4) {
        a += query[i] * vectors[at + i];
        b += query[i + 1] * vectors[at + i + 1];
        c += query[i + 2] * vectors[at + i + 2];
        d += query[i + 3] * vectors[at + i + 3];
      }
      const score = a + b + (c + d);
      if (score <= best[k - 1]) continue;
      let place = k - 1;
      for (; place > 0 && best[place - 1] < score; place--) {
        best[place] = best[place - 1];
        rows[place] = rows[place - 1];
      }
      best[place] = score;
      rows[place] = row;
    }
    return rows;
  }

  ids = (rows) => [...rows];
}
