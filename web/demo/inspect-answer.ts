/** The inspector's part about answers: how soon the first word came and why, what the model runs on, what it holds. */

import type { AnswerStats, GeneratorStatus, Index } from "../src/pywasm.ts";
import { composition, meter } from "./charts.ts";
import { h } from "./dom.ts";
import { bytes, count, duration, plural } from "./format.ts";
import { fact } from "./inspect-encoder.ts";

const storageNames: Record<GeneratorStatus["storage"]["tier"], string> = { opfs: "OPFS", indexeddb: "IndexedDB", memory: "memory only" };

export class AnswerPart {
  readonly root = h("div");
  readonly #index: Index;
  readonly #last = h("div");
  readonly #model = h("div", { class: "model" });
  #stats: AnswerStats | null = null;

  constructor(index: Index) {
    this.#index = index;
    this.root.append(this.#last, this.#model);
  }

  record(stats: AnswerStats): void {
    this.#stats = stats;
  }

  async refresh(): Promise<void> {
    const { generator, site } = this.#index;
    if (!generator || !site.answers) return;
    this.#showLast();
    const { state } = generator;
    const about = [...fact("Model", site.answers.name), ...fact("Weights", `${site.answers.weights}, ${bytes(site.answers.visit_bytes)}`)];
    if (state.state !== "ready") {
      const text = state.state === "loading" ? `${bytes(state.loaded)} of ${bytes(state.total)}` : state.state === "failed" ? "failed" : "loads with the first question";
      this.#model.replaceChildren(meter("Download", state.loaded, state.total, text),
        state.error === null ? "" : h("p", { class: "hint" }, state.error), h("dl", { class: "facts" }, ...about));
      return;
    }
    const status = await (await generator.load()).status();
    const { kv, memory, storage } = status;
    this.#model.replaceChildren(
      meter("KV in memory", kv.blocks, kv.budget, `${bytes(kv.bytes)}, ${count(kv.blocks)} of ${plural(kv.budget, "block")}`),
      h("dl", { class: "facts" }, ...about,
        ...fact("Runs on", plural(status.threads, "thread")),
        ...fact("Arithmetic", `${status.activations}, ${status.numeric === "fused" ? "relaxed SIMD" : "SIMD"}`),
        ...fact("Memory", bytes(memory.total)), ...fact("of it weights", bytes(memory.weights)), ...fact("of it KV", bytes(memory.kv)),
        ...fact("Stored in", storageNames[storage.tier]), ...fact("Files found there", `${storage.stored} of ${storage.files}`),
        ...fact("Opened in", duration(Math.max(0, ...status.opening.map(({ start, ms }) => start + ms))))));
  }

  #showLast(): void {
    if (!this.#stats) {
      this.#last.replaceChildren(h("p", { class: "hint" }, "Ask something to see what an answer takes."));
      return;
    }
    const { firstMs, searchMs, loadMs, ttftMs, promptTokens, cachedTokens, sources, tokens, tokensPerSecond, savedMs } = this.#stats;
    const part = (key: string, name: string, value: number): { key: string; name: string; value: number; label: string } => ({ key, name, value, label: plural(value, "token") });
    this.#last.replaceChildren(
      h("p", { class: "total" }, ...(firstMs === null ? ["stopped before the first word"] : [h("strong", {}, duration(firstMs)), " to the first word"])),
      h("p", { class: "why" }, why(this.#stats)),
      composition([
        part("cache", "KV in memory", sources.memory), part("opfs", "KV stored on this device", sources.storage), part("indexeddb", "KV sent by the site", sources.shipped),
        part("http", "Computed now", promptTokens - cachedTokens),
      ]),
      h("dl", { class: "facts" },
        ...fact("Search", duration(searchMs)), ...(loadMs >= 1 ? fact("Loading the model", duration(loadMs)) : []), ...fact("Reading the prompt", duration(ttftMs)),
        ...(savedMs !== null && savedMs >= 1 ? fact("Saved by the cache", duration(savedMs)) : []),
        ...fact("Written", plural(tokens, "token")), ...(tokens > 1 ? fact("Tokens a second", count(Math.round(tokensPerSecond))) : [])));
  }
}

/** In a sentence: where the prompt's KV came from. */
function why({ promptTokens, cachedTokens, sources }: AnswerStats): string {
  if (cachedTokens === 0) return `All ${plural(promptTokens, "token")} of the prompt had to be read.`;
  const places = [
    sources.memory > 0 ? "in memory" : "", sources.storage > 0 ? "stored here on an earlier occasion" : "", sources.shipped > 0 ? "computed when the site was built" : "",
  ].filter(Boolean);
  return `Of ${plural(promptTokens, "token")} only ${count(promptTokens - cachedTokens)} had to be read: the KV of the others was ${places.join(" or ")}.`;
}
