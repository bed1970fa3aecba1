/** Whether what was typed asks something, so that Enter shall answer it. */

const asking = new Set(
  `how what why when where which who whose whom can could do does did is are was were should would will may
  wie was warum wann wo welche welcher wer kann ist sind comment pourquoi quand quel quelle qui que como cómo qué por cuándo dónde`.split(/\s+/),
);
const leastWords = 3;

/** A question mark at the end, or a word that questions begin with and some more behind it. */
export function isQuestion(text: string): boolean {
  const words = text.trim().toLocaleLowerCase().split(/\s+/);
  return /[?？؟]$/.test(text.trim()) || (words.length >= leastWords && asking.has(words[0] ?? ""));
}
