// What the encoders of sentences share: inputs made ahead, one loop that measures.

/** Mean over the tokens of each row (none is padding), then unit length: f32[batch][dim]. */
export function pooled(hidden, batch, seq) {
  const dim = hidden.length / (batch * seq);
  return Array.from({ length: batch }, (_, row) => {
    const mean = new Float64Array(dim);
    for (let token = 0; token < seq; token++) {
      const at = (row * seq + token) * dim;
      for (let i = 0; i < dim; i++) mean[i] += hidden[at + i];
    }
    const length = Math.hypot(...mean);
    return Array.from(mean, (value) => value / length);
  });
}

/** Subclasses have `input(ids, batch, seq)`, `run(input)` and `embedding(input, answer)`. */
export class Sentences {
  #input = null;

  /** ids: batch * seq token ids, nothing padded. Replaces what was prepared before. */
  async prepare({ ids, batch, seq }) {
    this.#input = await this.input(ids, batch, seq);
  }

  /** f32[batch][dim] of what was prepared. */
  async embed() {
    return this.embedding(this.#input, await this.run(this.#input));
  }

  /** Milliseconds of each of `count` runs, after `warm` that are not measured. */
  async time({ warm, count }) {
    const times = [];
    for (let number = -warm; number < count; number++) {
      const before = performance.now();
      await this.run(this.#input);
      if (number >= 0) times.push(performance.now() - before);
    }
    return times;
  }
}
