/** Which pages a store holds: one bit a page, kept beside the pages. A wrong bit is harmless, pages have checksums. */
export class PageBitmap {
  readonly bytes: Uint8Array<ArrayBuffer>;
  #count = 0;

  /** `stored` may be shorter (a store that is new) or null. */
  constructor(pages: number, stored: Uint8Array | null = null) {
    this.bytes = new Uint8Array(Math.ceil(pages / 8));
    if (stored) this.bytes.set(stored.subarray(0, this.bytes.byteLength));
    for (const byte of this.bytes) for (let bits = byte; bits > 0; bits &= bits - 1) this.#count++;
  }

  get count(): number {
    return this.#count;
  }

  has(page: number): boolean {
    return ((this.bytes[page >> 3] ?? 0) & (1 << (page & 7))) !== 0;
  }

  set(page: number, present: boolean): void {
    if (this.has(page) === present || page >> 3 >= this.bytes.byteLength) return;
    this.bytes[page >> 3]! ^= 1 << (page & 7);
    this.#count += present ? 1 : -1;
  }
}
