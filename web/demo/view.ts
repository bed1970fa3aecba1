/** What the page shows, as the address bar holds it: a view can be linked, reloaded and gone back to. */

import type { Column, Filter, FilterValue, Mode } from "../src/pywasm.ts";

export interface NumberRange { low?: number; high?: number }
export interface Selection { values: Set<string>; range: NumberRange }

export interface View {
  query: string;
  /** Number of the suggested question whose vector is searched with. */
  suggestion: number | null;
  /** Id of the passage whose neighbours are shown. */
  like: string | null;
  mode: Mode;
  filters: Map<string, Selection>;
  /** The query is a question that the language model shall answer. */
  ask: boolean;
}

export function emptyView(): View {
  return { query: "", suggestion: null, like: null, mode: "hybrid", filters: new Map(), ask: false };
}

export function isIdle(view: View): boolean {
  return view.query.trim() === "" && view.suggestion === null && view.like === null;
}

/**
 * `?q=parse+a+date&f=module:datetime&f=module:time&f=year:2000..2010`, `?suggest=0`, `?like=<id>`,
 * `?q=How+do+I+parse+a+date%3F&ask=`.
 * Filters on columns that the index has not got, and values that don't parse, are dropped: an old
 * link then shows more, never an error.
 */
export function readView(search: string, columns: readonly Column[], suggestions: number): View {
  const parameters = new URLSearchParams(search);
  const view = emptyView();
  view.query = parameters.get("q") ?? "";
  view.like = parameters.get("like");
  const suggestion = Number(parameters.get("suggest") ?? NaN);
  if (Number.isInteger(suggestion) && suggestion >= 0 && suggestion < suggestions) view.suggestion = suggestion;
  const mode = parameters.get("mode");
  if (mode === "keyword" || mode === "vector") view.mode = mode;
  view.ask = parameters.has("ask") && !isIdle(view) && view.like === null;
  for (const item of parameters.getAll("f")) readFilter(item, columns, view.filters);
  return view;
}

function readFilter(item: string, columns: readonly Column[], filters: Map<string, Selection>): void {
  const column = columns.find(({ name }) => item.startsWith(`${name}:`));
  if (!column) return;
  const value = item.slice(column.name.length + 1);
  const selection = filters.get(column.name) ?? { values: new Set<string>(), range: {} };
  if (column.type === "category") {
    selection.values.add(value);
  } else {
    const match = /^(-?[\d.e+-]*)\.\.(-?[\d.e+-]*)$/.exec(value);
    if (!match) return;
    selection.range = { ...bound("low", match[1]), ...bound("high", match[2]) };
  }
  filters.set(column.name, selection);
}

function bound(side: "low" | "high", text: string | undefined): NumberRange {
  const value = Number(text);
  return text === undefined || text === "" || Number.isNaN(value) ? {} : { [side]: value };
}

/** The query string for a view, "" for the empty one. */
export function writeView(view: View): string {
  const parameters = new URLSearchParams();
  if (view.suggestion !== null) parameters.set("suggest", String(view.suggestion));
  else if (view.like !== null) parameters.set("like", view.like);
  else if (view.query !== "") parameters.set("q", view.query);
  if (view.ask && view.like === null && !isIdle(view)) parameters.set("ask", "");
  if (view.mode !== "hybrid") parameters.set("mode", view.mode);
  for (const [name, { values, range }] of view.filters) {
    for (const value of values) parameters.append("f", `${name}:${value}`);
    if (range.low !== undefined || range.high !== undefined) {
      parameters.append("f", `${name}:${range.low ?? ""}..${range.high ?? ""}`);
    }
  }
  const text = parameters.toString();
  return text === "" ? "" : `?${text}`;
}

/** The filter that the library's `search` takes; undefined where nothing is selected. */
export function toFilter(filters: View["filters"]): Filter | undefined {
  const filter: Record<string, FilterValue> = {};
  for (const [name, { values, range }] of filters) {
    if (values.size > 0) filter[name] = { in: [...values] };
    else if (range.low !== undefined || range.high !== undefined) {
      filter[name] = {
        ...(range.low === undefined ? {} : { gte: range.low }),
        ...(range.high === undefined ? {} : { lte: range.high }),
      };
    }
  }
  return Object.keys(filter).length > 0 ? filter : undefined;
}
