/** Messages to the text of a prompt, by the chat template that the model brings (Jinja, as Hugging Face's library reads it). */
import { Template } from "@huggingface/jinja";

import { PywasmError } from "../error.ts";
import type { Message, TextSegment } from "./types.ts";

export class ChatTemplate {
  readonly #template: Template;
  readonly #bos: string;
  readonly #eos: string;

  /** `bos`, `eos`: the tokens as the template may write them. */
  constructor(source: string, bos: string, eos: string, file: string) {
    try {
      this.#template = new Template(source);
    } catch (cause) {
      throw new PywasmError("corrupt", `${file}: its chat template can't be read: ${cause instanceof Error ? cause.message : String(cause)}`, { file, cause });
    }
    this.#bos = bos;
    this.#eos = eos;
  }

  /** `answer`: with what begins the assistant's answer. */
  render(messages: readonly Message[], answer: boolean): string {
    try {
      return this.#template.render({ messages, add_generation_prompt: answer, bos_token: this.#bos, eos_token: this.#eos });
    } catch (cause) {
      throw new PywasmError("argument", `the model's chat template refuses these messages: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    }
  }

  /**
   * The prompt as segments, one a message, whose texts joined are what the template makes of all.
   * `literal` is applied to what people wrote.
   */
  segments(messages: readonly Message[], literal: (text: string) => string): TextSegment[] {
    const written = messages.map(({ role, content }) => ({ role, content: literal(content) }));
    const whole = this.render(written, true);
    const segments: TextSegment[] = [];
    let from = 0;
    const add = (kind: TextSegment["kind"], end: number): void => {
      if (end > from) segments.push({ kind, text: whole.slice(from, end) });
      from = Math.max(from, end);
    };
    written.forEach(({ role }, index) => {
      const part = this.#part(written.slice(0, index + 1));
      // A template that writes earlier messages differently once there are later ones: not cut there.
      if (part !== null && whole.startsWith(part)) add(role === "system" ? "system" : "turn", part.length);
    });
    add("text", whole.length);
    return segments;
  }

  /** Of the first messages alone; null where the template wants more of them. */
  #part(messages: readonly Message[]): string | null {
    try {
      return this.render(messages, false);
    } catch {
      return null;
    }
  }
}
