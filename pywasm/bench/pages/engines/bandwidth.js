// How fast a thread's Wasm reads memory that no cache holds.
// options: { wasm (base64), bytes, step: bytes of an iteration of its loop }.
const PAGE_BYTES = 65536;
const SUMS = 0; // a page before what is read

const decode = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

export default class {
  async start({ options: { wasm, bytes, step } }) {
    const pages = Math.ceil(bytes / PAGE_BYTES);
    const memory = new WebAssembly.Memory({ initial: 1 + pages, maximum: 65536 });
    // Pages that were never written are all one page of zeros.
    new Uint8Array(memory.buffer).fill(1, PAGE_BYTES);
    const { instance } = await WebAssembly.instantiate(decode(wasm), { env: { memory } });
    const steps = Math.floor(bytes / step);
    this.bytes = steps * step;
    this.read = () => instance.exports.run(SUMS, PAGE_BYTES, steps, 0, 1);
    // The first code is slow, and is replaced between calls only.
    instance.exports.run(SUMS, PAGE_BYTES, 1, 0, 1);
    this.read();
    return {};
  }

  /** GB/s of each of some rounds. */
  rates(rounds) {
    return Array.from({ length: rounds }, () => {
      const before = performance.now();
      this.read();
      return this.bytes / (performance.now() - before) / 1e6;
    });
  }
}
