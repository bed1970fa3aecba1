/** pywasm: search over a static site's index, or over one that lives in this browser. */
import type * as Generation from "./generation/generator.ts";
import type * as Inference from "./inference/encoder.ts";

export { Index, open, type IndexEncoder, type IndexGenerator } from "./client.ts";
export { PywasmError, type ErrorCode } from "./error.ts";
export type * from "./ask_types.ts";
export type * from "./generation/types.ts";
export type * from "./inference/types.ts";
export type { TuningState, TuningStatus } from "./tuning/tuning.ts";
export type * from "./types.ts";

/** Texts to vectors, by a model that `pywasm compile` wrote or a site carries. Its code is loaded by the first call. */
export const Encoder = {
  open: async (...arguments_: Parameters<typeof Inference.Encoder.open>): Promise<Encoder> => (await import("./encoder.ts")).Encoder.open(...arguments_),
};
export type Encoder = Inference.Encoder;

/** Texts from a language model that `pywasm compile` wrote or a site carries. Its code is loaded by the first call. */
export const Generator = {
  open: async (...arguments_: Parameters<typeof Generation.Generator.open>): Promise<Generator> => (await import("./generator.ts")).Generator.open(...arguments_),
};
export type Generator = Generation.Generator;
