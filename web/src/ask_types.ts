/** The public types of answers: what `library.ask` takes and gives. */
import type { GenerateOptions, GenerationStats } from "./generation/types.ts";
import type { Filter, Hit, Mode, ProgressEvent } from "./types.ts";

export interface AskOptions extends GenerateOptions {
  /** Documents that the model reads. Default: as many as the site's builder found good for it. */
  k?: number;
  filter?: Filter;
  /** How they are searched for; default: hybrid where the site carries its encoder, else by words. */
  mode?: Mode;
  /** Answer from these instead of searching, best first; `k`, `filter` and `mode` are not looked at. */
  hits?: readonly Hit[];
  /** What the answer will be made from: called before the model is loaded. Not called where nothing is found. */
  onSources?: (sources: Hit[]) => void;
  /** The model's download, `status` "generator"; nothing where it is loaded already. */
  onProgress?: (event: ProgressEvent) => void;
}

export interface PrepareOptions extends Pick<AskOptions, "k" | "filter" | "mode" | "hits" | "signal"> {}

/** Iterating gives the text in pieces, from its beginning; leaving the loop ends it. */
export interface Answer extends AsyncIterable<string> {
  /** What it is made from, best first; empty where nothing was found: the model is not asked then. */
  readonly sources: Promise<Hit[]>;
  /** Which part of it comes from which source; known when it is over, or aborted. */
  readonly citations: Promise<Citation[]>;
  /** Known when it is over, aborted or not; rejected where it could not be had. */
  readonly stats: Promise<AnswerStats>;
  /** All of it. */
  text(): Promise<string>;
}

export interface Citation {
  /** Index into `sources`. */
  source: number;
  /** [start, end) of the answer in UTF-16 units: what comes from the source. */
  start: number;
  end: number;
  /**
   * `mark`: the model wrote the source's number, and the range is that mark, to be replaced; `words`:
   * it wrote none, and these words are the source's.
   */
  by: "mark" | "words";
}

export interface AnswerStats extends Omit<GenerationStats, "reason"> {
  /** "nothing": no document was found, and the model was not asked. */
  reason: GenerationStats["reason"] | "nothing";
  /** ms: of the search; of loading the model, 0 where it was there. */
  searchMs: number;
  loadMs: number;
  /** From ask() to the first text, ms; null where there was none. */
  firstMs: number | null;
  /** What reading the cached tokens again would have taken, ms, at this device's speed; null while that is not known. */
  savedMs: number | null;
}

/** How far the site's language model is. */
export interface GeneratorState {
  /** `idle`: nothing has asked for it yet, or it was unloaded. */
  state: "idle" | "loading" | "ready" | "failed";
  /** Bytes of its weights. */
  loaded: number;
  total: number;
  error: string | null;
}
