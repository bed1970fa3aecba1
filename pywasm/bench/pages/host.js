// Runs one engine: the same code in a worker (worker.js) and on the page (harness.js), so that
// every engine is measured under the same conditions by the same loop.

const f32 = async (url) => {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: HTTP ${response.status}`);
  return new Float32Array(await response.arrayBuffer());
};

export class Host {
  #engine;
  #queries = [];
  #k = 10;

  /** Load an adapter (engines/*.js) and let it build or open its index. Returns { ms, ... }. */
  async start({ engine, options, vectors, dim }) {
    const { default: Engine } = await import(`./engines/${engine}.js`);
    this.#engine = new Engine();
    const data = vectors === undefined ? undefined : await f32(vectors);
    const started = performance.now();
    const more = await this.#engine.start({ vectors: data, dim, options });
    return { ms: performance.now() - started, ...more };
  }

  /** Copy the queries in as separate arrays, as an application would hold them. */
  async queries({ url, dim, k }) {
    const all = await f32(url);
    this.#queries = [];
    for (let at = 0; at < all.length; at += dim) this.#queries.push(all.slice(at, at + dim));
    this.#k = k;
    return this.#queries.length;
  }

  /**
   * Search for queries [from, from + count) (modulo their number), one at a time.
   * Returns the milliseconds of each search, or of each `batch` of them divided by `batch`, and
   * what was found if `ids`. An engine that answers synchronously is not made to wait.
   */
  async run({ parameter, from, count, batch = 1, ids = false }) {
    const engine = this.#engine;
    const queries = this.#queries;
    const total = queries.length;
    const times = [];
    const found = [];
    for (let done = 0; done < count; done += batch) {
      const before = performance.now();
      for (let i = 0; i < batch; i++) {
        let answer = engine.search(queries[(from + done + i) % total], this.#k, parameter);
        if (answer instanceof Promise) answer = await answer;
        if (ids) found.push(answer);
      }
      times.push((performance.now() - before) / batch);
    }
    // What it takes to make a list of ids of an answer is not the engine's time.
    return { times, ids: ids ? found.map((answer) => engine.ids(answer)) : undefined };
  }

  /** Any further method of the adapter. */
  async call({ method, argument }) {
    return this.#engine[method](argument);
  }

  /** The smallest step of performance.now() here, in milliseconds. */
  async timer() {
    let smallest = Infinity;
    for (let i = 0; i < 50; i++) {
      const before = performance.now();
      let now = before;
      while (now === before) now = performance.now();
      smallest = Math.min(smallest, now - before);
    }
    return smallest;
  }
}
