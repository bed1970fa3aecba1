/**
 * The prompt of an answer, filled in as the manifest says and as pywasm/answer_prompt.py does it:
 * a document's tokens, and with them its KV, are the same at build time and here.
 */
import { PywasmError } from "./error.ts";
import type { AnswerPrompt } from "./generated/manifest.ts";
import type { GeneratorInfo, Prompt, TextSegment } from "./generation/types.ts";
import type { Hit } from "./types.ts";

/** What fitting documents needs of a generator. */
export interface Measure {
  readonly info: Pick<GeneratorInfo, "context">;
  tokenize(prompt: Prompt): Promise<Int32Array[]>;
}

/** A document of which fewer tokens fit is left out. */
const LEAST_TOKENS = 24;

/** What a prompt needs of a hit. */
export type Source = Pick<Hit, "id" | "title" | "text">;

/** `template` with {name} replaced where `values` has it; what is put in is not looked at. */
export function fill(template: string, values: Readonly<Record<string, string>>): string {
  return template.replace(/\{(title|text|question)\}/g, (place, name: string) => values[name] ?? place);
}

/** The segment of a document; no more than `characters` Unicode code points of its text. */
export function documentSegment(prompt: AnswerPrompt, { id, title, text }: Source, characters = prompt.characters): TextSegment {
  const cut = firstCharacters(text, Math.min(characters, prompt.characters)).replace(/[ \t\r\n]+$/, "");
  // A title that the text begins with is not said twice.
  const template = text.startsWith(title) ? prompt.document.replace("{title}\n", "") : prompt.document;
  return { kind: "document", text: fill(template, { title, text: cut }), id };
}

/** System, documents, question, and the opening of the answer. */
export function promptSegments(prompt: AnswerPrompt, documents: readonly TextSegment[], question: string): TextSegment[] {
  return [
    { kind: "system", text: prompt.system },
    ...documents,
    { kind: "question", text: fill(prompt.question, { question }) },
    { kind: "text", text: prompt.answer },
  ];
}

/**
 * How many tokens each document may have of `room`: what short ones leave is shared by the others.
 * The answer's sum is at most `room`.
 */
export function shares(tokens: readonly number[], room: number): number[] {
  const allowed = new Array<number>(tokens.length).fill(0);
  let left = room;
  [...tokens.keys()].sort((a, b) => tokens[a]! - tokens[b]!).forEach((document, place) => {
    allowed[document] = Math.min(tokens[document]!, Math.floor(left / (tokens.length - place)));
    left -= allowed[document]!;
  });
  return allowed;
}

/** Segments of documents; `order[i]` is the source of the i-th. */
export interface Fitted {
  documents: TextSegment[];
  order: number[];
}

/**
 * The segments of as many sources as fit into the model's context beside question and answer, each cut
 * where it takes more than its share.
 */
export async function fitDocuments(
  generator: Measure, prompt: AnswerPrompt, question: string, sources: readonly Source[], maxTokens: number,
): Promise<Fitted> {
  const documents = sources.map((source) => documentSegment(prompt, source));
  const { context } = generator.info;
  const lengths = (await generator.tokenize({ segments: promptSegments(prompt, documents, question) })).map(({ length }) => length);
  const tokens = lengths.slice(1, 1 + documents.length);
  const room = context - maxTokens - (sum(lengths) - sum(tokens));
  if (room < LEAST_TOKENS) {
    throw new PywasmError("argument", `question: it has ${lengths.at(-2)} tokens; with ${maxTokens} for the answer no document fits into the model's context of ${context}`);
  }
  const order = [...documents.keys()].slice(0, Math.floor(room / LEAST_TOKENS));
  const allowed = shares(order.map((source) => tokens[source]!), room);
  const fitted = order.map((source) => (tokens[source]! <= allowed[source]! ? documents[source]! : cut(generator, prompt, sources[source]!, allowed[source]!)));
  return { documents: await Promise.all(fitted), order };
}

/** The beginning of a document in at most `room` tokens, found by bisection over its length. */
async function cut(generator: Measure, prompt: AnswerPrompt, source: Source, room: number): Promise<TextSegment> {
  let fits = 0;
  let tooMany = Math.min([...source.text].length, prompt.characters);
  while (tooMany - fits > 1) {
    const middle = (fits + tooMany) >> 1;
    const [{ length }] = (await generator.tokenize({ segments: [documentSegment(prompt, source, middle)] })) as [Int32Array];
    if (length <= room) fits = middle;
    else tooMany = middle;
  }
  return documentSegment(prompt, source, fits);
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

function firstCharacters(text: string, count: number): string {
  if (text.length <= count) return text;  // no more code points than units
  let units = 0;
  for (const character of text) {
    if (count-- <= 0) break;
    units += character.length;
  }
  return text.slice(0, units);
}
