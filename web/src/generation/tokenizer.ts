/** Texts to tokens of a decoder, through Hugging Face's library, and what its tokens are for detokenize.ts. */
import { Tokenizer as Library } from "@huggingface/tokenizers";

import { PywasmError } from "../error.ts";
import type { Pieces } from "./detokenize.ts";

/**
 * Stands inside what looks like a special token and is not one: the text is cut there, the mark left
 * out. A Unicode noncharacter: no text has it.
 */
const MARK = "\ufdd0";

export class DecoderTokenizer implements Pieces {
  readonly form: Pieces["form"];
  readonly #library: Library;
  /** Special or not, by id. */
  readonly #added = new Map<number, string>();
  readonly #special: RegExp | null;

  /** `json`: the content of tokenizer.json. */
  constructor(json: Uint8Array, file: string) {
    try {
      const content = JSON.parse(new TextDecoder().decode(json)) as { decoder?: unknown };
      this.#library = new Library(content, {});
      this.form = JSON.stringify(content.decoder ?? "").includes('"ByteLevel"') ? "bytes" : "pieces";
      const special: string[] = [];
      for (const [id, token] of this.#library.get_added_tokens_decoder()) {
        this.#added.set(id, token.special ? "" : token.content);
        if (token.content.length > 1) special.push(token.content);
      }
      const escaped = special.sort((a, b) => b.length - a.length).map((text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
      this.#special = escaped.length > 0 ? new RegExp(escaped.join("|"), "g") : null;
      this.encode("a");
    } catch (cause) {
      throw new PywasmError("corrupt", `${file}: not a tokenizer this library can use: ${String(cause)}`, { file, cause });
    }
  }

  /** Special tokens in `text` are tokens, those that literal() has marked text. None is added. */
  encode(text: string): Int32Array {
    // Unpaired surrogates, as an encoder to UTF-8 would have them.
    const parts = text.replace(/\p{Surrogate}/gu, "\ufffd").split(MARK);
    return Int32Array.from(parts.flatMap((part) => this.#library.encode(part, { add_special_tokens: false }).ids));
  }

  /** `text` for encode(), where what a stranger wrote shall not become special tokens. */
  literal(text: string): string {
    const clean = text.replaceAll(MARK, "");
    return this.#special ? clean.replace(this.#special, (found) => `${found[0]}${MARK}${found.slice(1)}`) : clean;
  }

  token(id: number): string | undefined {
    return this.#library.id_to_token(id);
  }

  added(id: number): string | undefined {
    return this.#added.get(id);
  }
}
