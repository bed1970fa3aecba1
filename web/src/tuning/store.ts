/**
 * Tuned kernels of earlier visits, in IndexedDB, by kernel, shape, device and compiler. What comes
 * out is checked by its hash before anything runs it: a disk may have changed it.
 */
import { answer, finished, openDatabase } from "../pages/idb.ts";
import type { TuneTask, Winner } from "./messages.ts";

/** What a task came to: a winner, or that the default is the fastest. */
interface Stored {
  winner: Winner | null;
  sha256: string | null;
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
  async get(task: TuneTask, compiler: string): Promise<Winner | null | undefined> {
    const key = keyOf(task, compiler);
    const { transaction } = this.#begin("readonly");
    const stored = await answer<Stored | undefined>(transaction.objectStore(STORE).get(key)).catch(() => undefined);
    if (!stored) return undefined;
    if (!stored.winner) return null;
    const { winner } = stored;
    if (winner.module instanceof Uint8Array && (await sha256(winner.module)) === stored.sha256) return winner;
    await this.forget(task, compiler);
    return undefined;
  }

  /** A full disk loses the winner, not the visit. */
  async put(task: TuneTask, compiler: string, winner: Winner | null): Promise<void> {
    const stored: Stored = { winner, sha256: winner && (await sha256(winner.module)), at: Date.now() };
    const { transaction, done } = this.#begin("readwrite");
    transaction.objectStore(STORE).put(stored, keyOf(task, compiler));
    await done.catch(() => undefined);
  }

  async forget(task: TuneTask, compiler: string): Promise<void> {
    const { transaction, done } = this.#begin("readwrite");
    transaction.objectStore(STORE).delete(keyOf(task, compiler));
    await done.catch(() => undefined);
  }

  close(): void {
    this.#database.close();
  }

  #begin(mode: IDBTransactionMode): { transaction: IDBTransaction; done: Promise<void> } {
    const transaction = this.#database.transaction(STORE, mode);
    return { transaction, done: finished(transaction) };
  }
}

function keyOf({ recipe, extents }: TuneTask, compiler: string): string {
  const { kernel, parameters, numeric } = recipe;
  const device = `${navigator.userAgent} x${navigator.hardwareConcurrency || 1}`;
  return JSON.stringify([kernel, parameters, numeric, extents, device, compiler]);
}

async function sha256(bytes: Uint8Array): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
