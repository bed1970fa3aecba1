/** Checks rows as a page gives them and packs them into flat arrays: before anything is stored or sent. */
import { PywasmError } from "./error.ts";
import type { Column, NewRow, Scalar } from "./types.ts";

/** Rows in columns; also what the log stores. */
export interface PackedRows {
  ids: string[];
  /** ids.length x dim */
  vectors: Float32Array<ArrayBuffer>;
  texts: string[];
  /** JSON: title, url, anchor, metadata. */
  payloads: string[];
  /** By column name; null: no value. */
  columns: Record<string, (Scalar | null)[]>;
}

export function packRows(rows: readonly NewRow[], dim: number, columns: readonly Column[]): PackedRows {
  const packed: PackedRows = {
    ids: [],
    vectors: new Float32Array(rows.length * dim),
    texts: [],
    payloads: [],
    columns: Object.fromEntries(columns.map(({ name }) => [name, []])),
  };
  const seen = new Set<string>();
  rows.forEach((row, index) => {
    const where = `rows[${index}]`;
    if (typeof row.id !== "string" || row.id === "") throw new PywasmError("argument", `${where}.id: a non-empty string expected`);
    if (seen.has(row.id)) throw new PywasmError("duplicate", `${where}.id: ${JSON.stringify(row.id)} appears twice among the rows`);
    seen.add(row.id);
    checkVector(row.vector, dim, `${where}.vector`);
    packed.vectors.set(row.vector, index * dim);
    const { title = "", url = "", anchor = "", text = "", metadata = {} } = row;
    packed.ids.push(row.id);
    packed.texts.push(text);
    packed.payloads.push(JSON.stringify({ title, url, anchor, document: row.id, metadata }));
    for (const { name, type } of columns) {
      const value = metadata[name] ?? null;
      if (value !== null && typeof value !== (type === "number" ? "number" : "string")) {
        throw new PywasmError("argument", `${where}.metadata.${name}: a ${type === "number" ? "number" : "string"} expected, not ${JSON.stringify(value)}`);
      }
      packed.columns[name]?.push(value);
    }
  });
  return packed;
}

/** Throws unless `vector` has `dim` finite numbers. */
export function checkVector(vector: ArrayLike<number>, dim: number, where: string): void {
  if (vector.length !== dim) throw new PywasmError("argument", `${where}: ${dim} dimensions expected, not ${vector.length}`);
  for (let index = 0; index < dim; index++) {
    if (!Number.isFinite(vector[index])) throw new PywasmError("argument", `${where}[${index}]: a finite number expected, not ${vector[index]}`);
  }
}

/** Rows [from, to) of a packed batch; vectors are a view. */
export function slicePacked(rows: PackedRows, dim: number, from: number, to: number): PackedRows {
  return {
    ids: rows.ids.slice(from, to),
    vectors: rows.vectors.subarray(from * dim, to * dim),
    texts: rows.texts.slice(from, to),
    payloads: rows.payloads.slice(from, to),
    columns: Object.fromEntries(Object.entries(rows.columns).map(([name, values]) => [name, values.slice(from, to)])),
  };
}
