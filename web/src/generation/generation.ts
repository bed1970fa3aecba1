/** A text that is being generated: pieces as they come, and how it went. */
import { aborted } from "../error.ts";
import type { GenerationEvent } from "./protocol.ts";
import type { GenerationStart, GenerationStats } from "./types.ts";

type Start = (signal: AbortSignal, hear: (event: GenerationEvent) => void) => Promise<GenerationStats>;

/**
 * Iterating gives the text in pieces, from its beginning, whenever it is begun; leaving the loop ends
 * the generation. An abort by the caller's signal ends it too, and the loop with an AbortError.
 */
export class Generation implements AsyncIterable<string> {
  /** Fulfilled when the text is over, aborted or not; rejected where it could not be had. */
  readonly stats: Promise<GenerationStats>;
  readonly #pieces: string[] = [];
  readonly #stop = new AbortController();
  #over = false;
  /** Of the caller's signal, or what went wrong. */
  #error: unknown = null;
  #wake: () => void = () => undefined;
  #news = this.#nextNews();

  constructor(start: Start, signal: AbortSignal | undefined, onStart: ((start: GenerationStart) => void) | undefined) {
    const abort = (): void => this.#stop.abort();
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort, { once: true });
    this.stats = start(this.#stop.signal, (event) => {
      if ("start" in event) {
        onStart?.(event.start);
        return;
      }
      this.#pieces.push(event.text);
      this.#tell();
    }).finally(() => signal?.removeEventListener("abort", abort));
    this.stats.then(
      ({ reason }) => {
        if (reason === "aborted" && signal?.aborted) this.#error = aborted();
      },
      (error: unknown) => (this.#error = error),
    ).finally(() => {
      this.#over = true;
      this.#tell();
    });
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string, void, undefined> {
    try {
      for (let next = 0; ;) {
        if (next < this.#pieces.length) yield this.#pieces[next++]!;
        else if (this.#over) break;
        else await this.#news;
      }
      if (this.#error) throw this.#error;
    } finally {
      this.#stop.abort();  // without effect where it is over
    }
  }

  /** All of it. */
  async text(): Promise<string> {
    let text = "";
    for await (const piece of this) text += piece;
    return text;
  }

  #tell(): void {
    const wake = this.#wake;
    this.#news = this.#nextNews();
    wake();
  }

  #nextNews(): Promise<void> {
    return new Promise((resolve) => (this.#wake = resolve));
  }
}
