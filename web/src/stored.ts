/**
 * What this browser stores of an index, read by the page while its worker starts: the worker can
 * then begin with the files before it has opened the database itself.
 */
import type { CreateOptions } from "./types.ts";

/** The store "meta" of an index's database (database.ts), by key. */
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

/** The generation to begin with. It may be another one by the time the worker looks. */
export type Hint = Pick<Meta["current"], "generation"> & { manifest: ArrayBuffer };

export function databaseName(index: string): string {
  return `pywasm ${index}`;
}

/** The generation that the next open will use as it stands; null where none is stored or a newer one is known. */
export function readHint(index: string): Promise<Hint | null> {
  return new Promise((resolve) => {
    const nothing = (): void => resolve(null);
    let opening: IDBOpenDBRequest;
    try {
      opening = indexedDB.open(databaseName(index));
    } catch {
      return nothing();  // no IndexedDB here
    }
    // There is no such database, and it is not for the page to make one.
    opening.onupgradeneeded = () => opening.transaction?.abort();
    opening.onerror = (event) => {
      event.preventDefault();
      nothing();
    };
    opening.onsuccess = () => {
      const database = opening.result;
      database.onversionchange = () => database.close();
      try {
        const meta = database.transaction("meta", "readonly").objectStore("meta");
        const next = meta.getKey("next");
        const current = meta.get("current") as IDBRequest<Meta["current"] | undefined>;
        current.onsuccess = () => {
          const { generation, manifest = null } = current.result ?? {};
          resolve(generation !== undefined && manifest && next.result === undefined ? { generation, manifest } : null);
        };
        meta.transaction.onabort = nothing;
      } catch {
        nothing();  // a database of another form
      }
      database.close();  // after the transaction
    };
  });
}
