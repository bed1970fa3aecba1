// Matrix products and the loops of the SIMD peak, each a module of its own in one memory.
// options.modules: {name, wasm, flops} with {steps} (a peak) or {shape: [rows, K, N], grid}.
const MEMORY_PAGES = 256;
const VALUES = 4096; // what the peak's chains start from: f32[56]
const A = 1 << 16;
const WARM_MS = 60; // enough for the optimising compiler to replace the first code
const SAMPLE_MS = 3;

const decode = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const encode = (bytes) => {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
};

export default class {
  #memory = new WebAssembly.Memory({ initial: MEMORY_PAGES, maximum: 65536 });
  #runs = new Map();

  async start({ options: { modules } }) {
    const numbers = new Float32Array(this.#memory.buffer);
    for (let i = 0; i < numbers.length; i++) numbers[i] = Math.random() - 0.5;
    for (const { name, wasm, flops, steps, shape, grid } of modules) {
      const { instance } = await WebAssembly.instantiate(decode(wasm), { env: { memory: this.#memory } });
      const { run } = instance.exports;
      if (steps) {
        // Factors below one: what is added up stays far from infinity.
        const call = () => run(VALUES, steps, 0, 1);
        this.#runs.set(name, { call, flops });
      } else {
        const [rows, inner, columns] = shape;
        const b = A + rows * inner * 4;
        const c = b + inner * columns * 4;
        const call = () => run(A, b, c, rows, 0, grid);
        this.#runs.set(name, { call, flops, b, c, bytes: rows * columns * 4 });
      }
    }
  }

  /** c of the given a and b, all raw f32 in base64. */
  product({ name, a, b }) {
    const run = this.#runs.get(name);
    const bytes = new Uint8Array(this.#memory.buffer);
    bytes.set(decode(a), A);
    bytes.set(decode(b), run.b);
    bytes.fill(0xff, run.c, run.c + run.bytes);
    run.call();
    return encode(bytes.subarray(run.c, run.c + run.bytes));
  }

  /** GFLOP/s of each by round: lists by name, paired by their index. */
  measure(rounds) {
    const subjects = [];
    for (const [name, { call, flops }] of this.#runs) {
      const end = performance.now() + WARM_MS;
      while (performance.now() < end) call();
      const before = performance.now();
      call();
      const count = Math.max(1, Math.ceil(SAMPLE_MS / (performance.now() - before)));
      subjects.push({ name, call, count, work: (flops * count) / 1e6 });
    }
    const rates = Object.fromEntries(subjects.map(({ name }) => [name, []]));
    for (let round = 0; round < rounds; round++) {
      // Another one first each time.
      for (let i = 0; i < subjects.length; i++) {
        const { name, call, count, work } = subjects[(i + round) % subjects.length];
        const before = performance.now();
        for (let n = 0; n < count; n++) call();
        rates[name].push(work / (performance.now() - before));
      }
    }
    return rates;
  }
}
