/** The inspector: what the last query did, where its pages came from, and what the index holds. */

import type { AnswerStats, Counters, Index, Results, Status, TierName } from "../src/pywasm.ts";
import { composition, meter, sparkline, waterfall, type Part } from "./charts.ts";
import { h } from "./dom.ts";
import { bytes, count, duration, percent, plural } from "./format.ts";
import { AnswerPart } from "./inspect-answer.ts";
import { EncoderPart, fact } from "./inspect-encoder.ts";
import type { Latency } from "./latency.ts";

const counterNames: Record<Exclude<keyof Counters, "fetched" | "bytes">, string> = {
  hops: "Graph nodes visited", codes: "Codes compared", distances: "Exact distances", clusters: "Clusters scanned",
  pagesHit: "Pages in memory", pagesMissed: "Pages fetched",
};
const fillNames: Record<Status["fill"]["state"], string> = {
  off: "off", running: "running", paused: "waiting", done: "complete", quota: "stopped: no space", failed: "failed; goes on at the next visit",
};
/** The size of a page, by the index format. */
const pageBytes = 16384;
const refreshEvery = 1000;
const tierNames: Record<TierName, string> = {
  memory: "Memory", opfs: "OPFS", indexeddb: "IndexedDB", leader: "Another tab", http: "Network",
};

export class Inspector {
  readonly #root: HTMLElement;
  readonly #button: HTMLButtonElement;
  readonly #index: Index;
  readonly #latency: Latency;
  readonly #query = h("div");
  readonly #speed = h("div");
  readonly #pages = h("div");
  readonly #memory = h("div");
  readonly #storage = h("div");
  readonly #facts = h("dl", { class: "facts" });
  readonly #slider = h("input", { type: "range", id: "budget", min: "0", max: "100", step: "1" });
  readonly #budget = h("output", { for: "budget" });
  readonly #encoder: EncoderPart;
  readonly #answer: AnswerPart;
  #timer: number | undefined;
  /** Pages that searches found in the cache. */
  #cached = 0;
  #last: { results: Results; milliseconds: number } | null = null;

  constructor(root: HTMLElement, button: HTMLButtonElement, index: Index, latency: Latency) {
    this.#root = root;
    this.#button = button;
    this.#index = index;
    this.#latency = latency;
    this.#encoder = new EncoderPart(index);
    this.#answer = new AnswerPart(index);
    button.addEventListener("click", () => { this.toggle(); });
    root.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      this.toggle();
    });
    root.append(
      h("header", {}, h("h2", {}, "Inspector"),
        h("button", { type: "button", class: "icon-button", "aria-label": "Close the inspector", onclick: () => { this.toggle(); } }, "×")),
      this.#section("Last query", this.#query),
      ...(index.generator ? [this.#section("Last answer", this.#answer.root)] : []),
      this.#section("Encoder", this.#encoder.root),
      this.#section("Latency", this.#speed),
      this.#section("Where pages came from", this.#pages),
      this.#section("Memory", this.#memory, this.#budgetControl()),
      this.#section("Stored on this device", this.#storage, this.#clearControl()),
      this.#section("Index", this.#facts));
  }

  toggle(): void {
    const open = this.#root.hidden;
    this.#root.hidden = !open;
    this.#button.setAttribute("aria-expanded", String(open));
    document.documentElement.classList.toggle("inspecting", open);
    clearInterval(this.#timer);
    if (open) {
      this.#root.focus();
      void this.#refresh();
      this.#timer = setInterval(() => { void this.#refresh(); }, refreshEvery);
    } else {
      this.#button.focus();
    }
  }

  /** Takes note of a finished query. */
  record(results: Results, milliseconds: number): void {
    this.#last = { results, milliseconds };
    this.#cached += results.counters.pagesHit;
    if (!this.#root.hidden) void this.#refresh();
  }

  recordAnswer(stats: AnswerStats): void {
    this.#answer.record(stats);
    if (!this.#root.hidden) void this.#refresh();
  }

  #section(title: string, ...children: Node[]): HTMLElement {
    return h("section", {}, h("h3", {}, title), ...children);
  }

  async #refresh(): Promise<void> {
    this.#showQuery();
    this.#showSpeed();
    for (const part of [this.#encoder, this.#answer]) void part.refresh().catch(() => undefined);
    const status = await this.#index.status();
    this.#showPages(status);
    this.#showMemory(status);
    this.#showStorage(status);
    this.#showFacts(status);
  }

  #showQuery(): void {
    if (!this.#last) {
      this.#query.replaceChildren(h("p", { class: "hint" }, "Search for something to see what it takes."));
      return;
    }
    const { results, milliseconds } = this.#last;
    const { fetched: _, bytes: size, ...numbers } = results.counters;
    const counters = Object.entries(numbers).filter(([, value]) => value > 0);
    this.#query.replaceChildren(
      h("p", { class: "total" }, h("strong", {}, duration(milliseconds)),
        ` for ${plural(results.hits.length, "result")}, ${duration(workerTime(results))} in the workers`),
      waterfall(results.stages),
      h("dl", { class: "facts" },
        ...counters.flatMap(([name, value]) => fact(counterNames[name as keyof typeof counterNames], count(value))),
        ...(size > 0 ? fact("Bytes read", bytes(size)) : [])));
  }

  #showSpeed(): void {
    const { samples } = this.#latency;
    this.#speed.replaceChildren(samples.length > 1 ? sparkline(samples) : h("p", { class: "hint" }, "A line of recent queries, from the second on."), h("dl", { class: "facts" },
      ...fact("Queries", count(samples.length)),
      ...(samples.length > 0 ? [...fact("p50", duration(this.#latency.quantile(0.5))), ...fact("p99", duration(this.#latency.quantile(0.99)))] : [])));
  }

  #showPages({ fetches, memory, bytes: downloaded, requests }: Status): void {
    const tiers = (Object.keys(tierNames) as TierName[]).filter((tier) => fetches[tier] !== undefined);
    const part = (key: string, name: string, pages: number): Part => ({
      key, name, value: pages, label: `${count(pages)} · ${bytes(pages * pageBytes)}`,
    });
    this.#pages.replaceChildren(
      composition([part("cache", "Page cache", this.#cached), ...tiers.map((tier) => part(tier, tierNames[tier], fetches[tier] ?? 0))]),
      h("dl", { class: "facts" }, ...fact("Downloaded", `${bytes(downloaded)} in ${plural(requests, "request")}`),
        ...fact("Pages held now", `${count(memory.cachedPages)} of ${count(memory.cacheSlots)}`)));
  }

  #showMemory({ memory, waitP95 }: Status): void {
    const used = memory.resident + memory.cache + memory.delta;
    this.#memory.replaceChildren(
      meter("In use", used, memory.budget, `${bytes(used)} of ${bytes(memory.budget)}`),
      h("dl", { class: "facts" },
        ...fact("Codes and tables, always held", bytes(memory.resident)), ...fact("Page cache", bytes(memory.cache)),
        ...(memory.delta > 0 ? fact("Inserted rows", bytes(memory.delta)) : []),
        ...fact("WebAssembly memory", bytes(memory.wasm)), ...fact("Wait for pages, p95", duration(waitP95))));
    if (document.activeElement !== this.#slider) this.#placeSlider(memory.budget);
  }

  #showStorage({ storage, fill }: Status): void {
    this.#storage.replaceChildren(
      meter(tierNames[storage.tier], storage.pages, storage.total,
        storage.total > 0 ? `${percent(storage.pages / storage.total)} of ${plural(storage.total, "page")}` : "nothing"),
      h("dl", { class: "facts" },
        ...fact("Download", fillNames[fill.state]),
        ...fact("Kept when space is short", storage.persisted ? "yes" : "not promised"),
        ...(storage.quota > 0 ? fact("This site uses", `${bytes(storage.usage)} of ${bytes(storage.quota)}`) : [])));
  }

  #showFacts(status: Status): void {
    const { site } = this.#index;
    this.#facts.replaceChildren(
      ...fact("Passages", count(status.rows)), ...(status.deleted > 0 ? fact("Deleted", count(status.deleted)) : []),
      ...fact("Kind", site.kind), ...fact("Vectors", `${count(site.dim)} × ${site.dtype}`), ...fact("Metric", site.metric),
      ...(site.kind === "flat" ? [] : fact("Codes", plural(site.codeBits, "bit") + " a dimension")), ...fact("Recall aimed at", "95 %"),
      ...fact("Encoder", site.encoder?.name ?? "none"), ...fact("Storage led by", status.leader ? "this tab" : "another tab"),
      ...fact("Generation", status.generation.slice(0, 12)));
  }

  #budgetControl(): HTMLElement {
    this.#slider.addEventListener("input", () => { this.#budget.textContent = bytes(this.#chosen()); });
    this.#slider.addEventListener("change", () => { void this.#index.setMemory(this.#chosen()).then(() => this.#refresh()); });
    return h("div", { class: "control" }, h("label", { for: "budget" }, "Budget"), this.#slider, this.#budget,
      h("button", { type: "button", class: "inline", onclick: () => { void this.#index.setMemory("auto").then(() => this.#refresh()); } }, "Automatic"));
  }

  /** The slider is logarithmic from 256 KB to 256 MB. */
  #chosen(): number {
    return Math.round(2 ** (18 + (this.#slider.valueAsNumber / 100) * 10));
  }

  #placeSlider(budget: number): void {
    this.#slider.value = String(((Math.log2(Math.max(1, budget)) - 18) / 10) * 100);
    this.#budget.textContent = bytes(budget);
  }

  #clearControl(): HTMLElement {
    const button: HTMLButtonElement = h("button", { type: "button", class: "quiet", onclick: () => {
      if (button.dataset["sure"] === undefined) {
        button.dataset["sure"] = "";
        button.textContent = "Really clear? The index will be downloaded again";
        setTimeout(() => { delete button.dataset["sure"]; button.textContent = "Clear"; }, 5000);
        return;
      }
      button.disabled = true;
      void this.#index.clear().then(() => { location.reload(); });
    } }, "Clear");
    return button;
  }
}

/** From a search's beginning to its last stage's end; the rest is the way there and back. */
function workerTime({ stages }: Results): number {
  return Math.max(0, ...stages.map(({ start, ms }) => start + ms));
}
