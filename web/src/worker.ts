/** The worker's entry. Imported by a page (`thread: "inline"`), it only offers createHost. */
import { expose } from "comlink";

import { createHost } from "./host.ts";

export { createHost };

if (typeof document === "undefined" && typeof self !== "undefined" && "postMessage" in self) expose(createHost());
