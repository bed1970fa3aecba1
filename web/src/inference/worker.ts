/** The entry of encoder-worker.js. Imported (`thread: "inline"`), it only offers serve(). */
import { serve } from "./host.ts";
import { spawn } from "../spawn.ts";
import type { Channel } from "./thread.ts";

export { serve };

if (typeof document === "undefined" && typeof self !== "undefined" && "postMessage" in self) {
  serve(self as unknown as Channel, () => spawn(new URL(import.meta.url), "pywasm-thread"));
}
