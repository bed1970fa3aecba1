/** The entry of generator.js: what pywasm.js loads when answers are wanted. */
export * from "./generation/generator.ts";
export { SiteAnswers } from "./ask.ts";
