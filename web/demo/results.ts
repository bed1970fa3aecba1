/** The list of results. */

import type { Hit, Results } from "../src/pywasm.ts";
import { h, setShare } from "./dom.ts";
import { score as formatScore } from "./format.ts";
import { marked, snippet, underTitle, type Range, type Run } from "./snippet.ts";

const snippetLength = 250;
/** As in src/fuse.ts: a rank counts weight / (8 + rank). */
const fusionConstant = 8;
const weights = { words: 1, meaning: 1.5 };

export interface ResultActions {
  /** Columns whose values can be filtered by. */
  columns: ReadonlySet<string>;
  /** Base that relative links of documents are resolved against. */
  base: URL;
  similar?: (hit: Hit) => void;
  filterBy: (column: string, value: string | number) => void;
}

/** Replaces the list's contents. Focus on a result is kept where the same one is still there. */
export function showResults(list: HTMLOListElement, results: Results, actions: ResultActions): void {
  const focused = list.contains(document.activeElement) ? document.activeElement?.closest("li")?.dataset["id"] : undefined;
  const best = Math.max(...results.hits.map((hit) => strength(hit, results)), Number.MIN_VALUE);
  list.replaceChildren(...results.hits.map((hit, place) => item(hit, place, strength(hit, results) / best, actions)));
  if (focused !== undefined) {
    const again = [...list.children].find((entry) => (entry as HTMLElement).dataset["id"] === focused);
    again?.querySelector<HTMLElement>(".title-target")?.focus();
  }
}

/** What each result can be reached by with the arrow keys. */
export function resultTargets(list: HTMLOListElement): HTMLElement[] {
  return [...list.querySelectorAll<HTMLElement>(".title-target")];
}

function item(hit: Hit, place: number, share: number, actions: ResultActions): HTMLLIElement {
  const link = safeLink(hit.url, hit.anchor, actions.base);
  const title = hit.title || hit.id;
  const { text, whole } = passage(underTitle(hit.title, hit.text, hit.highlights));
  return h("li", { class: "result", "data-id": hit.id },
    h("span", { class: "rank", "aria-hidden": "true" }, String(place + 1)),
    h("div", { class: "body" },
      link && h("p", { class: "trail", "aria-hidden": "true" }, trail(link, actions.base)),
      h("h2", { class: "title" }, link
        ? h("a", { class: "title-target", href: link.href }, title)
        : h("span", { class: "title-target", tabindex: "-1" }, title)),
      text,
      details(hit, title, whole, actions)),
    scoreColumn(hit, share));
}

/** The link of a passage, or null where it has none or one that is not for the web (`javascript:`). */
export function safeLink(url: string | undefined, anchor: string | undefined, base: URL): URL | null {
  if (!url) return null;
  try {
    const link = new URL(url, base);
    if (link.protocol !== "https:" && link.protocol !== "http:") return null;
    if (anchor) link.hash = anchor;
    return link;
  } catch {
    return null;
  }
}

/** "docs.python.org › library › datetime": where a link leads. */
function trail(link: URL, base: URL): string {
  const steps = link.pathname.split("/").filter((step) => step !== "").map((step) => {
    try {
      return decodeURIComponent(step);
    } catch {
      return step;
    }
  });
  const last = steps.length - 1;
  steps.forEach((step, place) => { if (place === last) steps[place] = step.replace(/\.(html?|md|rst|txt)$/, ""); });
  return [...(link.host === base.host ? [] : [link.host]), ...steps].join(" › ");
}

/** The snippet, and the button that opens the whole text where the snippet is a part of it. */
function passage(hit: Pick<Hit, "text"> & { highlights: readonly Range[] }): { text: HTMLElement; whole: HTMLElement | null } {
  const cut = snippet(hit.text, hit.highlights, snippetLength);
  const short = (): (Node | string)[] => [cut.cutBefore ? "… " : "", ...runs(cut.runs), cut.cutAfter ? " …" : ""];
  const text = h("p", { class: "snippet" }, ...short());
  if (!cut.cutBefore && !cut.cutAfter) return { text, whole: null };
  const whole = h("button", { type: "button", class: "inline", "aria-expanded": "false", onclick: () => {
    const open = whole.getAttribute("aria-expanded") !== "true";
    whole.setAttribute("aria-expanded", String(open));
    whole.textContent = open ? "Show less" : "Show all";
    text.classList.toggle("whole", open);
    if (open) text.setAttribute("tabindex", "0"); else text.removeAttribute("tabindex");
    text.replaceChildren(...(open ? runs(marked(hit.text, hit.highlights)) : short()));
  } }, "Show all");
  return { text, whole };
}

function runs(parts: Run[]): (Node | string)[] {
  return parts.map(({ text, marked: isMarked }) => isMarked ? h("mark", {}, text) : text);
}

function details(hit: Hit, title: string, whole: HTMLElement | null, actions: ResultActions): HTMLElement {
  const values = Object.entries(hit.metadata).filter(([, value]) => value !== "");
  return h("div", { class: "details" },
    ...values.map(([name, value]) => {
      const label = [h("span", { class: "tag-name" }, name, h("span", { class: "visually-hidden" }, ":")), String(value)];
      if (!actions.columns.has(name)) return h("span", { class: "tag" }, ...label);
      return h("button", { type: "button", class: "tag", title: `Only ${name}: ${value}`, onclick: () => { actions.filterBy(name, value); } },
        h("span", { class: "visually-hidden" }, "Only "), ...label);
    }),
    whole,
    actions.similar && h("button", { type: "button", class: "inline", onclick: () => { actions.similar?.(hit); } },
      "More like this", h("span", { class: "visually-hidden" }, `: ${title}`)));
}

/** How strong a hit is on a scale from 0, for the length of its bar. */
function strength(hit: Hit, results: Results): number {
  return results.mode === "hybrid" ? fused(hit.ranks.keyword, weights.words) + fused(hit.ranks.vector, weights.meaning) : Math.max(0, hit.score);
}

function fused(rank: number | undefined, weight: number): number {
  return rank === undefined ? 0 : weight / (fusionConstant + rank);
}

function scoreColumn(hit: Hit, share: number): HTMLElement {
  const { keyword, vector } = hit.ranks;
  const origin = keyword !== undefined && vector !== undefined ? "both" : vector !== undefined ? "meaning" : "words";
  const bar = h("span", { class: `bar ${origin}`, "aria-hidden": "true" });
  setShare(bar, "--share", share);
  const byWords = fused(keyword, weights.words);
  const words = byWords / (byWords + fused(vector, weights.meaning));
  setShare(bar, "--words-share", Number.isNaN(words) ? 1 : words);
  const ranks = origin === "both" ? [`words #${keyword}`, `meaning #${vector}`] : [origin];
  return h("div", { class: "score" }, bar,
    h("span", { class: "number", title: hit.exact ? "" : "Estimated: the full vector has not been read" },
      h("span", { class: "visually-hidden" }, "Score "), `${hit.exact ? "" : "≈ "}${formatScore(hit.score)}`),
    h("span", { class: "visually-hidden" }, " found by "), ...ranks.map((rank) => h("span", { class: "origin" }, rank)));
}
