/** Compiles the JSON filter of a page to the engine's postfix program (PwFilter in messages.h). */
import { PywasmError } from "./error.ts";
import { NO_CATEGORY, PwFilter } from "./generated/abi.ts";
import type { Filter, FilterValue, Scalar } from "./types.ts";

/** What the compiler asks of the index's columns. */
export interface FilterColumns {
  readonly names: readonly string[];
  typeOf(column: number): "category" | "number";
  /** The code of a category value, or null for one that no row has. */
  codeOf(column: number, value: string): number | null;
}

const bound = { low: 1, high: 2, lowOpen: 4, highOpen: 8 } as const;
const operators = ["gte", "gt", "lte", "lt", "in"] as const;

/** The program as u32 words; empty for no filter. */
export function compileFilter(filter: Filter | undefined, columns: FilterColumns): Uint32Array<ArrayBuffer> {
  const words: number[] = [];
  if (filter !== undefined && filter !== null && !isEmpty(filter)) compile(filter, "filter", columns, words);
  return Uint32Array.from(words);
}

function isEmpty(filter: Filter): boolean {
  return typeof filter === "object" && !Array.isArray(filter) && Object.keys(filter).length === 0;
}

function compile(filter: Filter, where: string, columns: FilterColumns, words: number[]): void {
  if (typeof filter !== "object" || filter === null || Array.isArray(filter)) throw wrong(where, "an object like { column: value }", filter);
  const entries = Object.entries(filter);
  if (entries.length === 0) throw wrong(where, "at least one condition", filter);
  entries.forEach(([key, value], index) => {
    const place = `${where}.${key}`;
    const known = columns.names.indexOf(key);
    // A column may be called "and": then it is that column unless the value is a list of filters.
    if ((key === "and" || key === "or") && (known < 0 || Array.isArray(value))) list(value, place, key, columns, words);
    else if (key === "not" && known < 0) {
      compile(value as Filter, place, columns, words);
      words.push(PwFilter.Not);
    } else condition(key, known, value as FilterValue, place, columns, words);
    if (index > 0) words.push(PwFilter.And);
  });
}

function list(value: unknown, where: string, operator: "and" | "or", columns: FilterColumns, words: number[]): void {
  if (!Array.isArray(value) || value.length === 0) throw wrong(where, "a list of filters", value);
  value.forEach((item: Filter, index) => {
    compile(item, `${where}[${index}]`, columns, words);
    if (index > 0) words.push(operator === "and" ? PwFilter.And : PwFilter.Or);
  });
}

function condition(name: string, column: number, value: FilterValue, where: string, columns: FilterColumns, words: number[]): void {
  if (column < 0) {
    const known = columns.names.length > 0 ? `it has ${columns.names.join(", ")}` : "it has no columns";
    throw new PywasmError("argument", `${where}: the index has no column ${JSON.stringify(name)}; ${known}`);
  }
  const type = columns.typeOf(column);
  if (typeof value !== "object" || value === null) return equal(column, type, value, where, columns, words);
  const keys = Object.keys(value);
  const stranger = keys.find((key) => !(operators as readonly string[]).includes(key));
  if (stranger !== undefined || keys.length === 0) throw wrong(where, `a value or ${operators.join(", ")}`, stranger ?? value);
  if ("in" in value) {
    if (keys.length > 1 || !Array.isArray(value.in)) throw wrong(where, "{ in: [values] } alone", value);
    return member(column, type, value.in, where, columns, words);
  }
  range(column, type, value as { gte?: number; gt?: number; lte?: number; lt?: number }, where, words);
}

function equal(column: number, type: "category" | "number", value: Scalar, where: string, columns: FilterColumns, words: number[]): void {
  if (type === "number") return number(column, value, where, words);
  if (typeof value !== "string") throw wrong(where, "a string", value);
  words.push(PwFilter.Equal, column, columns.codeOf(column, value) ?? NO_CATEGORY);
}

function member(column: number, type: "category" | "number", values: readonly Scalar[], where: string, columns: FilterColumns, words: number[]): void {
  if (type === "category") {
    const codes = new Set<number>();
    values.forEach((value, index) => {
      if (typeof value !== "string") throw wrong(`${where}.in[${index}]`, "a string", value);
      const code = columns.codeOf(column, value);
      if (code !== null) codes.add(code);
    });
    words.push(PwFilter.In, column, codes.size, ...[...codes].sort((left, right) => left - right));
    return;
  }
  if (values.length === 0) {
    words.push(PwFilter.Present, column, PwFilter.Present, column, PwFilter.Not, PwFilter.And);  // nothing
    return;
  }
  values.forEach((value, index) => {
    number(column, value, `${where}.in[${index}]`, words);
    if (index > 0) words.push(PwFilter.Or);
  });
}

function number(column: number, value: Scalar, where: string, words: number[]): void {
  if (typeof value !== "number" || !Number.isFinite(value)) throw wrong(where, "a finite number", value);
  words.push(PwFilter.Range, column, bound.low | bound.high, ...f64(value), ...f64(value));
}

function range(column: number, type: "category" | "number", value: { gte?: number; gt?: number; lte?: number; lt?: number }, where: string, words: number[]): void {
  if (type !== "number") throw new PywasmError("argument", `${where}: a range needs a number column, this one holds categories`);
  for (const [key, limit] of Object.entries(value)) {
    if (typeof limit !== "number" || Number.isNaN(limit)) throw wrong(`${where}.${key}`, "a number", limit);
  }
  const { gte, gt, lte, lt } = value;
  if (gte !== undefined && gt !== undefined) throw wrong(where, "one of gte and gt", value);
  if (lte !== undefined && lt !== undefined) throw wrong(where, "one of lte and lt", value);
  const low = gte ?? gt;
  const high = lte ?? lt;
  const bounds =
    (low !== undefined ? bound.low : 0) | (high !== undefined ? bound.high : 0) |
    (gt !== undefined ? bound.lowOpen : 0) | (lt !== undefined ? bound.highOpen : 0);
  words.push(PwFilter.Range, column, bounds, ...f64(low ?? 0), ...f64(high ?? 0));
}

function f64(value: number): [number, number] {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value, true);
  return [view.getUint32(0, true), view.getUint32(4, true)];
}

function wrong(where: string, expected: string, found: unknown): PywasmError {
  return new PywasmError("argument", `${where}: ${expected} expected, not ${JSON.stringify(found)}`);
}
