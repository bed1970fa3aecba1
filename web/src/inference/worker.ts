/** The entry of encoder-worker.js. Imported (`thread: "inline"`), it only offers serveEncoder(). */
import { spawn } from "../spawn.ts";
import { encoderService } from "./host.ts";
import { serve } from "./service.ts";
import type { Channel } from "./thread.ts";

/** `start` starts a worker with this same script. */
export function serveEncoder(channel: Channel, start: () => Worker): void {
  serve(channel, () => encoderService(start));
}

if (typeof document === "undefined" && typeof self !== "undefined" && "postMessage" in self) {
  serveEncoder(self as unknown as Channel, () => spawn(new URL(import.meta.url), "pywasm-thread"));
}
