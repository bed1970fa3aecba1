/** The worker's entry. Imported by a page (`thread: "inline"`), it only offers createHost. */
import { createHost } from "./host.ts";
import { serveHost, type WorkerScope } from "./rpc.ts";

export { createHost };

if (typeof document === "undefined" && typeof self !== "undefined" && "postMessage" in self) serveHost(createHost(), self as unknown as WorkerScope);
