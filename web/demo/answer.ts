/** The answer on the page: the model's download, the sources, the text as it comes, and what it is worth. */

import type { Answer, AnswerStats, Citation, Filter, Hit, Index, Mode } from "../src/pywasm.ts";
import { answerBlocks, type Block } from "./answer-text.ts";
import { byId, h } from "./dom.ts";
import { savesData } from "./encoding.ts";
import { bytes, count, duration, plural } from "./format.ts";
import { remember, remembered, siteKey } from "./memory.ts";
import { describeAnswer } from "./problems.ts";
import { safeLink } from "./results.ts";

const usedKey = siteKey("generator-used");
/** Tokens of a draft: small models have said by then what they know, and go on regardless. */
const maxTokens = 128;
/** A visitor who has not typed for so long, ms, may be about to ask. */
const pauseMs = 400;

export interface Question {
  text: string;
  filter?: Filter;
  mode?: Mode;
}

export class AnswerPanel {
  readonly #index: Index;
  readonly #base: URL;
  readonly #record: (stats: AnswerStats) => void;
  readonly #root = byId("answer", HTMLElement);
  readonly #announce = byId("answer-status", HTMLElement);
  #running: AbortController | null = null;
  #preparing: AbortController | null = null;
  #pause: ReturnType<typeof setTimeout> | undefined;
  /** What is shown, or asked for: the same question is not asked again. */
  #question = "";

  constructor(index: Index, base: URL, record: (stats: AnswerStats) => void) {
    this.#index = index;
    this.#base = base;
    this.#record = record;
  }

  /**
   * Answers. The model is downloaded if the visitor has used it before or `asked` for it by name;
   * else they are told first what that takes.
   */
  ask(question: Question, asked: boolean): void {
    const key = JSON.stringify(question);
    if (this.#question === key && (this.#running || !asked)) return;
    this.hide();
    this.#question = key;
    if (asked || this.#isHere()) void this.#answer(question);
    else this.#offer(question);
  }

  /** Whether it can be used without a word about its download. */
  #isHere(): boolean {
    return this.#index.generator?.state.state === "ready" || (remembered(usedKey) !== null && !savesData());
  }

  /** When the visitor pauses: opens the model if it was used before, and reads what the question would need. */
  prepare({ text, ...options }: Question): void {
    this.#forgetPrepared();
    if (this.#running || !this.#isHere()) return;
    this.#pause = setTimeout(() => {
      const { signal } = (this.#preparing = new AbortController());
      // A guess: where it fails, the question itself tells what is wrong.
      void this.#index.generator?.load({ signal }).then(() => this.#index.prepare(text, { ...options, signal })).catch(() => undefined);
    }, pauseMs);
  }

  /** Ends what is running and takes the panel away. */
  hide(): void {
    this.#forgetPrepared();
    this.#running?.abort();
    this.#running = null;
    this.#question = "";
    this.#dismiss();
  }

  /** Takes the panel away; the question is not asked again by itself. */
  #dismiss(): void {
    this.#root.hidden = true;
    this.#root.replaceChildren();
    this.#announce.textContent = "";
  }

  #forgetPrepared(): void {
    clearTimeout(this.#pause);
    this.#preparing?.abort();
    this.#preparing = null;
  }

  #offer(question: Question): void {
    const { answers } = this.#index.site;
    const size = bytes(answers?.visit_bytes ?? 0);
    this.#show(
      h("p", {}, `A small language model (${answers?.name ?? ""}) can draft an answer from what is found. It runs on this device, and what you ask stays here. It is ${size}, downloaded once.`),
      h("p", { class: "answer-actions" }, h("button", { type: "button", class: "quiet", onclick: () => { void this.#answer(question); } }, `Load it and answer (${size})`),
        h("button", { type: "button", class: "inline", onclick: () => { this.#dismiss(); } }, "No, thanks")));
  }

  async #answer({ text, ...options }: Question): Promise<void> {
    const running = (this.#running = new AbortController());
    const { signal } = running;
    // What had the focus, the button that asked for this, is taken away.
    const focused = this.#root.contains(document.activeElement);
    const state = h("p", { class: "answer-state" }, "Searching…");
    const bar = h("progress", { "aria-label": "Download of the language model", max: "1", hidden: true });
    const stop = h("button", { type: "button", class: "quiet stop", onclick: () => { running.abort(); } }, "Cancel");
    const sources = h("ol", { class: "sources", "aria-label": "Made from", hidden: true });
    const body = h("div", { class: "answer-text" });
    this.#show(h("div", { class: "answer-head" }, state, stop), bar, sources, body);
    if (focused) stop.focus();
    const say = (words: string): void => {
      state.textContent = words;
      this.#announce.textContent = words;
    };
    say("Searching…");
    const writing = new Writing(body);
    // At once, beside the search, which may have to wait for its encoder.
    if (this.#isHere()) void this.#index.generator?.load({ signal }).catch(() => undefined);
    const answer = this.#index.ask(text, {
      ...options, signal, maxTokens,
      onSources: (hits) => {
        sources.hidden = false;
        sources.replaceChildren(...hits.map((hit, number) => h("li", {}, this.#source(hit, number))));
        if (this.#index.generator?.state.state !== "ready") say("Loading the language model…");
        else say(reading(hits.length));
      },
      onProgress: ({ loaded, total }) => {
        if (total === 0) return;
        bar.hidden = false;
        bar.value = loaded / total;
        state.textContent = `Fetching the language model, once: ${bytes(loaded)} of ${bytes(total)}`;
      },
      onStart: ({ promptTokens, cachedTokens }) => {
        remember(usedKey, "1");
        bar.hidden = true;
        stop.textContent = "Stop";
        say(cachedTokens > 0 ? `Reading ${count(promptTokens - cachedTokens)} tokens; ${count(cachedTokens)} were read before` : `Reading ${plural(promptTokens, "token")}`);
      },
    });
    let first = true;
    try {
      for await (const piece of answer) {
        if (first) say("Writing…");
        first = false;
        writing.add(piece);
      }
    } catch (error) {
      if (signal.aborted && this.#running !== running) return;  // hidden, or another question
      if (!signal.aborted) {
        this.#fail(error, { text, ...options });
        return;
      }
    } finally {
      if (this.#running === running) this.#running = null;
    }
    bar.hidden = true;
    if (document.activeElement === stop) this.#root.focus({ preventScroll: true });
    stop.remove();
    await this.#finish(answer, writing, say, signal.aborted);
  }

  /** The text with its citations, and what it took. */
  async #finish(answer: Answer, writing: Writing, say: (words: string) => void, aborted: boolean): Promise<void> {
    if (writing.text === "" && aborted) {
      this.#dismiss();
      return;
    }
    const [sources, citations, stats] = await Promise.all([answer.sources, answer.citations, answer.stats]);
    if (stats.reason === "nothing") {
      say("Nothing was found that an answer could be made from.");
      return;
    }
    if (stats.reason === "length") writing.text = `${writing.text.trimEnd()} …`;
    writing.finish(citations, (source) => this.#citation(sources[source]!, source));
    say(aborted ? "Stopped; made from" : stats.reason === "length" ? "A draft that was getting too long, made from" : "A draft, made from");
    this.#record(stats);
    const { name } = this.#index.site.answers ?? { name: "" };
    this.#root.append(
      h("p", { class: "caution" }, `Drafted by ${name}, a small model that is often wrong. ${whatNumbersAre(citations)}`),
      h("p", { class: "hint" }, took(stats)));
  }

  #fail(error: unknown, question: Question): void {
    const { title, text } = describeAnswer(error);
    this.#show(h("div", { role: "alert" }, h("h3", {}, title), h("p", {}, text)),
      h("p", { class: "answer-actions" }, h("button", { type: "button", class: "quiet", onclick: () => { void this.#answer(question); } }, "Try again")));
    this.#announce.textContent = "";
  }

  #show(...children: Node[]): void {
    this.#root.hidden = false;
    this.#root.replaceChildren(h("h2", { class: "visually-hidden" }, "Answer"), ...children);
  }

  #source({ title, id, url, anchor }: Hit, number: number): HTMLElement {
    const link = safeLink(url, anchor, this.#base);
    const name = [h("span", { class: "number" }, String(number + 1)), title || id];
    return link ? h("a", { href: link.href }, ...name) : h("span", {}, ...name);
  }

  #citation({ title, id, url, anchor }: Hit, source: number): HTMLElement {
    const link = safeLink(url, anchor, this.#base);
    const number = String(source + 1);
    const name = `Source ${number}: ${title || id}`;
    return h("sup", {}, link ? h("a", { class: "citation", href: link.href, title: title || id, "aria-label": name }, number) : h("span", { class: "citation", title: title || id }, number));
  }
}

/** A text that grows: shown once a frame at most. */
class Writing {
  readonly #body: HTMLElement;
  #frame = 0;
  text = "";

  constructor(body: HTMLElement) {
    this.#body = body;
  }

  add(piece: string): void {
    this.text += piece;
    this.#body.setAttribute("aria-busy", "true");
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#body.replaceChildren(...answerBlocks(this.text, []).map((block) => element(block, () => h("sup"))));
    });
  }

  finish(citations: readonly Citation[], link: (source: number) => Node): void {
    cancelAnimationFrame(this.#frame);
    this.#body.removeAttribute("aria-busy");
    this.#body.replaceChildren(...answerBlocks(this.text, citations).map((block) => element(block, link)));
  }
}

function element(block: Block, link: (source: number) => Node): HTMLElement {
  if ("code" in block) return h("div", { class: "code" }, h("pre", { tabindex: "0" }, h("code", {}, block.code)), ...block.sources.map(link));
  return h("p", {}, ...block.parts.map((part) => {
    switch (part.kind) {
      case "text": return part.text;
      case "code": return h("code", {}, part.text);
      case "strong": return h("strong", {}, part.text);
      case "break": return h("br");
      case "source": return link(part.source);
    }
  }));
}

function whatNumbersAre([first]: readonly Citation[]): string {
  if (!first) return "None of it could be matched with a passage: be wary.";
  return first.by === "mark" ? "The numbers are its own references." : "The numbers lead to the passages that share its words.";
}

function reading(passages: number): string {
  return `Reading ${plural(passages, "passage")}…`;
}

function took({ firstMs, tokensPerSecond, tokens, promptTokens, cachedTokens }: AnswerStats): string {
  const parts = [
    firstMs === null ? "" : `First word after ${duration(firstMs)}`,
    tokens > 1 ? `${Math.round(tokensPerSecond)} tokens/s` : "",
    cachedTokens > 0 ? `${count(cachedTokens)} of ${plural(promptTokens, "token")} were read before` : `${plural(promptTokens, "token")} read`,
  ];
  return parts.filter(Boolean).join(" · ");
}
