/** The page once the index is open: view, results, filters, suggestions and inspector kept in step. */

import type { Column, Hit, Index, Mode, Results } from "../src/pywasm.ts";
import { AnswerPanel, type Question } from "./answer.ts";
import { byId, h } from "./dom.ts";
import { Encoding, savesData } from "./encoding.ts";
import { Facets } from "./facets.ts";
import { bytes, count, duration, plural } from "./format.ts";
import { Inspector } from "./inspector.ts";
import { bindKeys } from "./keyboard.ts";
import { Latency } from "./latency.ts";
import type { LoadingLine } from "./loading.ts";
import { describe } from "./problems.ts";
import { isQuestion } from "./question.ts";
import { showResults } from "./results.ts";
import { Searcher, type Outcome } from "./searcher.ts";
import { emptyView, isIdle, readView, toFilter, writeView, type View } from "./view.ts";

const pageLength = 10;
const mostResults = 100;
const modes: readonly (readonly [Mode, string])[] = [["hybrid", "Both"], ["keyword", "Words"], ["vector", "Meaning"]];

declare global {
  /** For scripts that drive the page (benchmarks, tests); the times are User Timing marks. */
  interface Window { __pywasm?: { index: Index; latency: Latency } }
}

export class SearchPage {
  readonly #index: Index;
  readonly #columns: readonly Column[];
  readonly #searcher: Searcher;
  readonly #facets: Facets;
  readonly #inspector: Inspector;
  readonly #latency = new Latency();
  readonly #encoding: Encoding;
  readonly #loading: LoadingLine;
  /** Null where the site carries no language model. */
  readonly #answers: AnswerPanel | null;
  readonly #base = new URL("./", document.baseURI);
  readonly #input = byId("query", HTMLInputElement);
  readonly #list = byId("results", HTMLOListElement);
  readonly #status = byId("status", HTMLElement);
  readonly #notice = byId("notice", HTMLElement);
  readonly #more = byId("more", HTMLButtonElement);
  #view: View = emptyView();
  #k = pageLength;
  /** Titles of passages seen, for "More like <title>" without asking the index again. */
  readonly #titles = new Map<string, string>();

  constructor(index: Index, loading: LoadingLine) {
    this.#index = index;
    this.#loading = loading;
    this.#encoding = new Encoding(index, loading);
    this.#columns = index.site.columns;
    this.#searcher = new Searcher(index, (outcome) => { this.#show(outcome); }, (error) => { this.#fail(error); });
    this.#facets = new Facets(byId("filters", HTMLElement), this.#columns, () => { this.#go({}, "soon"); });
    this.#inspector = new Inspector(byId("inspector", HTMLElement), byId("inspect", HTMLButtonElement), index, this.#latency);
    this.#answers = index.generator && new AnswerPanel(index, this.#base, (stats) => { this.#inspector.recordAnswer(stats); });
    window.__pywasm = { index, latency: this.#latency };

    this.#describeSite();
    this.#bind();
    const typed = this.#input.value;  // typed before the index was open
    this.#read();
    if (typed !== "" && isIdle(this.#view)) this.#go({ query: typed }, "now");
    else this.#run("now");
    void this.#watchFill();
  }

  #describeSite(): void {
    const { site } = this.#index;
    document.title = site.title;
    document.documentElement.lang = site.language || "en";
    byId("title", HTMLElement).textContent = site.title;
    this.#input.placeholder = `Search ${plural(site.rows, "passage")}`;
    const facts = [plural(site.rows, "passage"), site.documents > 0 ? plural(site.documents, "document") : ""];
    byId("facts", HTMLElement).textContent = facts.filter(Boolean).join(" from ");
    byId("licences", HTMLElement).replaceChildren(...site.licences.map(({ of, name, url }) =>
      h("span", { class: "licence" }, `${of}: `, url ? h("a", { href: url }, name) : name)));
    if (this.#index.encoder) byId("suggestions-hint", HTMLElement).textContent = "Ask one of these, or type your own: words are matched at once, and meaning follows, even where no word is the same.";
    byId("chips", HTMLUListElement).replaceChildren(...site.suggestions.map(({ text }, number) =>
      h("li", {}, h("button", { type: "button", class: "chip", onclick: () => {
        this.#go({ query: text, suggestion: number, like: null, ask: false }, "now", "push");
        this.#input.value = text;
      } }, text))));
    byId("modes", HTMLElement).replaceChildren(...modes.map(([mode, label]) =>
      h("button", { type: "button", "data-mode": mode, onclick: () => { this.#go({ mode }, "now"); } }, label)));
  }

  #bind(): void {
    byId("search", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      this.#go({ ...this.#typed(), ask: isQuestion(this.#input.value) }, "now", "push");
    });
    byId("ask", HTMLButtonElement).addEventListener("click", () => { this.#go({ ...this.#typed(), ask: true }, "now", "push", true); });
    this.#input.addEventListener("input", () => { this.#go(this.#typed(), "soon"); });
    const clear = (): void => {
      this.#input.value = "";
      this.#go({ query: "", suggestion: null, like: null, ask: false }, "now");
      this.#input.focus();
    };
    byId("clear", HTMLButtonElement).addEventListener("click", clear);
    byId("home", HTMLAnchorElement).addEventListener("click", (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      this.#go({ ...emptyView() }, "now", "push");
      this.#input.value = "";
      this.#facets.show(this.#view.filters);
    });
    this.#more.addEventListener("click", () => {
      this.#k = Math.min(mostResults, this.#k + pageLength);
      this.#run("now");
    });
    addEventListener("popstate", () => { this.#read(); this.#run("now"); });
    bindKeys({ input: this.#input, list: this.#list, clear, inspect: () => { this.#inspector.toggle(); } });
  }

  /** What the search box says: a suggested question, word for word, is searched with its vector. */
  #typed(): Pick<View, "query" | "suggestion" | "like" | "ask"> {
    const query = this.#input.value;
    const wanted = query.trim().toLocaleLowerCase();
    const suggestion = this.#index.site.suggestions.findIndex(({ text }) => text.toLocaleLowerCase() === wanted);
    return { query, suggestion: suggestion < 0 ? null : suggestion, like: null, ask: false };
  }

  #read(): void {
    const { suggestions } = this.#index.site;
    this.#view = readView(location.search, this.#columns, suggestions.length);
    const { suggestion } = this.#view;
    if (suggestion !== null) this.#view.query = suggestions[suggestion]?.text ?? "";
    this.#input.value = this.#view.query;
    this.#facets.show(this.#view.filters);
    this.#k = pageLength;
  }

  /**
   * Changes the view, its address, and what is shown. Typing replaces the address, choosing adds one.
   * `asked`: the visitor has pressed the button that asks.
   */
  #go(change: Partial<View>, when: "now" | "soon", history: "replace" | "push" = "replace", asked = false): void {
    this.#view = { ...this.#view, ...change };
    this.#k = pageLength;
    const address = `${location.pathname}${writeView(this.#view)}`;
    if (history === "push" && address !== location.pathname + location.search) window.history.pushState(null, "", address);
    else window.history.replaceState(null, "", address);
    this.#run(when);
    if (asked) this.#answer(true);
  }

  /** Shows the answer that the view asks for, or none. */
  #answer(asked: boolean): void {
    const question = this.#question();
    if (this.#view.ask && question) this.#answers?.ask(question, asked);
    else this.#answers?.hide();
  }

  #question(): Question | null {
    const { query, filters, mode, like } = this.#view;
    const filter = toFilter(filters);
    return query.trim() === "" || like !== null ? null : { text: query.trim(), ...(filter && { filter }), ...(mode !== "hybrid" && { mode }) };
  }

  #run(when: "now" | "soon"): void {
    const idle = isIdle(this.#view);
    byId("clear", HTMLButtonElement).hidden = idle;
    const askable = this.#answers !== null && this.#question() !== null;
    byId("ask", HTMLButtonElement).hidden = !askable;
    byId("search", HTMLFormElement).classList.toggle("askable", askable);
    this.#answer(false);
    byId("suggestions", HTMLElement).hidden = !idle || this.#index.site.suggestions.length === 0;
    byId("modes", HTMLElement).hidden = idle || (this.#view.suggestion === null && (this.#index.encoder === null || this.#view.like !== null));
    for (const button of byId("modes", HTMLElement).querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.dataset["mode"] === this.#view.mode));
    }
    if (idle) {
      this.#searcher.cancel();
      this.#list.replaceChildren();
      this.#notice.replaceChildren();
      this.#status.replaceChildren();
      this.#more.hidden = true;
    } else if (when === "now") {
      void this.#searcher.now(this.#view, this.#k);
    } else {
      this.#searcher.soon(this.#view, this.#k);
    }
    if (!idle) this.#encoding.watch();
  }

  #show({ results, milliseconds, final }: Outcome): void {
    for (const { id, title } of results.hits) this.#titles.set(id, title || id);
    showResults(this.#list, results, {
      columns: new Set(this.#columns.map(({ name }) => name)),
      base: this.#base,
      similar: (hit) => { this.#similar(hit); },
      filterBy: (column, value) => { this.#facets.select(column, value); this.#facets.show(this.#view.filters); },
    });
    this.#mark(results);
    this.#encoding.watch();
    if (!final) {
      this.#summarise(results, milliseconds, this.#index.encoder?.state.state === "loading");
      return;
    }
    const question = this.#question();
    if (question && results.hits.length > 0 && isQuestion(question.text)) this.#answers?.prepare(question);
    this.#latency.add(milliseconds);
    this.#inspector.record(results, milliseconds);
    this.#more.hidden = results.hits.length < this.#k || this.#k >= mostResults;
    this.#summarise(results, milliseconds, false);
    this.#notice.replaceChildren(...(results.note === undefined ? [] : [this.#wordsOnly(results.note)]), ...(results.hits.length === 0 ? [this.#nothingFound()] : []));
  }

  /** The first results that are on the page, for whoever measures the visit. */
  #mark(results: Results): void {
    const mark = (name: string): void => {
      if (results.hits.length > 0 && performance.getEntriesByName(name, "mark").length === 0) performance.mark(name);
    };
    if (results.mode !== "vector") mark("pywasm:first-keyword-result");
    if (results.mode !== "keyword") mark("pywasm:first-vector-result");
  }

  /** `more`: these are the words' results, those by meaning will take a while. */
  #summarise(results: Results, milliseconds: number, more: boolean): void {
    const { like, filters } = this.#view;
    const found = this.#k > pageLength || results.hits.length < this.#k
      ? plural(results.hits.length, "result") : `Best ${count(results.hits.length)} results`;
    const among = filters.size > 0 && results.passing !== null ? ` among ${plural(results.passing, "passage")}` : "";
    const words = h("span", { class: "by words" }, "words");
    const meaning = h("span", { class: "by meaning" }, "meaning");
    const by = results.mode === "hybrid" ? [words, " and ", meaning] : [results.mode === "vector" ? meaning : words];
    this.#status.replaceChildren(
      like === null ? "" : h("strong", {}, `More like “${this.#titles.get(like) ?? like}”: `),
      `${found}${among} by `, ...by, h("span", { class: "took" }, ` · ${duration(milliseconds)}`),
      more ? h("span", { class: "soon" }, " · meaning follows") : "");
  }

  /** Why there are no results by meaning, and what helps. */
  #wordsOnly(note: string): HTMLElement {
    const spared = savesData() && this.#index.encoder?.state.state === "idle";
    const size = bytes(this.#index.site.encoder?.compiled?.visit_bytes ?? 0);
    return h("div", { class: "note", role: "status" },
      h("p", {}, spared ? `Found by words only: what finds by meaning is ${size}, and this browser asks to save data.` : `Found by words only: the encoder could not be loaded. ${note}`),
      h("button", { type: "button", class: "inline", onclick: () => {
        this.#encoding.load();
        void this.#index.encoder?.load().then(() => { this.#run("now"); }, () => { this.#run("now"); });
      } }, spared ? `Load it (${size})` : "Try again"));
  }

  #nothingFound(): HTMLElement {
    const { filters, query } = this.#view;
    const terms = query.trim().split(/\s+/);
    const hints = [
      filters.size > 0 && h("button", { type: "button", class: "quiet", onclick: () => {
        this.#go({ filters: new Map() }, "now");
        this.#facets.show(this.#view.filters);
      } }, "Search without the filters"),
      terms.length > 1 && h("button", { type: "button", class: "quiet", onclick: () => {
        this.#input.value = terms[0] ?? "";
        this.#go(this.#typed(), "now", "push");
      } }, `Only “${terms[0] ?? ""}”`),
    ];
    const { suggestions } = this.#index.site;
    return h("div", { class: "empty" },
      h("h2", {}, query ? `Nothing matches “${query.trim()}”` : "Nothing passes these filters"),
      h("p", {}, suggestions.length > 0 && !this.#index.encoder
        ? "Typed words are looked up as they are: try fewer or more general ones, or ask one of the questions by meaning."
        : "Typed words are looked up as they are: try fewer or more general ones."),
      ...hints,
      suggestions.length > 0 && h("ul", { class: "chips" }, ...suggestions.slice(0, 4).map(({ text }, number) =>
        h("li", {}, h("button", { type: "button", class: "chip", onclick: () => {
          this.#input.value = text;
          this.#go({ query: text, suggestion: number, like: null, ask: false }, "now", "push");
        } }, text)))));
  }

  #similar(hit: Hit): void {
    this.#input.value = "";
    this.#go({ query: "", suggestion: null, like: hit.id, ask: false }, "now", "push");
    scrollTo({ top: 0 });
    this.#list.focus({ preventScroll: true });
  }

  #fail(error: unknown): void {
    const { title, text, action } = describe(error);
    this.#list.replaceChildren();
    this.#more.hidden = true;
    this.#status.replaceChildren();
    this.#notice.replaceChildren(h("div", { class: "problem", role: "alert" }, h("h2", {}, title), h("p", {}, text),
      action && h("button", { type: "button", class: "quiet", onclick: () => {
        if (action === "Try again") this.#run("now");
        else void this.#index.clear().then(() => { location.reload(); });
      } }, action)));
  }

  /** Follows the download into storage until it has come to an end. */
  async #watchFill(): Promise<void> {
    try {
      for (let looks = 0; ; looks++) {
        const { fill } = await this.#index.status();
        this.#loading.fill(fill);
        const underWay = fill.state === "running" || fill.state === "paused";
        if (!underWay && (fill.state !== "off" || looks > 10)) return;
        await new Promise((resolve) => { setTimeout(resolve, 500); });
      }
    } catch {
      this.#loading.hide();  // The next search says what is wrong, with what mends it.
    }
  }
}
