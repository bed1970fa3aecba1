/** Texts to token ids, as the model was trained: Hugging Face's tokenizer.json through its JavaScript library. */
import { Tokenizer as Library } from "@huggingface/tokenizers";

import { PywasmError } from "../error.ts";

/** Characters of a long text that are tokenised first, a token asked for; few texts need more. */
const CHARACTERS = 12;

export class Tokenizer {
  readonly #library: Library;
  readonly #most: number;
  /** Special tokens before and after every text. */
  readonly #before: number[];
  readonly #after: number[];
  readonly #lowercase: boolean;
  /** Characters that begin a new token wherever they stand. */
  readonly #bounds: RegExp;

  /** `json`: the content of tokenizer.json; `most`: tokens a text is cut to, special ones included. */
  constructor(json: Uint8Array, most: number, file: string) {
    try {
      const content = JSON.parse(new TextDecoder().decode(json)) as { normalizer?: { type?: string; lowercase?: boolean } | null };
      this.#library = new Library(content, {});
      const bert = content.normalizer?.type === "BertNormalizer";
      this.#lowercase = bert && content.normalizer?.lowercase === true;
      this.#bounds = bert ? /[\s\p{Script=Han}]/gu : /\s/gu;
      const probe = this.#library.encode("a", { add_special_tokens: false }).ids;
      const whole = this.#library.encode("a").ids;
      const at = whole.findIndex((_, index) => probe.every((id, offset) => whole[index + offset] === id));
      this.#before = whole.slice(0, at);
      this.#after = whole.slice(at + probe.length);
    } catch (cause) {
      throw new PywasmError("corrupt", `${file}: not a tokenizer this library can use: ${String(cause)}`, { file, cause });
    }
    this.#most = most;
  }

  /** Ids of `text`, special tokens included. Long texts cost what their beginning does. */
  encode(text: string): number[] {
    const room = this.#most - this.#before.length - this.#after.length;
    const clean = this.#clean(text);
    let ids: number[] = [];
    for (let length = room * CHARACTERS; ; length *= 4) {
      const end = this.#cut(clean, length);
      ids = this.#library.encode(clean.slice(0, end), { add_special_tokens: false }).ids;
      if (ids.length >= room || end === clean.length) break;
    }
    return [...this.#before, ...ids.slice(0, room), ...this.#after];
  }

  #clean(text: string): string {
    // Unpaired surrogates, as an encoder to UTF-8 would have them.
    const whole = text.replace(/\p{Surrogate}/gu, "\ufffd");
    // The library lowercases as JavaScript does, to a final sigma at the end of a word; the models were trained without.
    return this.#lowercase ? whole.replaceAll("Σ", "σ") : whole;
  }

  /** Where to cut `text`, at `length` or later, so that no token is cut. */
  #cut(text: string, length: number): number {
    if (length >= text.length) return text.length;
    this.#bounds.lastIndex = length;
    return this.#bounds.exec(text)?.index ?? text.length;
  }
}
