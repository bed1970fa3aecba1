/** What the page's side of an encoder and its worker say to each other: numbered calls, answers, events. */
import type { PlainError } from "../error.ts";
import type { EncoderOptions, EncoderProgress } from "./types.ts";

export interface OpenRequest {
  /** The folder of the plan, ending in "/". */
  address: string;
  /** The content of plan.json; null if its host could not be reached. */
  plan: string | null;
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

export type Method = "connect" | "open" | "encode" | "run" | "status" | "timings" | "tuneWork" | "adopt" | "clear" | "cancel" | "close";

export interface Request {
  number: number;
  method: Method;
  args: unknown[];
}

export type Reply =
  | { number: number; value: unknown }
  | { number: number; error: PlainError }
  | { number: number; event: EncoderProgress };
