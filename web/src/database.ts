/**
 * What an index keeps beside its pages, in one IndexedDB database: which generation is current (its
 * manifest), the one to come, and the log of changes since the current one was built.
 */
import { deleteDB, openDB, type DBSchema, type IDBPDatabase } from "idb";

import type { PackedRows } from "./pack.ts";
import type { CreateOptions } from "./types.ts";

export type LogEntry = { op: "insert"; rows: PackedRows } | { op: "delete"; ids: string[] };

export interface Meta {
  /** The generation in use. `manifest`: manifest.json's bytes; null for an index that is still all log. */
  current: { generation: string; manifest: ArrayBuffer | null; local: boolean };
  /** What the site serves now, for the next open. */
  next: { generation: string; manifest: ArrayBuffer };
  /** How Index.create was called. */
  config: Pick<CreateOptions, "dim" | "metric" | "dtype" | "columns">;
  /** The generation whose fill the quota stopped, and when (ms since 1970). */
  full: { generation: string; at: number };
}

interface Schema extends DBSchema {
  meta: { key: keyof Meta; value: Meta[keyof Meta] };
  log: { key: number; value: LogEntry };
}

export class Database {
  readonly #database: IDBPDatabase<Schema>;

  private constructor(database: IDBPDatabase<Schema>) {
    this.#database = database;
  }

  static async open(index: string): Promise<Database> {
    return new Database(await openDB<Schema>(databaseName(index), 1, {
      upgrade(database) {
        database.createObjectStore("meta");
        database.createObjectStore("log", { autoIncrement: true });
      },
      // Another tab clears the index: let it.
      blocking: (_current, _blocked, event) => (event.target as IDBDatabase).close(),
    }));
  }

  static async remove(index: string): Promise<void> {
    await deleteDB(databaseName(index));
  }

  async get<K extends keyof Meta>(key: K): Promise<Meta[K] | undefined> {
    return (await this.#database.get("meta", key)) as Meta[K] | undefined;
  }

  /** What open needs, in one transaction. */
  async start(): Promise<Partial<Meta>> {
    const { store } = this.#database.transaction("meta", "readonly");
    const [current, next, config, full] = await Promise.all([store.get("current"), store.get("next"), store.get("config"), store.get("full")]);
    return { current, next, config, full } as Partial<Meta>;
  }

  async put<K extends keyof Meta>(key: K, value: Meta[K]): Promise<void> {
    await this.#database.put("meta", value, key);
  }

  /** `next` becomes `current`. */
  async advance(current: Meta["current"]): Promise<void> {
    const transaction = this.#database.transaction("meta", "readwrite");
    await Promise.all([transaction.store.put(current, "current"), transaction.store.delete("next"), transaction.done]);
  }

  /** Appends entries, all or none, on disk when it returns; the answer is the last one's number. */
  async append(entries: readonly LogEntry[]): Promise<number> {
    const transaction = this.#database.transaction("log", "readwrite", { durability: "strict" });
    const keys = entries.map((entry) => transaction.store.add(entry));
    for (const key of keys) key.catch(() => undefined);
    await transaction.done;
    return (await keys.at(-1)) ?? 0;
  }

  /** Whether the log has any entry. */
  async hasChanges(): Promise<boolean> {
    return (await this.#database.count("log")) > 0;
  }

  /** Up to `limit` entries after number `after`. */
  async entries(after: number, limit: number): Promise<{ number: number; entry: LogEntry }[]> {
    const { store } = this.#database.transaction("log", "readonly");
    const range = IDBKeyRange.lowerBound(after, true);
    const [numbers, values] = await Promise.all([store.getAllKeys(range, limit), store.getAll(range, limit)]);
    return numbers.map((number, index) => ({ number, entry: values[index]! }));
  }

  /** Makes a compacted generation the current one and drops the part of the log that is in it. */
  async compacted(current: Meta["current"], upTo: number): Promise<void> {
    const transaction = this.#database.transaction(["meta", "log"], "readwrite", { durability: "strict" });
    await Promise.all([
      transaction.objectStore("meta").put(current, "current"),
      transaction.objectStore("meta").delete("next"),
      transaction.objectStore("log").delete(IDBKeyRange.upperBound(upTo)),
      transaction.done,
    ]);
  }

  close(): void {
    this.#database.close();
  }
}

function databaseName(index: string): string {
  return `pywasm ${index}`;
}
