/** Pages in IndexedDB: one database a generation, one transaction a step, neighbours by one getAll. */
import { PageBitmap } from "./bitmap.ts";
import { answer, deleteDatabase, finished, openDatabase } from "./idb.ts";
import type { PageStore } from "./tier.ts";

const STORE = "pages";
/** The key of the bitmap of present pages; pages are 0 and up. */
const BITMAP = -1;

export class IndexedDbStore implements PageStore {
  readonly tier = "indexeddb";
  readonly #database: IDBDatabase;
  readonly #present: PageBitmap;
  #dirty = false;

  private constructor(database: IDBDatabase, present: PageBitmap) {
    this.#database = database;
    this.#present = present;
  }

  static async open(index: string, generation: string, pages: number): Promise<IndexedDbStore> {
    const database = await openDatabase(databaseName(index, generation), (fresh) => void fresh.createObjectStore(STORE));
    const stored = await answer<Uint8Array | undefined>(database.transaction(STORE, "readonly").objectStore(STORE).get(BITMAP));
    return new IndexedDbStore(database, new PageBitmap(pages, stored ?? null));
  }

  get count(): number {
    return this.#present.count;
  }

  has(page: number): boolean {
    return this.#present.has(page);
  }

  /** Plain requests and one promise, settled by the last answer: the transaction's end would come an exchange later. */
  read(pages: readonly number[]): Promise<Map<number, Uint8Array>> {
    const found = new Map<number, Uint8Array>();
    const transaction = this.#database.transaction(STORE, "readonly");
    const store = transaction.objectStore(STORE);
    return new Promise((resolve, reject) => {
      let waiting = 0;
      const ask = <T>(request: IDBRequest<T>, take: (value: T) => void): void => {
        waiting++;
        request.onsuccess = () => {
          take(request.result);
          if (--waiting === 0) resolve(found);
        };
      };
      const one = (page: number): void => ask(store.get(page) as IDBRequest<Uint8Array | undefined>, (bytes) => {
        if (bytes) found.set(page, bytes);
        else this.#present.set(page, false);
      });
      for (const [first, last] of runs(pages)) {
        if (first === last) one(first);
        else ask(store.getAll(IDBKeyRange.bound(first, last)) as IDBRequest<Uint8Array[]>, (values) => {
          if (values.length === last - first + 1) values.forEach((bytes, index) => found.set(first + index, bytes));
          // Some are missing: which ones only single reads tell.
          else for (let page = first; page <= last; page++) one(page);
        });
      }
      transaction.onabort = () => reject(transaction.error ?? new DOMException("the transaction was aborted", "AbortError"));
      if (waiting === 0) resolve(found);
    });
  }

  async write(pages: ReadonlyMap<number, Uint8Array>): Promise<void> {
    const transaction = this.#database.transaction(STORE, "readwrite", { durability: "relaxed" });
    const store = transaction.objectStore(STORE);
    for (const [page, bytes] of pages) store.put(bytes, page);
    await finished(transaction);
    for (const page of pages.keys()) this.#present.set(page, true);
    this.#dirty = true;
  }

  forget(page: number): void {
    this.#present.set(page, false);
    this.#dirty = true;
  }

  async flush(): Promise<void> {
    if (!this.#dirty) return;
    this.#dirty = false;
    await this.#putBitmap();
  }

  async #putBitmap(): Promise<void> {
    const transaction = this.#database.transaction(STORE, "readwrite");
    transaction.objectStore(STORE).put(this.#present.bytes, BITMAP);
    await finished(transaction);
  }

  close(): void {
    if (this.#dirty) void this.#putBitmap().catch(() => undefined);
    this.#database.close();  // after the transactions that are running
  }
}

/** Runs [first, last] of neighbours in ascending pages. */
function runs(pages: readonly number[]): [number, number][] {
  const found: [number, number][] = [];
  for (const page of pages) {
    const before = found.at(-1);
    if (before && before[1] + 1 === page) before[1] = page;
    else found.push([page, page]);
  }
  return found;
}

const PREFIX = "pywasm-pages";

function databaseName(index: string, generation: string): string {
  return `${PREFIX} ${generation} ${index}`;
}

/** Generations of an index that have a database here. */
export async function indexedDbGenerations(index: string): Promise<string[]> {
  const names = (await indexedDB.databases?.())?.map(({ name }) => name ?? "") ?? [];
  return names.filter((name) => name.startsWith(`${PREFIX} `) && name.endsWith(` ${index}`)).map((name) => name.split(" ")[1]!);
}

export async function removeIndexedDbGeneration(index: string, generation: string): Promise<void> {
  await deleteDatabase(databaseName(index, generation));
}
