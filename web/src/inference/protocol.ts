/** What the page's side of a model and its worker say to each other: numbered calls, answers, events. */
import type { PlainError } from "../error.ts";
import type { Found } from "./find.ts";
import type { EncoderOptions } from "./types.ts";

export interface OpenRequest extends Found {
  options: Pick<EncoderOptions, "threads" | "backend" | "storage" | "rows" | "marks">;
}

/** What the page knows of the model. */
export interface ModelInfo {
  name: string;
  licence: string;
  /** SHA-256 of what it was compiled from. */
  source: string;
  dim: number;
  maxTokens: number;
}

/** Calls of an encoder; "connect", "cancel" and "close" are known to every worker (service.ts). */
export type Method = "open" | "encode" | "run" | "status" | "timings" | "tuneWork" | "adopt" | "clear";

export interface Request {
  number: number;
  method: string;
  args: unknown[];
}

export type Reply =
  | { number: number; value: unknown }
  | { number: number; error: PlainError }
  | { number: number; event: unknown };
