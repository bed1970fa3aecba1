/**
 * Inserts and deletes: written to the log first, under the index's lock, then applied to the engine.
 * Every open tab applies the same log, so a change is there in all of them or in none.
 */
import type { Base } from "./base.ts";
import type { Database, LogEntry } from "./database.ts";
import { isQuota, PywasmError, throwIfAborted } from "./error.ts";
import { NO_ROW, PwOperation } from "./generated/abi.ts";
import { holdLock } from "./locks.ts";
import { decodeRows, encodeRowBatch, encodeStrings } from "./messages.ts";
import { slicePacked, type PackedRows } from "./pack.ts";

/** Rows of one log entry and of one call into the engine. */
const BATCH = 2048;
/** Log entries read at a time. */
const PAGE = 16;

export class Changes {
  readonly #index: string;
  /** Null where nothing can be stored: changes then live as long as the index is open. */
  readonly #database: Database | null;
  /** builder.wasm: the engine takes changes in an instance of it. */
  readonly #builder: () => Promise<WebAssembly.Module>;
  /** Entries are applied one after another, whoever brings them. */
  #queue: Promise<unknown> = Promise.resolve();
  /** The last log entry that the engine has. */
  applied = 0;

  constructor(index: string, database: Database | null, builder: () => Promise<WebAssembly.Module>) {
    this.#index = index;
    this.#database = database;
    this.#builder = builder;
  }

  /** Runs `work` while no other tab changes the index, with all of their changes applied. */
  async exclusively<T>(base: Base, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const release = await holdLock(`pywasm-write ${this.#index}`, "exclusive", signal);
    try {
      await this.catchUp(base);
      return await work();
    } finally {
      release();
    }
  }

  /** Applies what other tabs (or earlier visits) have logged. */
  catchUp(base: Base): Promise<void> {
    return this.#inTurn(async () => {
      while (this.#database) {
        const entries = await this.#database.entries(this.applied, PAGE);
        if (entries.length === 0) return;
        await base.engine.makeComplete(this.#builder);
        for (const { number, entry } of entries) {
          // Rows from before a deployment with another encoder stay in the log, and must not keep the index shut.
          if (entry.op === "delete" || fits(base, entry.rows)) await apply(base, entry);
          this.applied = number;
        }
      }
    });
  }

  /** Adds rows, all or none. */
  async insert(base: Base, rows: PackedRows, replace: boolean, signal: AbortSignal): Promise<void> {
    if (rows.ids.length === 0) return;
    // The page packed them for the generation that it opened.
    if (!fits(base, rows)) throw new PywasmError("argument", `rows: ${base.manifest.dim} dimensions expected, not ${rows.vectors.length / rows.ids.length}: the site has changed, open it again`);
    if (!replace) await refuseKnown(base, rows.ids, signal);
    const entries: LogEntry[] = [];
    for (let from = 0; from < rows.ids.length; from += BATCH) {
      const part = slicePacked(rows, base.manifest.dim, from, from + BATCH);
      // A view would be stored with its whole buffer.
      entries.push({ op: "insert", rows: { ...part, vectors: part.vectors.slice() } });
    }
    await this.#commit(base, entries, signal);
  }

  /** Removes rows; the answer is how many there were. */
  async delete(base: Base, ids: readonly string[], signal: AbortSignal): Promise<number> {
    const known = await knownIds(base, ids, signal);
    if (known.length > 0) await this.#commit(base, [{ op: "delete", ids: known }], signal);
    return known.length;
  }

  async #commit(base: Base, entries: readonly LogEntry[], signal: AbortSignal): Promise<void> {
    // Before the log: what it holds must be such as the engine takes, in every tab and at every later open.
    await base.engine.makeComplete(this.#builder);
    for (const entry of entries) if (entry.op === "insert") check(base, entry.rows);
    throwIfAborted(signal);
    let last = 0;
    if (this.#database) {
      try {
        last = await this.#database.append(entries);
      } catch (cause) {
        if (isQuota(cause)) throw new PywasmError("quota", "the change needs more storage than the browser gives this site; nothing was changed", { cause });
        throw new PywasmError("storage", `the change could not be stored: ${String(cause)}; nothing was changed`, { cause });
      }
    }
    await this.#inTurn(async () => {
      for (const [index, entry] of entries.entries()) {
        const number = last - entries.length + 1 + index;  // one transaction numbers in a row
        if (this.#database && number <= this.applied) continue;  // a catch-up was faster
        await apply(base, entry);
        if (this.#database) this.applied = number;
      }
    });
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#queue.then(work);
    this.#queue = turn.catch(() => undefined);
    return turn;
  }
}

/** Puts a logged change into the engine. */
async function apply(base: Base, entry: LogEntry): Promise<void> {
  if (entry.op === "delete") await base.run(PwOperation.Delete, encodeStrings(entry.ids));
  else await base.run(PwOperation.Insert, insertion(base, entry.rows));
}

/** Throws what the engine has against the rows: it checks all of a batch when the operation begins, and changes nothing before its first step. */
function check(base: Base, rows: PackedRows): void {
  const { engine } = base;
  engine.end(engine.begin(PwOperation.Insert, insertion(base, rows)));
}

/** The engine's message. Inserts always replace: duplicates were refused before logging. */
function insertion(base: Base, { ids, vectors, texts, payloads, columns }: PackedRows): Uint8Array {
  const batch = { ids, vectors, dim: base.manifest.dim, texts, payloads, columns: base.columns.encode(columns, ids.length) };
  return encodeRowBatch(batch, [1, 0]);
}

/** Whether the vectors have the dimensions of the index. */
function fits({ manifest }: Base, { ids, vectors }: PackedRows): boolean {
  return vectors.length === ids.length * manifest.dim;
}

async function refuseKnown(base: Base, ids: readonly string[], signal: AbortSignal): Promise<void> {
  const known = await knownIds(base, ids, signal);
  if (known.length === 0) return;
  const others = known.length > 1 ? ` and ${known.length - 1} more` : "";
  throw new PywasmError("duplicate", `rows with the ids ${JSON.stringify(known[0])}${others} exist already; pass replace: true to put these in their place`);
}

async function knownIds(base: Base, ids: readonly string[], signal: AbortSignal): Promise<string[]> {
  const known: string[] = [];
  for (let from = 0; from < ids.length; from += BATCH) {
    const part = ids.slice(from, from + BATCH);
    const { rows } = decodeRows(await base.run(PwOperation.RowsOfIds, encodeStrings(part), signal));
    part.forEach((id, index) => {
      if (rows[index] !== NO_ROW) known.push(id);
    });
  }
  return known;
}
