/** The part of a text that shows why it was found. */

export interface Run {
  text: string;
  marked: boolean;
}

export interface Snippet {
  runs: Run[];
  cutBefore: boolean;
  cutAfter: boolean;
}

export type Range = readonly [start: number, end: number];

/**
 * A window of about `length` UTF-16 units over `text` that covers as many of `highlights` (offsets
 * in UTF-16 units, ascending) as possible, cut between words, as runs of marked and unmarked text.
 */
export function snippet(text: string, highlights: readonly Range[], length: number): Snippet {
  const marks = highlights.filter(([start, end]) => start >= 0 && start < end && end <= text.length);
  if (text.length <= length * 1.15) return { runs: split(text, 0, text.length, marks), cutBefore: false, cutAfter: false };
  let from = bestStart(marks, length);
  let to = Math.min(text.length, from + length);
  from = Math.max(0, Math.min(from, text.length - length));
  if (from > 0) from = wordEdge(text, from, 1);
  if (to < text.length) to = wordEdge(text, to, -1);
  return { runs: split(text, from, to, marks), cutBefore: from > 0, cutAfter: to < text.length };
}

/**
 * Text and highlights as shown under a title: the title itself, which often begins the text, is
 * left out, and so are marks of a single letter ("a" in a question): they say nothing.
 */
export function underTitle(title: string, text: string, highlights: readonly Range[]): { text: string; highlights: Range[] } {
  const repeated = title !== "" && text.startsWith(title) ? /^\s*/.exec(text.slice(title.length))?.[0].length : undefined;
  const start = repeated === undefined || repeated === 0 ? 0 : title.length + repeated;
  return {
    text: text.slice(start),
    highlights: highlights
      .filter(([from, to]) => from >= start && !/^[a-z]$/i.test(text.slice(from, to)))
      .map(([from, to]) => [from - start, to - start]),
  };
}

/** The whole text as runs. */
export function marked(text: string, highlights: readonly Range[]): Run[] {
  return split(text, 0, text.length, highlights);
}

/** Where the window starts that holds most marks: the text's beginning if they are near it. */
function bestStart(marks: readonly Range[], length: number): number {
  let best = 0;
  let most = 0;
  marks.forEach(([start], first) => {
    const covered = marks.slice(first).filter(([, end]) => end <= start + length * 0.8).length;
    if (covered > most) {
      most = covered;
      best = start;
    }
  });
  return best < length * 0.6 ? 0 : best - Math.floor(length * 0.2);
}

/** The nearest start of a word within 24 units in that direction; the place itself where none is. */
function wordEdge(text: string, place: number, direction: 1 | -1): number {
  for (let step = 0; step < 24; step++) {
    const at = place + step * direction;
    if (/\s/.test(text.charAt(at - 1))) return at;
  }
  const code = text.charCodeAt(place);
  return code >= 0xdc00 && code <= 0xdfff ? place - 1 : place;  // never between a surrogate pair
}

function split(text: string, from: number, to: number, marks: readonly Range[]): Run[] {
  const runs: Run[] = [];
  let at = from;
  for (const [start, end] of marks) {
    if (end <= at || start >= to) continue;
    if (start > at) runs.push({ text: text.slice(at, start), marked: false });
    runs.push({ text: text.slice(Math.max(at, start), Math.min(end, to)), marked: true });
    at = Math.min(end, to);
  }
  if (at < to) runs.push({ text: text.slice(at, to), marked: false });
  return runs;
}
