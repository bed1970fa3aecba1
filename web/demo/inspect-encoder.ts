/** The inspector's part about the encoder: what it runs on, where its time goes, and its tuning. */

import type { EncoderStatus, Index, TuningStatus } from "../src/pywasm.ts";
import { meter, waterfall } from "./charts.ts";
import { h } from "./dom.ts";
import { rememberTune, savesData, tuneWanted } from "./encoding.ts";
import { bytes, count, duration, plural } from "./format.ts";

const storageNames: Record<EncoderStatus["storage"]["tier"], string> = { opfs: "OPFS", indexeddb: "IndexedDB", memory: "memory only" };
const tuningNames: Record<TuningStatus["state"], string> = {
  off: "off", waiting: "waits until the page is idle", booting: "starting Python", probing: "measuring this device", tuning: "trying kernels",
  paused: "paused", done: "done", restored: "taken from an earlier visit", failed: "failed; the default kernels stay",
};

export class EncoderPart {
  readonly root = h("div");
  readonly #index: Index;
  readonly #body = h("div");
  readonly #tuning = h("div", { class: "tuning" });
  readonly #switch = h("input", { type: "checkbox", id: "tune" });

  constructor(index: Index) {
    this.#index = index;
    this.root.append(this.#body);
    if (!index.site.encoder?.compiled?.tuner) return;
    this.#switch.checked = tuneWanted() !== "off";
    this.#switch.addEventListener("change", () => {
      const mode = this.#switch.checked ? "on" : "off";
      rememberTune(mode);
      void index.encoder?.tune(mode).catch(() => undefined).then(() => this.refresh());
    });
    this.root.append(this.#tuning, h("p", { class: "switch" }, this.#switch, h("label", { for: "tune" }, "Tune it for this device when idle")));
  }

  async refresh(): Promise<void> {
    const { encoder } = this.#index;
    const info = this.#index.site.encoder;
    if (!encoder || !info?.compiled) {
      this.#body.replaceChildren(h("p", { class: "hint" }, "This site carries none: what is typed is matched by words."));
      return;
    }
    const { state } = encoder;
    const about = [...fact("Model", info.name), ...fact("Weights", `${info.compiled.weights}, ${bytes(info.compiled.visit_bytes)}`)];
    if (state.state !== "ready") {
      const text = state.state === "loading" ? `${bytes(state.loaded)} of ${bytes(state.total)}`
        : state.state === "failed" ? "failed" : savesData() ? "not loaded, to save data" : "loads with the first typed question";
      this.#body.replaceChildren(meter("Download", state.loaded, state.total, text),
        state.error === null ? "" : h("p", { class: "hint" }, state.error), h("dl", { class: "facts" }, ...about));
      this.#tuning.replaceChildren();
      return;
    }
    const status = await (await encoder.load()).status();
    this.#body.replaceChildren(
      ...(status.last ? [h("p", {}, `Last question: ${plural(status.last.tokens, "token")}`), waterfall(status.last.stages)] : []),
      h("dl", { class: "facts" }, ...about,
        ...fact("Runs on", status.backend === "webgpu" ? "the graphics processor" : plural(status.threads, "thread")),
        ...fact("Arithmetic", status.numeric === "fused" ? "relaxed SIMD" : "SIMD"),
        ...fact("Memory", bytes(status.memory.total)),
        ...fact("Stored in", storageNames[status.storage.tier]), ...fact("Files found there", `${status.storage.stored} of ${status.storage.files}`),
        ...fact("Opened in", duration(Math.max(0, ...status.opening.map(({ start, ms }) => start + ms))))));
    this.#showTuning(encoder.tuner?.status ?? null);
  }

  #showTuning(status: TuningStatus | null): void {
    if (document.activeElement !== this.#switch) this.#switch.checked = tuneWanted() !== "off" && status?.state !== "off";
    if (!status || status.state === "off") {
      this.#tuning.replaceChildren(h("dl", { class: "facts" }, ...fact("Tuning", status?.reason ?? "off")));
      return;
    }
    const { state, reason, done, total, winners } = status;
    this.#tuning.replaceChildren(
      meter("Tuning", done, total, total > 0 ? `${count(done)} of ${plural(total, "kernel")}` : ""),
      h("p", { class: "hint" }, `${tuningNames[state]}${reason ? `: ${reason}` : ""}`),
      h("dl", { class: "facts" }, ...winners.flatMap(({ name, gain }) => fact(name, `${(1 / gain).toFixed(2)}× as fast`)),
        ...(state === "done" && winners.length === 0 ? fact("Found", "the defaults are the fastest here") : [])));
  }
}

export function fact(name: string, value: string): HTMLElement[] {
  return [h("dt", {}, name), h("dd", {}, value)];
}
