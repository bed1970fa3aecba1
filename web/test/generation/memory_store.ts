/** A store of KV records that can run full, be damaged and be interrupted. */
import type { KvStore, StoredFile } from "../../src/generation/kv_store.ts";

export class MemoryStore implements KvStore {
  readonly tier = "opfs";
  readonly lock = `memory ${Math.random()}`;
  readonly files = new Map<string, Uint8Array>();
  /** Bytes that fit. */
  quota = Infinity;
  /** Called before each part is taken. */
  onPart: (part: number) => void = () => undefined;
  writes = 0;

  get bytes(): number {
    let bytes = 0;
    for (const file of this.files.values()) bytes += file.length;
    return bytes;
  }

  async names(): Promise<string[]> {
    return [...this.files.keys()];
  }

  async open(name: string): Promise<StoredFile | null> {
    const file = this.files.get(name);
    return file ? {
      size: file.length,
      read: async (at, bytes, target) => {
        if (at + bytes > file.length) return false;
        await Promise.resolve();
        target().set(file.subarray(at, at + bytes));
        return true;
      },
      close: () => undefined,
    } : null;
  }

  async write(name: string, parts: Iterable<Uint8Array>): Promise<void> {
    this.writes++;
    const pieces: number[] = [];
    let part = 0;
    for (const piece of parts) {
      this.onPart(part++);
      await Promise.resolve();
      pieces.push(...piece);
      if (this.bytes + pieces.length > this.quota) throw new DOMException("full", "QuotaExceededError");
    }
    this.files.set(name, Uint8Array.from(pieces));
  }

  async remove(name: string): Promise<void> {
    this.files.delete(name);
  }

  async sweep(): Promise<void> {}

  async clear(): Promise<void> {
    this.files.clear();
  }

  close(): void {}
}
