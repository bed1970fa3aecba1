/** The line under the search box while index and encoder come: what already works, and what will. */

import type { EncoderState, ProgressEvent, Status } from "../src/pywasm.ts";
import { byId } from "./dom.ts";
import { bytes, percent } from "./format.ts";

export interface LoadingLine {
  progress: (event: ProgressEvent) => void;
  /** Shows how much of the index is stored on this device. */
  fill: (fill: Status["fill"]) => void;
  /** Shows how much of the encoder is here; while it comes, that is what the line tells. */
  encoder: (state: EncoderState) => void;
  hide: () => void;
}

export function loadingLine(): LoadingLine {
  const line = byId("loading", HTMLElement);
  const bar = byId("loading-bar", HTMLProgressElement);
  const text = byId("loading-text", HTMLElement);
  let filling = false;
  let encoding = false;
  let last: Status["fill"] | null = null;
  const show = (share: number, words: string, resting: boolean): void => {
    bar.value = share;
    line.classList.toggle("resting", resting);
    text.textContent = words;
  };
  const showFill = ({ done, total, state }: Status["fill"]): void => {
    const share = total > 0 ? done / total : 0;
    show(share, fillText(state, share), state !== "running" && state !== "paused");
  };
  return {
    progress({ status, loaded, total }) {
      if (filling || encoding || !total || status === "encoder") return;
      bar.value = loaded / total;
      text.textContent = `Opening the index: ${bytes(loaded)} of ${bytes(total)}`;
    },
    fill(fill) {
      filling = true;
      last = fill;
      if (!encoding) showFill(fill);
    },
    encoder({ state, loaded, total }) {
      encoding = state === "loading";
      const share = total > 0 ? loaded / total : 0;
      if (encoding) show(share, `Fetching what finds by meaning, once: ${bytes(loaded)} of ${bytes(total)}`, false);
      else if (last) showFill(last);
      else this.hide();
    },
    hide() {
      line.classList.add("resting");
      text.textContent = "";
    },
  };
}

function fillText(state: Status["fill"]["state"], share: number): string {
  switch (state) {
    case "running":
    case "paused":  // for the searches that are running, or until the network is back
      return `Ready. Storing it for offline use: ${percent(share)}`;
    case "done":
      return canWorkOffline() ? "Stored on this device: works offline" : "Stored on this device";
    case "quota":
      return `No space left on this device: ${percent(share)} is stored, the rest is fetched when needed`;
    case "failed":
      return `The download stopped at ${percent(share)}: it goes on at the next visit`;
    case "off":
      return "Fetches what a search needs";
  }
}

/** Service workers, which serve the page itself without a network, need a secure context. */
function canWorkOffline(): boolean {
  return isSecureContext && "serviceWorker" in navigator;
}
