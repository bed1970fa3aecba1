/**
 * Tuned kernels of earlier visits, in IndexedDB, by kernel, shape, device and compiler. What comes
 * out is checked by its hash before anything runs it: a disk may have changed it.
 */
import { Sha256 } from "../inference/sha256.ts";
import { answer, finished, openDatabase } from "../pages/idb.ts";
import type { TuneTask, Winner } from "./messages.ts";
import type { TuneWork } from "./tasks.ts";

/** What a task came to: a winner, or that the default is the fastest. */
interface Stored {
  winner: Winner | null;
  /** SHA-256 of all that is run or computed with. */
  seal: string | null;
  at: number;
}

const NAME = "pywasm tuned kernels";
const STORE = "kernels";

export class TunedKernels {
  readonly #database: IDBDatabase;

  private constructor(database: IDBDatabase) {
    this.#database = database;
  }

  /** null where there is no IndexedDB: tuning then lasts as long as the page. */
  static async open(): Promise<TunedKernels | null> {
    try {
      return new TunedKernels(await openDatabase(NAME, (fresh) => fresh.createObjectStore(STORE)));
    } catch {
      return null;
    }
  }

  /** What is known of a task; undefined: nothing, or nothing that can be trusted. */
  async get(task: TuneTask, work: TuneWork): Promise<Winner | null | undefined> {
    try {
      const read = this.#database.transaction(STORE).objectStore(STORE).get(keyOf(task, work));
      const stored = await answer<Stored | undefined>(read);
      if (!stored?.winner) return stored && null;
      if (sealOf(stored.winner) === stored.seal) return stored.winner;
    } catch {
      return undefined;
    }
    await this.forget(task, work);
    return undefined;
  }

  /** A full disk loses the winner, not the visit. */
  async put(task: TuneTask, work: TuneWork, winner: Winner | null): Promise<void> {
    const stored: Stored = { winner, seal: winner && sealOf(winner), at: Date.now() };
    await this.#change((store) => store.put(stored, keyOf(task, work)));
  }

  async forget(task: TuneTask, work: TuneWork): Promise<void> {
    await this.#change((store) => store.delete(keyOf(task, work)));
  }

  close(): void {
    this.#database.close();
  }

  /** What can't be stored, on a full disk or in a database that another tab deletes, is not. */
  async #change(change: (store: IDBObjectStore) => void): Promise<void> {
    try {
      const transaction = this.#database.transaction(STORE, "readwrite");
      change(transaction.objectStore(STORE));
      await finished(transaction);
    } catch {
      // Then it is tuned again at the next visit.
    }
  }
}

function keyOf({ recipe, extents, buffers }: TuneTask, { compiler, shared }: TuneWork): string {
  const { kernel, parameters, numeric } = recipe;
  const device = `${navigator.userAgent} x${navigator.hardwareConcurrency || 1}`;
  return JSON.stringify([kernel, parameters, numeric, extents, buffers, shared, device, compiler]);
}

function sealOf({ grid, steps, module }: Winner): string {
  return new Sha256().update(new TextEncoder().encode(JSON.stringify([grid, steps]))).update(module).digest();
}
