/** The KV arena: blocks of equal size from an address to the end of a WebAssembly memory. */
import { PAGE_BYTES } from "../inference/layout.ts";
import type { Arena } from "./blocks.ts";

export class MemoryArena implements Arena {
  readonly blockBytes: number;
  readonly #memory: WebAssembly.Memory;
  readonly #address: number;

  constructor(memory: WebAssembly.Memory, address: number, blockBytes: number) {
    this.#memory = memory;
    this.#address = address;
    this.blockBytes = blockBytes;
  }

  get capacity(): number {
    return Math.max(0, Math.floor((this.#memory.buffer.byteLength - this.#address) / this.blockBytes));
  }

  grow(blocks: number): boolean {
    const missing = this.#address + (this.capacity + blocks) * this.blockBytes - this.#memory.buffer.byteLength;
    try {
      this.#memory.grow(Math.max(0, Math.ceil(missing / PAGE_BYTES)));
      return true;
    } catch {
      return false;
    }
  }

  /** A view of the moment. */
  bytes(block: number): Uint8Array {
    return new Uint8Array(this.#memory.buffer, this.#address + block * this.blockBytes, this.blockBytes);
  }

  copyBlock(from: number, to: number): void {
    this.bytes(to).set(this.bytes(from));
  }
}
