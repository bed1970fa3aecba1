/** Which parts of a text match a query, and the window of it worth showing. */
import type { Token } from "./messages.ts";

export type Highlight = [start: number, end: number];

/** The engine's segmentation of a text: bytes of its UTF-8 form. */
export type Tokenize = (utf8: Uint8Array) => Token[];

const encoder = new TextEncoder();

/** The folded terms of a query; with `prefix`, the last is a beginning. */
export class Matcher {
  readonly #terms: ReadonlySet<string>;
  readonly #prefix: string | null;
  readonly #tokenize: Tokenize;

  constructor(query: string, prefix: boolean, tokenize: Tokenize) {
    const terms = tokenize(encoder.encode(query)).map(({ term }) => term);
    this.#terms = new Set(terms);
    this.#prefix = prefix ? (terms.at(-1) ?? null) : null;
    this.#tokenize = tokenize;
  }

  /** Matches in `text` as UTF-16 offsets, ascending; neighbours that touch are joined. */
  highlights(text: string): Highlight[] {
    if (this.#terms.size === 0) return [];
    const utf8 = encoder.encode(text);
    const matches = this.#tokenize(utf8).filter(({ term }) => this.#matches(term));
    const offsets = new Utf16Offsets(utf8);
    const highlights: Highlight[] = [];
    for (const { start, end } of matches.sort((left, right) => left.start - right.start)) {
      const match: Highlight = [offsets.at(start), offsets.at(end)];
      const before = highlights.at(-1);
      if (before && match[0] <= before[1]) before[1] = Math.max(before[1], match[1]);
      else highlights.push(match);
    }
    return highlights;
  }

  #matches(term: string): boolean {
    return this.#terms.has(term) || (this.#prefix !== null && term.startsWith(this.#prefix));
  }
}

/** UTF-8 offsets to UTF-16 ones; faster for ascending questions, right for any. */
class Utf16Offsets {
  readonly #utf8: Uint8Array;
  #byte = 0;
  #unit = 0;

  constructor(utf8: Uint8Array) {
    this.#utf8 = utf8;
  }

  at(byte: number): number {
    if (byte < this.#byte) this.#byte = this.#unit = 0;
    for (; this.#byte < byte; this.#byte++) {
      const unit = this.#utf8[this.#byte]!;
      if ((unit & 0xc0) === 0x80) continue;  // a continuation adds nothing
      this.#unit += unit >= 0xf0 ? 2 : 1;    // four bytes are a surrogate pair
    }
    return this.#unit;
  }
}

/** About `length` units of `text` where the highlights are densest, cut between words where there are some. */
export function snippet(text: string, highlights: readonly Highlight[], length: number): { text: string; highlights: Highlight[] } {
  if (text.length <= length) return { text, highlights: [...highlights] };
  let best = 0;
  let most = 0;
  highlights.forEach(([start], first) => {
    let covered = 0;
    while (first + covered < highlights.length && highlights[first + covered]![1] <= start + length * 0.8) covered++;
    if (covered > most) [most, best] = [covered, start];
  });
  let from = Math.max(0, Math.min(best - Math.floor(length * 0.1), text.length - length));
  let to = Math.min(text.length, from + length);
  if (from > 0) from = wordEdge(text, from, best);
  if (to < text.length) to = wordEdge(text, to, Math.min(to + 20, text.length));
  const inside = highlights.filter(([start, end]) => start >= from && end <= to);
  return { text: text.slice(from, to), highlights: inside.map(([start, end]) => [start - from, end - from]) };
}

/** The first place after white space in [at, limit], else `at`, moved off the middle of a surrogate pair. */
function wordEdge(text: string, at: number, limit: number): number {
  for (let place = at; place <= limit; place++) if (/\s/.test(text.charAt(place - 1))) return place;
  const unit = text.charCodeAt(at);
  return unit >= 0xdc00 && unit <= 0xdfff ? at - 1 : at;
}
