/**
 * Files of KV and conversations in local storage, immutable and by name: in the origin private file
 * system, or in IndexedDB where there is none. A file is there whole or not at all.
 */
import { answer, finished, openDatabase } from "../pages/idb.ts";

export interface StoredFile {
  /** Bytes. */
  readonly size: number;
  /** Puts `bytes` from `at` on into what `target` answers, which is asked again after each wait (memory moves when it grows); false where there are not so many. */
  read(at: number, bytes: number, target: () => Uint8Array): Promise<boolean>;
  close(): void;
}

export interface KvStore {
  readonly tier: "opfs" | "indexeddb";
  /** Of all tabs: only who holds this Web Lock changes anything. */
  readonly lock: string;
  names(): Promise<string[]>;
  /** null if there is no such file (any more). */
  open(name: string): Promise<StoredFile | null>;
  /** Stores the parts one after the other; each may be changed once the next is asked for. Rejects where they don't fit; then there is nothing of it. */
  write(name: string, parts: Iterable<Uint8Array>): Promise<void>;
  remove(name: string): Promise<void>;
  /** Removes what writers that died left behind; under the lock, or another tab's work is taken for it. */
  sweep(): Promise<void>;
  /** Removes all. */
  clear(): Promise<void>;
  close(): void;
}

const ROOT = "pywasm-kv";

/** The best that there is for the model at `address`; null where nothing can be stored. */
export async function openKvStore(address: string): Promise<KvStore | null> {
  try {
    return await OpfsRecords.open(address);
  } catch {
    // No file system here, or denied.
  }
  try {
    return await DatabaseRecords.open(address);
  } catch {
    return null;
  }
}

/** What this file needs of the worker's type library, which can't be loaded together with the DOM's. */
interface SyncAccessHandle {
  read(target: Uint8Array, options: { at: number }): number;
  write(source: Uint8Array, options: { at: number }): number;
  truncate(bytes: number): void;
  getSize(): number;
  flush(): void;
  close(): void;
}

type WithHandle = { createSyncAccessHandle?(options: { mode: string }): Promise<SyncAccessHandle> };

/** The end of the name of a file that is being written through a handle. */
const PARTIAL = ".part";

class OpfsRecords implements KvStore {
  readonly tier = "opfs";
  readonly lock: string;
  readonly #directory: FileSystemDirectoryHandle;

  private constructor(address: string, directory: FileSystemDirectoryHandle) {
    this.lock = `${ROOT} ${address}`;
    this.#directory = directory;
  }

  static async open(address: string): Promise<OpfsRecords> {
    const directory = await opfsDirectory(address);
    // Without either nothing can be written.
    const prototype = FileSystemFileHandle.prototype;
    if (!("createWritable" in prototype) && !("createSyncAccessHandle" in prototype)) throw new Error("files can't be written");
    return new OpfsRecords(address, directory);
  }

  async names(): Promise<string[]> {
    const names: string[] = [];
    for await (const name of this.#directory.keys()) {
      // The browser's own name of a stream that is being written.
      if (!name.endsWith(PARTIAL) && !name.endsWith(".crswap")) names.push(name);
    }
    return names;
  }

  async open(name: string): Promise<StoredFile | null> {
    const file = await this.#directory.getFileHandle(name).catch(() => null);
    if (!file) return null;
    try {
      const handle = await (file as WithHandle).createSyncAccessHandle!({ mode: "read-only" });
      return { size: handle.getSize(), read: async (at, bytes, target) => handle.read(target(), { at }) === bytes, close: () => handle.close() };
    } catch {
      // On a page, or another tab has it open in a browser without shared handles.
    }
    const blob = await file.getFile().catch(() => null);
    return blob && {
      size: blob.size,
      read: async (at, bytes, target) => {
        const found = new Uint8Array(await blob.slice(at, at + bytes).arrayBuffer());
        if (found.length === bytes) target().set(found);
        return found.length === bytes;
      },
      close: () => undefined,
    };
  }

  async write(name: string, parts: Iterable<Uint8Array>): Promise<void> {
    if ("createWritable" in FileSystemFileHandle.prototype) return this.#stream(name, parts);
    const partial = await this.#directory.getFileHandle(name + PARTIAL, { create: true });
    try {
      await throughHandle(partial, parts);
      await (partial as unknown as { move(name: string): Promise<void> }).move(name);
    } catch (error) {
      await this.remove(name + PARTIAL);
      throw error;
    }
  }

  /** What a stream wrote becomes the file when it is closed, not before. */
  async #stream(name: string, parts: Iterable<Uint8Array>): Promise<void> {
    const file = await this.#directory.getFileHandle(name, { create: true });
    let stream: FileSystemWritableFileStream | null = null;
    try {
      stream = await file.createWritable();
      for (const part of parts) await stream.write(part as Uint8Array<ArrayBuffer>);
      await stream.close();
    } catch (error) {
      await stream?.abort().catch(() => undefined);
      await this.remove(name);
      throw error;
    }
  }

  async remove(name: string): Promise<void> {
    await this.#directory.removeEntry(name).catch(() => undefined);
  }

  async sweep(): Promise<void> {
    for await (const name of this.#directory.keys()) {
      if (name.endsWith(PARTIAL)) await this.remove(name);
    }
  }

  async clear(): Promise<void> {
    for await (const name of this.#directory.keys()) await this.remove(name);
  }

  close(): void {}
}

async function opfsDirectory(address: string): Promise<FileSystemDirectoryHandle> {
  const root = await (await navigator.storage.getDirectory()).getDirectoryHandle(ROOT, { create: true });
  return root.getDirectoryHandle(encodeURIComponent(address), { create: true });
}

async function throughHandle(file: FileSystemFileHandle, parts: Iterable<Uint8Array>): Promise<void> {
  const handle = await (file as WithHandle).createSyncAccessHandle!({ mode: "readwrite" });
  try {
    handle.truncate(0);
    let at = 0;
    for (const part of parts) {
      if (handle.write(part, { at }) < part.byteLength) throw new DOMException("the file could not grow", "QuotaExceededError");
      at += part.byteLength;
    }
    handle.flush();
  } finally {
    handle.close();
  }
}

const FILES = "files";
const PARTS = "parts";

/** `files`: the lengths of a file's parts, written last; `parts`: their bytes, by [name, number]. */
class DatabaseRecords implements KvStore {
  readonly tier = "indexeddb";
  readonly lock: string;
  readonly #database: IDBDatabase;

  private constructor(address: string, database: IDBDatabase) {
    this.lock = `${ROOT} ${address}`;
    this.#database = database;
  }

  static async open(address: string): Promise<DatabaseRecords> {
    return new DatabaseRecords(address, await openDatabase(`${ROOT} ${address}`, (fresh) => {
      fresh.createObjectStore(FILES);
      fresh.createObjectStore(PARTS);
    }));
  }

  async names(): Promise<string[]> {
    return (await answer(this.#database.transaction(FILES).objectStore(FILES).getAllKeys())) as string[];
  }

  async open(name: string): Promise<StoredFile | null> {
    const lengths = await answer<number[] | undefined>(this.#database.transaction(FILES).objectStore(FILES).get(name));
    if (!lengths) return null;
    return {
      size: lengths.reduce((sum, length) => sum + length, 0),
      read: (at, bytes, target) => this.#read(name, lengths, at, bytes, target),
      close: () => undefined,
    };
  }

  async #read(name: string, lengths: readonly number[], at: number, bytes: number, target: () => Uint8Array): Promise<boolean> {
    const store = this.#database.transaction(PARTS).objectStore(PARTS);
    const asked: Promise<boolean>[] = [];
    let start = 0;
    for (const [number, length] of lengths.entries()) {
      const from = Math.max(start, at);
      const to = Math.min(start + length, at + bytes);
      const begin = start;
      if (from < to) asked.push(answer<Uint8Array | undefined>(store.get([name, number])).then((part) => {
        if (!part || part.length < length) return false;
        target().set(part.subarray(from - begin, to - begin), from - at);
        return true;
      }));
      start += length;
    }
    return at + bytes <= start && (await Promise.all(asked)).every(Boolean);
  }

  async write(name: string, parts: Iterable<Uint8Array>): Promise<void> {
    const lengths: number[] = [];
    try {
      // One transaction for each: no more than one part is in memory twice.
      for (const part of parts) {
        await this.#change((_, store) => store.put(part.slice(), [name, lengths.length]));
        lengths.push(part.byteLength);
      }
      await this.#change((files) => files.put(lengths, name));
    } catch (error) {
      await this.remove(name);
      throw error;
    }
  }

  async remove(name: string): Promise<void> {
    await this.#change((files, parts) => {
      files.delete(name);
      parts.delete(IDBKeyRange.bound([name], [name, []]));
    }).catch(() => undefined);
  }

  async sweep(): Promise<void> {
    const names = new Set(await this.names());
    const parts = await answer(this.#database.transaction(PARTS).objectStore(PARTS).getAllKeys());
    const left = (parts as [string, number][]).filter(([name]) => !names.has(name));
    if (left.length > 0) await this.#change((_, store) => left.forEach((key) => store.delete(key)));
  }

  async clear(): Promise<void> {
    await this.#change((files, parts) => {
      files.clear();
      parts.clear();
    });
  }

  close(): void {
    this.#database.close();
  }

  async #change(change: (files: IDBObjectStore, parts: IDBObjectStore) => void): Promise<void> {
    const transaction = this.#database.transaction([FILES, PARTS], "readwrite", { durability: "relaxed" });
    change(transaction.objectStore(FILES), transaction.objectStore(PARTS));
    await finished(transaction);
  }
}
