/** The metadata columns of an index: names, types, and the codes of category values. */
import { NO_CATEGORY } from "./generated/abi.ts";
import type { FilterColumns } from "./filter.ts";
import type { Column, Scalar } from "./types.ts";

export class Columns implements FilterColumns {
  readonly columns: readonly Column[];
  readonly names: readonly string[];
  /** By column: value to code. The base's values come first; inserted rows add theirs. */
  readonly #codes: (Map<string, number> | null)[];

  constructor(columns: readonly Column[]) {
    this.columns = columns;
    this.names = columns.map(({ name }) => name);
    this.#codes = columns.map(({ type, values }) =>
      type === "category" ? new Map((values ?? []).map((value, code) => [value, code])) : null);
  }

  typeOf(column: number): "category" | "number" {
    return this.columns[column]!.type;
  }

  codeOf(column: number, value: string): number | null {
    return this.#codes[column]?.get(value) ?? null;
  }

  /** Category values in code order. */
  valuesOf(column: number): string[] {
    return [...(this.#codes[column]?.keys() ?? [])];
  }

  /** Rows' values by column as the engine takes them; a value never seen gets the next code. */
  encode(values: Readonly<Record<string, readonly (Scalar | null)[]>>, count: number): (Uint32Array | Float64Array)[] {
    return this.columns.map(({ name, type }, column) => {
      const given = values[name] ?? new Array<null>(count).fill(null);
      if (type === "number") return Float64Array.from(given, (value) => (typeof value === "number" ? value : NaN));
      const codes = this.#codes[column]!;
      return Uint32Array.from(given, (value) => {
        if (value === null) return NO_CATEGORY;
        const key = String(value);
        const known = codes.get(key);
        if (known !== undefined) return known;
        codes.set(key, codes.size);
        return codes.size - 1;
      });
    });
  }
}
