/** pywasm: search over a static site's index, or over one that lives in this browser. */
export { Index, open } from "./client.ts";
export { PywasmError, type ErrorCode } from "./error.ts";
export type * from "./types.ts";
