/** The encoder on the page: when it is fetched, what the line under the search box says of it, whether it is tuned. */

import type { EncoderSettings, Index } from "../src/pywasm.ts";
import type { LoadingLine } from "./loading.ts";
import { remember, remembered, siteKey } from "./memory.ts";

const usedKey = siteKey("encoder-used");
const tuneKey = "pywasm:tune";
const lookEvery = 120;

export function tuneWanted(): NonNullable<EncoderSettings["tune"]> {
  const chosen = remembered(tuneKey);
  return chosen === "on" || chosen === "off" ? chosen : "auto";
}

export function rememberTune(mode: "on" | "off"): void {
  remember(tuneKey, mode);
}

/** Follows the encoder from its first use; one that was used on an earlier visit is opened when the page is idle. */
export class Encoding {
  readonly #index: Index;
  readonly #loading: LoadingLine;
  #watching = false;

  constructor(index: Index, loading: LoadingLine) {
    this.#index = index;
    this.#loading = loading;
    if (index.encoder && remembered(usedKey) !== null && !savesData()) {
      const idle = typeof requestIdleCallback === "function" ? requestIdleCallback : (work: () => void) => setTimeout(work, 300);
      idle(() => { this.load(); });
    }
  }

  /** Loads it, again where that failed. */
  load(): void {
    void this.#index.encoder?.load().catch(() => undefined);  // the state tells
    this.watch();
  }

  /** Shows how far it is until it is there, or is not coming. */
  watch(): void {
    if (this.#watching || !this.#index.encoder || this.#index.encoder.state.state === "ready") return;
    this.#watching = true;
    const look = (): void => {
      const state = this.#index.encoder?.state;
      if (!state || state.state === "idle") {
        this.#watching = false;
        return;
      }
      this.#loading.encoder(state);
      if (state.state === "loading") {
        setTimeout(look, lookEvery);
        return;
      }
      this.#watching = false;
      if (state.state === "ready") remember(usedKey, "1");
    };
    setTimeout(look, lookEvery);
  }
}

export function savesData(): boolean {
  return (navigator as { connection?: { saveData?: boolean } }).connection?.saveData === true;
}
