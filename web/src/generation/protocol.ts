/** What the page's side of a generator and its worker say to each other (calls as in inference/service.ts). */
import type { ShippedKv } from "../generated/manifest.ts";
import type { Found } from "../inference/find.ts";
import type { Sampling } from "./sampler.ts";
import type { GenerationStart, GeneratorOptions, Message, Prompt } from "./types.ts";

export interface OpenRequest extends Found {
  options: Pick<GeneratorOptions, "threads" | "memory" | "storage" | "marks"> & { shipped?: { site: string; kv: ShippedKv } };
}

export interface GenerateRequest {
  prompt: Prompt;
  maxTokens: number;
  sampling: Sampling;
  stop: readonly string[];
}

export interface SendRequest extends Omit<GenerateRequest, "prompt"> {
  /** Of the conversation. */
  id: string;
  private: boolean;
  /** Drop the oldest where the context is full. */
  sliding: boolean;
  /** All of it, the new one last. */
  messages: readonly Message[];
}

/** Of a generation. */
export type GenerationEvent = { start: GenerationStart } | { text: string };

export type Method = "open" | "generate" | "logits" | "prefetch" | "tokenize" | "status" | "timings" | "clear" | "remove" | "order"
  | "conversation" | "send" | "forget" | "conversations";
