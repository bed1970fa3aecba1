/**
 * What an index keeps beside its pages, in one IndexedDB database: which generation is current (its
 * manifest), the one to come, and the log of changes since the current one was built.
 */
import type { PackedRows } from "./pack.ts";
import { answer, deleteDatabase, finished, openDatabase } from "./pages/idb.ts";
import { databaseName, type Meta } from "./stored.ts";

export type { Meta };

export type LogEntry = { op: "insert"; rows: PackedRows } | { op: "delete"; ids: string[] };

export class Database {
  readonly #database: IDBDatabase;

  private constructor(database: IDBDatabase) {
    this.#database = database;
  }

  static async open(index: string): Promise<Database> {
    return new Database(await openDatabase(databaseName(index), (database) => {
      database.createObjectStore("meta");
      database.createObjectStore("log", { autoIncrement: true });
    }));
  }

  static async remove(index: string): Promise<void> {
    await deleteDatabase(databaseName(index));
  }

  async get<K extends keyof Meta>(key: K): Promise<Meta[K] | undefined> {
    return answer<Meta[K] | undefined>(this.#read("meta").get(key));
  }

  /** What open needs, in one transaction; `logged`: how many entries the log has. */
  async start(): Promise<Partial<Meta> & { logged: number }> {
    const transaction = this.#database.transaction(["meta", "log"], "readonly");
    const meta = transaction.objectStore("meta");
    const [logged, current, next, config, full] = await Promise.all([
      answer(transaction.objectStore("log").count()),
      ...(["current", "next", "config", "full"] as const).map((key) => answer<unknown>(meta.get(key))),
    ]);
    return { current, next, config, full, logged } as Partial<Meta> & { logged: number };
  }

  async put<K extends keyof Meta>(key: K, value: Meta[K]): Promise<void> {
    await this.#write("meta", {}, (meta) => meta.put(value, key));
  }

  /** `next` becomes `current`. */
  async advance(current: Meta["current"]): Promise<void> {
    await this.#write("meta", {}, (meta) => {
      meta.put(current, "current");
      meta.delete("next");
    });
  }

  /** Appends entries, all or none, on disk when it returns; the answer is the last one's number. */
  async append(entries: readonly LogEntry[]): Promise<number> {
    let last: IDBRequest<IDBValidKey> | undefined;
    await this.#write("log", { durability: "strict" }, (log) => {
      for (const entry of entries) last = log.add(entry);
    });
    return (last?.result as number | undefined) ?? 0;
  }

  /** Whether the log has any entry. */
  async hasChanges(): Promise<boolean> {
    return (await answer(this.#read("log").count())) > 0;
  }

  /** Up to `limit` entries after number `after`. */
  async entries(after: number, limit: number): Promise<{ number: number; entry: LogEntry }[]> {
    const log = this.#read("log");
    const range = IDBKeyRange.lowerBound(after, true);
    const [numbers, values] = await Promise.all([answer(log.getAllKeys(range, limit)), answer<LogEntry[]>(log.getAll(range, limit))]);
    return numbers.map((number, index) => ({ number: number as number, entry: values[index]! }));
  }

  /** Makes a compacted generation the current one and drops the part of the log that is in it. */
  async compacted(current: Meta["current"], upTo: number): Promise<void> {
    const transaction = this.#database.transaction(["meta", "log"], "readwrite", { durability: "strict" });
    transaction.objectStore("meta").put(current, "current");
    transaction.objectStore("meta").delete("next");
    transaction.objectStore("log").delete(IDBKeyRange.upperBound(upTo));
    await finished(transaction);
  }

  close(): void {
    this.#database.close();
  }

  #read(name: "meta" | "log"): IDBObjectStore {
    return this.#database.transaction(name, "readonly").objectStore(name);
  }

  async #write(name: "meta" | "log", options: IDBTransactionOptions, work: (store: IDBObjectStore) => void): Promise<void> {
    const transaction = this.#database.transaction(name, "readwrite", options);
    work(transaction.objectStore(name));
    await finished(transaction);
  }
}
