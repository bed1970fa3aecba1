/** What a caller of Generator gives, checked on the page's side: a mistake is reported where it was made. */
import { PywasmError } from "../error.ts";
import type { GenerateRequest } from "./protocol.ts";
import type { GenerateOptions, Prompt, TextSegment } from "./types.ts";

const KINDS = ["system", "document", "question", "turn", "text"];

export function checkedRequest(prompt: Prompt, options: GenerateOptions): GenerateRequest {
  const { maxTokens = 256, temperature = 0, topK = 0, topP = 1, minP = 0, repetitionPenalty = 1, seed = Math.floor(Math.random() * 2 ** 32), stop = [] } = options;
  const that = (name: string, value: unknown, holds: boolean, expected: string): void => {
    if (!holds) throw wrong(`${name}: ${expected} expected, not ${JSON.stringify(value) ?? String(value)}`);
  };
  that("maxTokens", maxTokens, Number.isInteger(maxTokens) && maxTokens > 0, "a whole number of at least 1");
  that("temperature", temperature, temperature >= 0 && temperature < Infinity, "a number of at least 0");
  that("topK", topK, Number.isInteger(topK) && topK >= 0, "a whole number");
  that("topP", topP, topP > 0 && topP <= 1, "a number above 0, at most 1");
  that("minP", minP, minP >= 0 && minP <= 1, "a number from 0 to 1");
  that("repetitionPenalty", repetitionPenalty, repetitionPenalty > 0 && repetitionPenalty < Infinity, "a number above 0");
  that("seed", seed, Number.isInteger(seed), "a whole number");
  const stops = typeof stop === "string" ? [stop] : stop;
  that("stop", stop, Array.isArray(stops) && stops.every((text) => typeof text === "string" && text !== ""), "texts that are not empty");
  return { prompt: checkedPrompt(prompt), maxTokens, sampling: { temperature, topK, topP, minP, repetitionPenalty, seed }, stop: [...stops] };
}

/** Only what the worker needs: anything else may not be possible to send. */
export function checkedPrompt(prompt: Prompt): Prompt {
  if (typeof prompt === "string") return prompt;
  if (prompt && "messages" in prompt) {
    const { messages } = prompt;
    if (!Array.isArray(messages) || messages.length === 0 || messages.some((one) => typeof one?.role !== "string" || typeof one.content !== "string")) {
      throw wrong("messages: at least one {role, content}, both texts, expected");
    }
    return { messages: messages.map(({ role, content }) => ({ role, content })) };
  }
  if (prompt && "segments" in prompt) return { segments: checkedSegments(prompt.segments) };
  throw wrong("prompt: a text, {messages} or {segments} expected");
}

export function checkedSegments(segments: readonly TextSegment[]): TextSegment[] {
  if (!Array.isArray(segments) || segments.some((one) => !KINDS.includes(one?.kind) || typeof one.text !== "string" || (one.id !== undefined && typeof one.id !== "string"))) {
    throw wrong(`segments: a list of {kind, text, id?} expected, kind one of ${KINDS.join(", ")}`);
  }
  return segments.map(({ kind, text, id }) => ({ kind, text, ...(id !== undefined && { id }) }));
}

function wrong(message: string): PywasmError {
  return new PywasmError("argument", message);
}
