/** Pages in the worker's heap: where nothing may be stored, and for shards that came whole unasked. */
import type { PageStore } from "./tier.ts";

export class MemoryStore implements PageStore {
  readonly tier = "memory";
  readonly #pages = new Map<number, Uint8Array>();

  get count(): number {
    return this.#pages.size;
  }

  has(page: number): boolean {
    return this.#pages.has(page);
  }

  readNow(page: number, target: Uint8Array): boolean {
    const bytes = this.#pages.get(page);
    if (bytes?.byteLength !== target.byteLength) return false;  // neighbours are asked for one by one
    target.set(bytes);
    return true;
  }

  async read(pages: readonly number[]): Promise<Map<number, Uint8Array>> {
    const found = new Map<number, Uint8Array>();
    for (const page of pages) {
      const bytes = this.#pages.get(page);
      if (bytes) found.set(page, bytes);
    }
    return found;
  }

  async write(pages: ReadonlyMap<number, Uint8Array>): Promise<void> {
    for (const [page, bytes] of pages) this.#pages.set(page, bytes);
  }

  forget(page: number): void {
    this.#pages.delete(page);
  }

  async flush(): Promise<void> {}

  close(): void {
    this.#pages.clear();
  }
}
