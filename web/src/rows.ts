/** Whole rows by id or in order, as the page gets them. */
import type { Base } from "./base.ts";
import { NO_ROW, PwOperation } from "./generated/abi.ts";
import { decodeF32, decodeRows, encodeRows, encodeStrings, Writer } from "./messages.ts";
import { decodeRecords } from "./records.ts";
import type { Row } from "./types.ts";

/** Rows in the order of `ids`; null for one that does not exist. */
export async function getRows(base: Base, ids: readonly string[], vectors: boolean, signal: AbortSignal): Promise<(Row | null)[]> {
  if (ids.length === 0) return [];
  const { rows } = decodeRows(await base.run(PwOperation.RowsOfIds, encodeStrings(ids), signal));
  const known = rows.filter((row) => row !== NO_ROW);
  const found = new Map((await readRows(base, known, vectors, signal)).map((row) => [row.row, row]));
  return Array.from(rows, (row) => found.get(row) ?? null);
}

/** Up to `limit` rows from row number `from` on; deleted ones are left out. */
export async function rowsFrom(base: Base, from: number, limit: number, vectors: boolean, signal: AbortSignal): Promise<Row[]> {
  const { rows } = decodeRows(await base.run(PwOperation.LiveRows, new Writer(8).u32(from, limit).done(), signal));
  return readRows(base, rows, vectors, signal);
}

async function readRows(base: Base, rows: Uint32Array, vectors: boolean, signal: AbortSignal): Promise<Row[]> {
  if (rows.length === 0) return [];
  const message = encodeRows(rows);
  const records = decodeRecords(await base.run(PwOperation.Records, message, signal));
  const { dim } = base.manifest;
  const all = vectors ? decodeF32(await base.run(PwOperation.Vectors, message, signal)) : null;
  return records.map((record, index) => ({
    ...record, row: rows[index]!, ...(all && { vector: all.slice(index * dim, (index + 1) * dim) }),
  }));
}
