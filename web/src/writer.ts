/**
 * What changes an index, builds and exports one. Most visits do none of it: the worker loads this as
 * a file of its own, writer.js, when it is first asked to (host.ts). The file is complete in itself,
 * with copies of what it shares with worker.js, so that a bundler may put it anywhere under any name.
 */
export { Changes } from "./changes.ts";
export { buildGeneration, emptyHead, placePages } from "./compact.ts";
export { emptyConfig, emptyManifest } from "./empty.ts";
export { exportSite } from "./export.ts";
