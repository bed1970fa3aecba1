// One kernel in many schedules, timed against one another as the product's tuner times them
// (web/src/tuning/measure.ts), for a tuner that runs outside of the browser.
const PAGE_BYTES = 65536;
const ALIGN = 64;
const WARM_MS = 8;

const decode = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

export default class {
  #memory = null;
  #places = [];
  #args = [];
  #calls = new Map();
  #expected = null;

  start = () => ({});

  /** Whether this browser compiles the module. */
  valid = (wasm) => WebAssembly.validate(decode(wasm));

  /** GFLOP/s of a loop of pywasm_jit.device, the best of some rounds. */
  async peak({ wasm, args, flops }) {
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 65536 });
    const { instance } = await WebAssembly.instantiate(decode(wasm), { env: { memory } });
    let best = Infinity;
    for (let round = 0; round < 20; round++) {
      const before = performance.now();
      instance.exports.run(...args);
      best = Math.min(best, performance.now() - before);
    }
    return flops / best / 1e6;
  }

  /** Buffers [{bytes, kind: "f32" | "bytes" | "ids" (0, 1, 2, ...), written}] and the extents' values, in the kernel's order. */
  load({ buffers, extents }) {
    let address = ALIGN;
    this.#places = buffers.map((buffer) => {
      const place = { ...buffer, address };
      address += Math.ceil(buffer.bytes / ALIGN) * ALIGN;
      return place;
    });
    this.#memory = new WebAssembly.Memory({ initial: Math.ceil(address / PAGE_BYTES), maximum: 65536 });
    for (const { kind, bytes, address: at } of this.#places) {
      if (kind === "f32") new Float32Array(this.#memory.buffer, at, bytes / 4).forEach((_, i, all) => (all[i] = Math.sin(i)));
      else if (kind === "ids") new Int32Array(this.#memory.buffer, at, bytes / 4).forEach((_, i, all) => (all[i] = i));
      else new Uint8Array(this.#memory.buffer, at, bytes).forEach((_, i, all) => (all[i] = (i * 37) & 0x7f));
    }
    this.#args = [...this.#places.map(({ address: at }) => at), ...extents];
    this.#calls.clear();
    this.#expected = null;
  }

  /** Schedules [{number, wasm, grid}]; the first ever gives what all others must. The numbers of those that do. */
  async add(schedules) {
    const right = [];
    for (const { number, wasm, grid } of schedules) {
      const { instance } = await WebAssembly.instantiate(decode(wasm), { env: { memory: this.#memory } });
      const call = () => instance.exports.run(...this.#args, 0, grid);
      const written = this.#places.filter((place) => place.written);
      for (const { address, bytes } of written) new Uint8Array(this.#memory.buffer, address, bytes).fill(0xff);
      call();
      const found = written.map(({ address, bytes }) => new Uint8Array(this.#memory.buffer.slice(address, address + bytes)));
      this.#expected ??= found;
      if (!found.every((all, i) => all.every((byte, at) => byte === this.#expected[i][at]))) continue;
      this.#calls.set(number, { call, count: 0 });
      right.push(number);
    }
    return right;
  }

  /** A function of a module with a memory of its own, after `prepare(...)`. */
  async add_other({ number, wasm, prepare, name }) {
    const { instance } = await WebAssembly.instantiate(decode(wasm), {});
    instance.exports._initialize();
    instance.exports.prepare(...prepare);
    this.#calls.set(number, { call: instance.exports[name], count: 0 });
  }

  /** Seconds of a call: `samples` of each of `numbers`, interleaved, each of about `ms`. */
  measure({ numbers, samples, ms }) {
    const subjects = numbers.map((number) => this.#calls.get(number));
    for (const subject of subjects) {
      const end = performance.now() + WARM_MS;
      do subject.call(); while (performance.now() < end);
      let count = 1;
      for (;;) {
        const took = this.#time(subject.call, count);
        if (took >= ms / 2) {
          subject.count = Math.max(1, Math.ceil((count * ms) / took));
          break;
        }
        count *= 2;
      }
    }
    const times = numbers.map(() => []);
    for (let sample = 0; sample < samples; sample++) {
      subjects.forEach(({ call, count }, index) => times[index].push(this.#time(call, count) / 1e3 / count));
    }
    return times;
  }

  #time(call, count) {
    const before = performance.now();
    for (let i = 0; i < count; i++) call();
    return performance.now() - before;
  }
}
