/** The filters: one disclosure a metadata column, and what is selected as removable tags. */

import type { Column } from "../src/pywasm.ts";
import { h } from "./dom.ts";
import { count, heading } from "./format.ts";
import type { NumberRange, Selection } from "./view.ts";

/** Values listed at once; more are found by typing. */
const listed = 60;
/** From so many values on, a list can be searched. */
const searchableFrom = 9;

export class Facets {
  readonly #root: HTMLElement;
  readonly #columns: readonly Column[];
  readonly #changed: () => void;
  #filters = new Map<string, Selection>();

  constructor(root: HTMLElement, columns: readonly Column[], changed: () => void) {
    this.#root = root;
    this.#columns = columns.filter(({ type, values }) => type === "number" || (values?.length ?? 0) > 1);
    this.#changed = changed;
    document.addEventListener("click", (event) => {
      if (event.target instanceof Node && !event.composedPath().includes(root)) this.#close();
    });
    root.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      const open = root.querySelector<HTMLDetailsElement>("details[open]");
      if (!open) return;
      event.stopPropagation();
      open.open = false;
      open.querySelector("summary")?.focus();
    });
  }

  /** Shows these selections; `filters` is edited in place as the visitor changes them. */
  show(filters: Map<string, Selection>): void {
    this.#filters = filters;
    this.#root.replaceChildren(...this.#columns.map((column) => this.#facet(column)), ...this.#tags());
  }

  /** Adds one value, or for a number that very value as the range, and reports the change. */
  select(name: string, value: string | number): void {
    const column = this.#columns.find((candidate) => candidate.name === name);
    if (!column) return;
    const selection = this.#selection(name);
    if (column.type === "category") selection.values.add(String(value));
    else selection.range = { low: Number(value), high: Number(value) };
    this.#update();
  }

  #selection(name: string): Selection {
    let selection = this.#filters.get(name);
    if (!selection) this.#filters.set(name, selection = { values: new Set(), range: {} });
    return selection;
  }

  #update(): void {
    for (const [name, { values, range }] of this.#filters) {
      if (values.size === 0 && range.low === undefined && range.high === undefined) this.#filters.delete(name);
    }
    const focused = document.activeElement;
    for (const tag of this.#root.querySelectorAll(".selected")) tag.remove();
    this.#root.append(...this.#tags());
    for (const details of this.#root.querySelectorAll("details")) {
      const name = details.dataset["column"] ?? "";
      details.classList.toggle("active", this.#filters.has(name));
      if (!details.open) details.querySelector(".panel")?.replaceChildren();
    }
    // A removed tag takes the focus with it: give it to what is left.
    if (focused instanceof HTMLElement && !focused.isConnected) {
      (this.#root.querySelector<HTMLElement>(".selected") ?? this.#root.querySelector("summary"))?.focus();
    }
    this.#changed();
  }

  #close(except?: HTMLDetailsElement): void {
    for (const details of this.#root.querySelectorAll("details")) if (details !== except) details.open = false;
  }

  #facet(column: Column): HTMLDetailsElement {
    const panel = h("div", { class: "panel" });
    const details = h("details", { class: this.#filters.has(column.name) ? "facet active" : "facet", "data-column": column.name,
      ontoggle: () => {
        if (!details.open) return;
        this.#close(details);
        panel.replaceChildren(...(column.type === "category" ? this.#categories(column) : this.#range(column)));
        panel.querySelector("input")?.focus();
      } },
      h("summary", {}, heading(column.name)), panel);
    return details;
  }

  #categories(column: Column): Node[] {
    const values = column.values ?? [];
    const list = h("ul", { class: "options" });
    const note = h("p", { class: "hint", role: "status" });
    const fill = (typed: string): void => {
      const wanted = typed.trim().toLocaleLowerCase();
      const chosen = this.#selection(column.name).values;
      const at = new Map(values.map((value) => [value, value.toLocaleLowerCase().indexOf(wanted)]));
      const found = [
        ...values.filter((value) => at.get(value) === 0),  // what begins so comes first
        ...values.filter((value) => (at.get(value) ?? -1) > 0),
      ];
      const ordered = [...found.filter((value) => chosen.has(value)), ...found.filter((value) => !chosen.has(value))];
      list.replaceChildren(...ordered.slice(0, listed).map((value) => this.#option(column.name, value)));
      note.textContent = found.length === 0 ? `Nothing contains “${typed.trim()}”`
        : found.length > listed ? `${count(listed)} of ${count(found.length)}: type to narrow down` : "";
    };
    fill("");
    if (values.length < searchableFrom) return [list];
    return [h("input", { type: "search", class: "narrow", placeholder: `Find in ${count(values.length)}`, autocomplete: "off",
      "aria-label": `Find a value of ${heading(column.name)}`,
      oninput: (event: Event) => { fill((event.target as HTMLInputElement).value); } }), list, note];
  }

  #option(name: string, value: string): HTMLLIElement {
    const box = h("input", { type: "checkbox", onchange: () => {
      const { values } = this.#selection(name);
      if (box.checked) values.add(value); else values.delete(value);
      this.#update();
    } });
    box.checked = this.#filters.get(name)?.values.has(value) ?? false;
    return h("li", {}, h("label", {}, box, h("span", {}, value === "" ? "(empty)" : value)));
  }

  #range(column: Column): Node[] {
    const field = (side: "low" | "high", label: string, limit: number | undefined): HTMLElement => {
      const input = h("input", { type: "number", step: "any", min: column.min, max: column.max, placeholder: limit,
        onchange: () => {
          const range: NumberRange = { ...this.#selection(column.name).range };
          if (input.value === "") delete range[side]; else range[side] = input.valueAsNumber;
          this.#selection(column.name).range = range;
          this.#update();
        } });
      const value = this.#filters.get(column.name)?.range[side];
      if (value !== undefined) input.value = String(value);
      return h("label", { class: "bound" }, h("span", {}, label), input);
    };
    return [h("div", { class: "bounds" }, field("low", "From", column.min), field("high", "To", column.max))];
  }

  #tags(): HTMLElement[] {
    const tags: HTMLElement[] = [];
    const tag = (name: string, label: string, remove: () => void): void => {
      tags.push(h("button", { type: "button", class: "selected", title: "Remove this filter",
        onclick: () => { remove(); this.#update(); } },
        h("span", { class: "visually-hidden" }, "Remove the filter "),
        h("span", { class: "tag-name" }, name, h("span", { class: "visually-hidden" }, ":")), label, h("span", { class: "cross", "aria-hidden": "true" }, "×")));
    };
    for (const [name, selection] of this.#filters) {
      for (const value of selection.values) tag(name, value, () => selection.values.delete(value));
      const { low, high } = selection.range;
      if (low === undefined && high === undefined) continue;
      const label = low === high ? String(low) : low === undefined ? `≤ ${high}` : high === undefined ? `≥ ${low}` : `${low} – ${high}`;
      tag(name, label, () => { selection.range = {}; });
    }
    if (tags.length > 1) {
      tags.push(h("button", { type: "button", class: "selected inline", onclick: () => {
        this.#filters.clear();
        this.#update();
      } }, "Clear all"));
    }
    return tags;
  }
}
