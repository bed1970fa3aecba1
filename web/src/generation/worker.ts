/** The entry of generator-worker.js. Imported (`thread: "inline"`), it only offers serveGenerator(). */
import { serve } from "../inference/service.ts";
import type { Channel } from "../inference/thread.ts";
import { spawn } from "../spawn.ts";
import { generatorService } from "./host.ts";

/** `start` starts a worker with this same script. */
export function serveGenerator(channel: Channel, start: () => Worker): void {
  serve(channel, () => generatorService(start));
}

if (typeof document === "undefined" && typeof self !== "undefined" && "postMessage" in self) {
  serveGenerator(self as unknown as Channel, () => spawn(new URL(import.meta.url), "pywasm-thread"));
}
