/**
 * Which source a part of an answer comes from. Models that are told to write [1] after what they took
 * from the first document; small ones don't, whatever they are told. Where there are no marks, a
 * sentence is given to the source that it names, or with which it shares its words.
 */
import type { Citation } from "./ask_types.ts";
import type { Source } from "./ask_prompt.ts";

/** A sentence must share so many words with a source, and this share of its own. */
const LEAST_WORDS = 3;
const LEAST_SHARE = 0.4;
/** The last part of a dotted title is a name of its own from this length on: "fromisoformat", not "open". */
const NAME_LENGTH = 6;

const COMMON = new Set(
  `about above after again also and any are because been before being below between both but can could did does doing down during each example
  few for from further had has have having here how into its itself just like may more most need not now off once one only other our out over own
  same should some such than that the their them then there these they this those through too under until use used using very was were what when
  where which while who whom why will with would you your`.split(/\s+/),
);

interface Range {
  start: number;
  end: number;
}

/** `sources` in the order in which the model read them; what they cite is an index into that. */
export function findCitations(answer: string, sources: readonly Source[], question: string): Citation[] {
  const marks = findMarks(answer, sources.length);
  return marks.length > 0 ? marks : attribute(answer, sources, question);
}

/** [1] and [1, 2] outside code, where they are no subscript. */
function findMarks(answer: string, sources: number): Citation[] {
  const code = codeRanges(answer);
  const citations: Citation[] = [];
  for (const { 0: run, index: from } of answer.matchAll(/(?<![\p{L}\p{N}_\])])(?:\[\d{1,2}(?:\s*,\s*\d{1,2})*\])+/gu)) {
    if (code.some((range) => from >= range.start && from < range.end)) continue;
    for (const { 0: mark, index } of run.matchAll(/\[[^\]]*\]/g)) {
      for (const number of new Set(mark.slice(1, -1).split(",").map(Number))) {
        const start = from + index;
        if (number >= 1 && number <= sources) citations.push({ source: number - 1, start, end: start + mark.length, by: "mark" });
      }
    }
  }
  return citations;
}

function attribute(answer: string, sources: readonly Source[], question: string): Citation[] {
  const asked = new Set(words(question));
  const vocabularies = sources.map(({ title, text }) => new Set(words(`${title} ${text}`)));
  const citations: Citation[] = [];
  for (const { start, end } of sentences(answer)) {
    const sentence = answer.slice(start, end);
    const source = named(sentence, sources) ?? alike(words(sentence).filter((word) => !asked.has(word)), vocabularies);
    if (source === null) continue;
    const last = citations.at(-1);
    // Sentences of one paragraph and one source are one citation.
    if (last?.source === source && !answer.slice(last.end, start).includes("\n\n")) last.end = end;
    else citations.push({ source, start, end, by: "words" });
  }
  return citations;
}

/** The one source whose title, or the name at the end of it, stands in the sentence; the longest where there are several. */
function named(sentence: string, sources: readonly Source[]): number | null {
  const text = sentence.toLowerCase();
  let best: { source: number; length: number } | null = null;
  sources.forEach(({ title }, source) => {
    const whole = title.trim().toLowerCase();
    const parts = whole.split(".");
    const name = /[._]/.test(whole) ? (parts.at(-1) ?? "") : "";
    const found = whole.length > 2 && hasName(text, whole) ? whole : name.length >= NAME_LENGTH && hasName(text, name, parts.at(-2)) ? name : "";
    if (found.length > (best?.length ?? 0)) best = { source, length: found.length };
  });
  return (best as { source: number } | null)?.source ?? null;
}

/** `owner`: what must stand before the name where something does: date.fromisoformat is not datetime.fromisoformat. */
function hasName(text: string, name: string, owner?: string): boolean {
  for (let at = text.indexOf(name); at >= 0; at = text.indexOf(name, at + 1)) {
    if (/[\p{L}\p{N}_]/u.test(text.charAt(at - 1)) || /[\p{L}\p{N}_]/u.test(text.charAt(at + name.length))) continue;
    const before = /([\p{L}\p{N}_]+)\.$/u.exec(text.slice(0, at))?.[1];
    if (owner === undefined || before === undefined || before === owner) return true;
  }
  return false;
}

function alike(sentence: readonly string[], vocabularies: readonly ReadonlySet<string>[]): number | null {
  const own = [...new Set(sentence)];
  const shared = vocabularies.map((vocabulary) => own.filter((word) => vocabulary.has(word)).length);
  const most = Math.max(0, ...shared);
  return most >= LEAST_WORDS && most >= LEAST_SHARE * own.length ? shared.indexOf(most) : null;
}

/** Words that tell something, folded. */
function words(text: string): string[] {
  return (text.toLowerCase().match(/[\p{L}\p{N}_]+/gu) ?? []).filter((word) => word.length > 2 && !COMMON.has(word));
}

/** Sentences and lines, without the white space around them; a fenced block of code is one. */
function sentences(text: string): Range[] {
  const found: Range[] = [];
  const add = (start: number, end: number): void => {
    const part = text.slice(start, end);
    if (part.trim() !== "") found.push({ start: start + (part.length - part.trimStart().length), end: end - (part.length - part.trimEnd().length) });
  };
  let from = 0;
  for (const { 0: part, index } of text.matchAll(/```[\s\S]*?(?:```|$)|[.!?](?=\s)|\n+/g)) {
    const fenced = part.startsWith("```");
    add(from, fenced ? index : index + part.length);
    if (fenced) add(index, index + part.length);
    from = index + part.length;
  }
  add(from, text.length);
  return found;
}

function codeRanges(text: string): Range[] {
  return [...text.matchAll(/```[\s\S]*?(?:```|$)|`[^`\n]*`/g)].map(({ 0: part, index }) => ({ start: index, end: index + part.length }));
}
