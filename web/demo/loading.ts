/** The line under the search box while the index comes: what already works, and what will. */

import type { ProgressEvent, Status } from "../src/pywasm.ts";
import { byId } from "./dom.ts";
import { bytes, percent } from "./format.ts";

export interface LoadingLine {
  progress: (event: ProgressEvent) => void;
  /** Shows how much of the index is stored on this device. */
  fill: (fill: Status["fill"]) => void;
  hide: () => void;
}

export function loadingLine(): LoadingLine {
  const line = byId("loading", HTMLElement);
  const bar = byId("loading-bar", HTMLProgressElement);
  const text = byId("loading-text", HTMLElement);
  let filling = false;
  return {
    progress({ loaded, total }) {
      if (filling || !total) return;
      bar.value = loaded / total;
      text.textContent = `Opening the index: ${bytes(loaded)} of ${bytes(total)}`;
    },
    fill({ done, total, state }) {
      filling = true;
      bar.value = total > 0 ? done / total : 0;
      line.classList.toggle("resting", state !== "running" && state !== "paused");
      text.textContent = fillText(state, total > 0 ? done / total : 0);
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
