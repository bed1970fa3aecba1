/**
 * Pages in the origin private file system: one file a generation, read and written through a
 * synchronous handle, which only a worker can have and only one at a time (leader.ts shares it).
 * The file starts with the bitmap of present pages, in as many pages as that takes.
 */
import { PAGE_BYTES } from "../generated/abi.ts";
import { PageBitmap } from "./bitmap.ts";
import type { PageStore } from "./tier.ts";

/** What this file needs of the worker's type library, which can't be loaded together with the DOM's. */
interface SyncAccessHandle {
  read(target: Uint8Array<ArrayBuffer>, options: { at: number }): number;
  write(source: Uint8Array<ArrayBuffer>, options: { at: number }): number;
  flush(): void;
  close(): void;
}

const ROOT = "pywasm";

export class OpfsStore implements PageStore {
  readonly tier = "opfs";
  readonly #handle: SyncAccessHandle;
  readonly #present: PageBitmap;
  readonly #start: number;
  #dirty = false;

  private constructor(handle: SyncAccessHandle, pages: number) {
    this.#handle = handle;
    this.#start = Math.max(1, Math.ceil(pages / 8 / PAGE_BYTES)) * PAGE_BYTES;
    const stored = new Uint8Array(Math.ceil(pages / 8));
    this.#present = new PageBitmap(pages, stored.subarray(0, handle.read(stored, { at: 0 })));
  }

  /** Fails where there is no OPFS, where it is denied, and while another tab holds the file. */
  static async open(directory: FileSystemDirectoryHandle, generation: string, pages: number | Promise<number>): Promise<OpfsStore> {
    const file = await directory.getFileHandle(`${generation}.pages`, { create: true });
    const handle = await (file as unknown as { createSyncAccessHandle(): Promise<SyncAccessHandle> }).createSyncAccessHandle();
    return new OpfsStore(handle, await pages);
  }

  get count(): number {
    return this.#present.count;
  }

  get bitmap(): Uint8Array<ArrayBuffer> {
    return this.#present.bytes;
  }

  has(page: number): boolean {
    return this.#present.has(page);
  }

  readNow(page: number, target: Uint8Array): boolean {
    if (!this.#present.has(page)) return false;
    return this.#handle.read(target as Uint8Array<ArrayBuffer>, { at: this.#start + page * PAGE_BYTES }) === target.byteLength;
  }

  async read(pages: readonly number[]): Promise<Map<number, Uint8Array>> {
    const found = new Map<number, Uint8Array>();
    for (const page of pages) {
      const bytes = new Uint8Array(PAGE_BYTES);
      if (this.readNow(page, bytes)) found.set(page, bytes);
    }
    return found;
  }

  async write(pages: ReadonlyMap<number, Uint8Array>): Promise<void> {
    for (const [page, bytes] of pages) {
      const written = this.#handle.write(bytes as Uint8Array<ArrayBuffer>, { at: this.#start + page * PAGE_BYTES });
      if (written < bytes.byteLength) throw new DOMException("the file could not grow", "QuotaExceededError");
      this.#present.set(page, true);
      this.#dirty = true;
    }
  }

  forget(page: number): void {
    this.#present.set(page, false);
    this.#dirty = true;
  }

  async flush(): Promise<void> {
    if (!this.#dirty) return;
    this.#dirty = false;
    this.#handle.write(this.#present.bytes, { at: 0 });
    this.#handle.flush();
  }

  close(): void {
    if (this.#dirty) this.#handle.write(this.#present.bytes, { at: 0 });
    this.#handle.close();
  }
}

/** The directory of an index's generations; made where there is none. Fails where there is no OPFS. */
export function opfsDirectory(index: string): Promise<FileSystemDirectoryHandle> {
  return indexDirectory(index, true);
}

/** Generations of an index that have a file here. */
export async function opfsGenerations(index: string): Promise<string[]> {
  const names: string[] = [];
  try {
    for await (const name of (await indexDirectory(index, false)).keys()) names.push(name.replace(/\.pages$/, ""));
  } catch {
    // No such directory, or no OPFS: nothing is stored.
  }
  return names;
}

export async function removeOpfsGeneration(index: string, generation: string): Promise<void> {
  const directory = await indexDirectory(index, false);
  await directory.removeEntry(`${generation}.pages`);
}

export async function removeOpfs(index: string): Promise<void> {
  const root = await (await navigator.storage.getDirectory()).getDirectoryHandle(ROOT);
  await root.removeEntry(encodeURIComponent(index), { recursive: true });
}

async function indexDirectory(index: string, create: boolean): Promise<FileSystemDirectoryHandle> {
  const root = await (await navigator.storage.getDirectory()).getDirectoryHandle(ROOT, { create });
  return root.getDirectoryHandle(encodeURIComponent(index), { create });
}
