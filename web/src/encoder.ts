/** The entry of encoder.js: what pywasm.js loads when vectors of texts are wanted. */
export * from "./inference/encoder.ts";
export { SiteEncoder } from "./site_encoder.ts";
