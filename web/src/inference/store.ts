/** Files of compiled models in local storage, whole and by name: the names tell the content. */
import { answer, deleteDatabase, finished, openDatabase } from "../pages/idb.ts";
import { SEAL_BYTES } from "./seal.ts";

export interface FileStore {
  readonly tier: "opfs" | "indexeddb";
  /** Fills `target`; answers the file's seal (seal.ts), null if the file is not there or of another length. */
  read(name: string, target: Uint8Array): Promise<string | null>;
  /** A file of any length as text; null if it is not there. */
  text(name: string): Promise<string | null>;
  /** Stores `bytes`, replacing what is there. */
  write(name: string, bytes: Uint8Array, seal: string): Promise<void>;
  /** Removes all other files. */
  keep(names: ReadonlySet<string>): Promise<void>;
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

const ROOT = "pywasm-models";
const STORE = "files";
const PIECE_BYTES = 1 << 16;  // written at once

/** The best that there is for the model at `address`; null where nothing can be stored. */
export async function openStore(address: string): Promise<FileStore | null> {
  try {
    return await OpfsFiles.open(address);
  } catch {
    // No file system here, or denied.
  }
  try {
    return await DatabaseFiles.open(address);
  } catch {
    return null;
  }
}

/** Removes what is stored of the model at `address`. */
export async function removeStore(address: string): Promise<void> {
  await Promise.allSettled([
    (async () => {
      const root = await (await navigator.storage.getDirectory()).getDirectoryHandle(ROOT);
      await root.removeEntry(encodeURIComponent(address), { recursive: true });
    })(),
    (async () => deleteDatabase(databaseName(address)))(),
  ]);
}

/** The origin private file system, through synchronous handles: reads go straight into the target. */
class OpfsFiles implements FileStore {
  readonly tier = "opfs";
  readonly #directory: FileSystemDirectoryHandle;

  private constructor(directory: FileSystemDirectoryHandle) {
    this.#directory = directory;
  }

  static async open(address: string): Promise<OpfsFiles> {
    const root = await (await navigator.storage.getDirectory()).getDirectoryHandle(ROOT, { create: true });
    const directory = await root.getDirectoryHandle(encodeURIComponent(address), { create: true });
    if (!("createSyncAccessHandle" in FileSystemFileHandle.prototype)) throw new Error("no synchronous handles");
    return new OpfsFiles(directory);
  }

  async read(name: string, target: Uint8Array): Promise<string | null> {
    const file = await this.#directory.getFileHandle(name);
    const seal = new Uint8Array(SEAL_BYTES);
    const size = target.byteLength + SEAL_BYTES;
    let handle: SyncAccessHandle;
    try {
      handle = await open(file, "read-only");
    } catch {
      // Another tab has it open, in a browser without shared handles.
      const blob = await file.getFile();
      if (blob.size !== size) return null;
      const bytes = new Uint8Array(await blob.arrayBuffer());
      target.set(bytes.subarray(0, target.byteLength));
      return ascii(bytes.subarray(target.byteLength));
    }
    try {
      if (handle.getSize() !== size || handle.read(target, { at: 0 }) !== target.byteLength) return null;
      handle.read(seal, { at: target.byteLength });
      return ascii(seal);
    } finally {
      handle.close();
    }
  }

  async text(name: string): Promise<string | null> {
    const file = await this.#directory.getFileHandle(name).catch(() => null);
    return file && (await file.getFile()).text();
  }

  /** A file torn by a crash fails its seal and is fetched again. */
  async write(name: string, bytes: Uint8Array, seal: string): Promise<void> {
    const file = await this.#directory.getFileHandle(name, { create: true });
    const end = new TextEncoder().encode(seal);
    // Chromium's renderer crashed, once in 70 pages left, when a worker ended while a synchronous handle wrote.
    if ("createWritable" in file) return stream(await file.createWritable(), bytes, end);
    const handle = await open(file, "readwrite");
    try {
      handle.truncate(0);
      const written = handle.write(bytes, { at: 0 }) + handle.write(end, { at: bytes.byteLength });
      if (written < bytes.byteLength + end.byteLength) throw new DOMException("the file could not grow", "QuotaExceededError");
      handle.flush();
    } finally {
      handle.close();
    }
  }

  async keep(names: ReadonlySet<string>): Promise<void> {
    for await (const name of this.#directory.keys()) {
      if (!names.has(name)) await this.#directory.removeEntry(name);
    }
  }
}

function ascii(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

/** Through one small buffer: memory that threads share can't be written, and copies of it all would be as large as it. */
async function stream(to: FileSystemWritableFileStream, bytes: Uint8Array, end: Uint8Array): Promise<void> {
  const buffer = new Uint8Array(PIECE_BYTES);
  try {
    for (let at = 0; at < bytes.byteLength; at += PIECE_BYTES) {
      const piece = bytes.subarray(at, at + PIECE_BYTES);
      buffer.set(piece);
      await to.write(buffer.subarray(0, piece.byteLength));
    }
    await to.write(end.slice());
    await to.close();
  } catch (error) {
    await to.abort().catch(() => undefined);
    throw error;
  }
}

/** Browsers that know no `mode` give an exclusive handle. */
function open(file: FileSystemFileHandle, mode: "read-only" | "readwrite"): Promise<SyncAccessHandle> {
  return (file as unknown as { createSyncAccessHandle(options: { mode: string }): Promise<SyncAccessHandle> }).createSyncAccessHandle({ mode });
}

interface FileRecord {
  bytes: ArrayBuffer;
  seal: string;
}

/** IndexedDB, where there is no file system for workers: one database a model, a record a file. */
class DatabaseFiles implements FileStore {
  readonly tier = "indexeddb";
  readonly #database: IDBDatabase;

  private constructor(database: IDBDatabase) {
    this.#database = database;
  }

  static async open(address: string): Promise<DatabaseFiles> {
    return new DatabaseFiles(await openDatabase(databaseName(address), (fresh) => void fresh.createObjectStore(STORE)));
  }

  async read(name: string, target: Uint8Array): Promise<string | null> {
    const { bytes, seal } = (await this.#get(name)) ?? {};
    if (bytes?.byteLength !== target.byteLength) return null;
    target.set(new Uint8Array(bytes));
    return seal ?? null;
  }

  async text(name: string): Promise<string | null> {
    const record = await this.#get(name);
    return record ? new TextDecoder().decode(record.bytes) : null;
  }

  async write(name: string, bytes: Uint8Array, seal: string): Promise<void> {
    const transaction = this.#database.transaction(STORE, "readwrite", { durability: "relaxed" });
    transaction.objectStore(STORE).put({ bytes: bytes.slice().buffer, seal } satisfies FileRecord, name);
    await finished(transaction);
  }

  async keep(names: ReadonlySet<string>): Promise<void> {
    const transaction = this.#database.transaction(STORE, "readwrite");
    const store = transaction.objectStore(STORE);
    for (const name of await answer(store.getAllKeys())) {
      if (!names.has(name as string)) store.delete(name);
    }
    await finished(transaction);
  }

  #get(name: string): Promise<FileRecord | undefined> {
    return answer(this.#database.transaction(STORE, "readonly").objectStore(STORE).get(name) as IDBRequest<FileRecord | undefined>);
  }
}

function databaseName(address: string): string {
  return `${ROOT} ${address}`;
}
