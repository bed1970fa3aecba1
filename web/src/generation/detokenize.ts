/** Tokens to text as they come, never half a character. */

/** Whitespace of SentencePiece. */
const SPACE = "\u2581";

/** What a tokenizer says of its tokens (tokenizer.ts). */
export interface Pieces {
  /** "bytes": characters stand for bytes, as in GPT-2; "pieces": SentencePiece, with bytes written `<0x0A>`. */
  readonly form: "bytes" | "pieces";
  /** As it stands in the vocabulary; undefined where there is no such token. */
  token(id: number): string | undefined;
  /** The text of a token that was added to the vocabulary, "" of a special one; undefined of all others. */
  added(id: number): string | undefined;
}

export class TextStream {
  readonly #pieces: Pieces;
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  /** SentencePiece writes a space before the first word. */
  #first: boolean;

  constructor(pieces: Pieces) {
    this.#pieces = pieces;
    this.#first = pieces.form === "pieces";
  }

  /** The characters that `id` completes; what is missing of the last one stays here. */
  push(id: number): string {
    const bytes = this.#bytes(id);
    const text = this.#decoder.decode(bytes, { stream: true });
    if (!this.#first || bytes.byteLength === 0) return text;
    this.#first = false;
    return text.startsWith(" ") ? text.slice(1) : text;
  }

  #bytes(id: number): Uint8Array {
    const added = this.#pieces.added(id);
    if (added !== undefined) return ENCODER.encode(added);
    const token = this.#pieces.token(id) ?? "";
    if (this.#pieces.form === "bytes") {
      const bytes = Array.from(token, (character) => BYTES.get(character));
      return bytes.includes(undefined) ? ENCODER.encode(token) : Uint8Array.from(bytes as number[]);
    }
    const byte = /^<0x([0-9A-Fa-f]{2})>$/.exec(token);
    return byte ? Uint8Array.of(parseInt(byte[1]!, 16)) : ENCODER.encode(token.replaceAll(SPACE, " "));
  }
}

const ENCODER = new TextEncoder();

/** GPT-2's characters for bytes: printable ones stand for themselves, the others are moved up from U+0100 on. */
const BYTES: ReadonlyMap<string, number> = (() => {
  const bytes = new Map<string, number>();
  let moved = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    bytes.set(String.fromCharCode(printable ? byte : moved++), byte);
  }
  return bytes;
})();
