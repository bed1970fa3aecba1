/** Typed queries on a site that carries its encoder: words at once, meaning when the vector is there. */
import { PywasmError } from "./error.ts";
import { Encoder } from "./inference/encoder.ts";
import { removeStore } from "./inference/store.ts";
import { besideWorker } from "./spawn.ts";
import type { Tuner } from "./tuning/tuning.ts";
import type { EncoderInfo, EncoderState, OpenOptions, Query, Results, SearchOptions, Stage } from "./types.ts";
import { within } from "./within.ts";

/** Runs a search in the index's worker. */
export type Run = (query: Query, options: SearchOptions) => Promise<Results>;
type Compiled = NonNullable<EncoderInfo["compiled"]>;
type TuneMode = "auto" | "on" | "off";

/** What the line is needed for once the encoder is here, a search by its vector, comes within so many ms. */
const SETTLE_MS = 300;
/** Tuning begins so long after a search, ms: its own pages, and those of the index, come first. */
const TUNE_AFTER_MS = 2000;
/** After a failure of the network the next search tries again, but not before so many ms. */
const RETRY_MS = 5000;

export class SiteEncoder {
  readonly #site: URL;
  readonly #info: EncoderInfo;
  readonly #compiled: Compiled;
  readonly #options: OpenOptions;
  #state: EncoderState;
  #opening: Promise<Encoder> | null = null;
  #failure: { error: PywasmError; at: number } | null = null;
  #last: { text: string; vector: Float32Array } | null = null;
  #tuner: Tuner | null = null;
  readonly #hold: (signal: AbortSignal) => Promise<void>;
  #holding: AbortController | null = null;
  #tuned = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  /**
   * `site`: its folder; `info`: of its manifest, with `compiled`; `hold` has the index's own downloads
   * wait until the signal.
   */
  constructor(site: URL, info: EncoderInfo, options: OpenOptions, hold: (signal: AbortSignal) => Promise<void>) {
    this.#site = site;
    this.#info = info;
    this.#compiled = info.compiled!;
    this.#options = options;
    this.#hold = hold;
    this.#state = { state: "idle", loaded: 0, total: this.#compiled.visit_bytes, error: null };
  }

  get state(): EncoderState {
    return this.#state;
  }

  /** Null until the encoder is ready and something was encoded, and where the site carries no tuner. */
  get tuner(): Tuner | null {
    return this.#tuner;
  }

  /** The encoder, opened the first time. What failed is tried again. */
  load(): Promise<Encoder> {
    return (this.#opening ??= this.#open());
  }

  /** Makes the kernels faster on this device when the page is idle, or ends that ("off"). */
  async tune(mode: TuneMode = "on"): Promise<void> {
    this.#tuned = true;
    clearTimeout(this.#timer);
    const { tuner } = this.#compiled;
    this.#tuner?.stop();
    this.#tuner = null;
    if (!tuner || mode === "off") return;
    const [encoder, { tune }] = await Promise.all([this.load(), import("./tuning/tuning.ts")]);
    const { tunerUrl } = this.#options.encoder || {};
    this.#tuner ??= tune(encoder, { mode, folder: new URL(tuner.folder, this.#site), ...(tunerUrl && { workerUrl: tunerUrl }) });
  }

  /**
   * Answers `text`. In mode "hybrid" keyword results (`early`, where they are under way) go to
   * `onPartial` while the vector is made; where it can't be made they are the answer, with a note.
   */
  async search(text: string, options: SearchOptions, run: Run, early: Promise<Results> | null = null): Promise<Results> {
    const { signal, onPartial, ...plain } = options;
    const mode = plain.mode ?? "hybrid";
    const from = performance.now();
    const making = this.#vector(text, plain.mode !== undefined, signal);
    making.catch(() => undefined);
    const keyword = (): Promise<Results> => run(text, { ...plain, mode: "keyword", ...(signal && { signal }) });
    let words: Results | null = null;
    if (early && onPartial) {
      // Words that come after the vector would only be replaced at once.
      words = await Promise.race([early, making.then(() => null, () => early)]);
      if (words) onPartial(words);
    }
    let vector: Float32Array;
    try {
      vector = await making;
    } catch (error) {
      if (mode === "vector" || signal?.aborted) throw error;
      return { ...(words ?? (await (early ?? keyword()))), note: error instanceof Error ? error.message : String(error) };
    }
    const encode: Stage = { name: "encode", start: 0, ms: performance.now() - from };
    const told = (results: Results): Results => ({
      ...results, stages: [encode, ...results.stages.map((stage) => ({ ...stage, start: stage.start + encode.ms }))],
    });
    return told(await run({ text, vector }, { ...plain, mode, ...(signal && { signal }), ...(onPartial && { onPartial: (results) => onPartial(told(results)) }) }));
  }

  /** Removes what this browser stores of it. */
  async clear(): Promise<void> {
    this.close();
    await removeStore(this.#folder.href);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#holding?.abort();
    this.#tuner?.stop();
    void this.#opening?.then((encoder) => encoder.close(), () => undefined);
  }

  get #folder(): URL {
    return new URL("./", new URL(this.#compiled.plan, this.#site));
  }

  async #open(): Promise<Encoder> {
    const { onProgress, storage, thread, marks, encoder: settings } = this.#options;
    const { threads, backend, workerUrl = besideWorker(this.#options.workerUrl, "encoder-worker.js") } = settings || {};
    const total = this.#compiled.visit_bytes;
    this.#state = { state: "loading", loaded: 0, total, error: null };
    const holding = (this.#holding = new AbortController());
    this.#hold(holding.signal).catch(() => undefined);  // ends by being aborted
    try {
      const encoder = await Encoder.open(this.#folder, {
        ...(threads !== undefined && { threads }), ...(backend && { backend }), ...(workerUrl && { workerUrl }),
        ...(thread && { thread }), ...(marks && { marks }), ...(storage === "memory" && { storage }),
        onProgress: ({ status, file, loaded, total }) => {
          if (status !== "weights") return;
          this.#state = { state: "loading", loaded, total, error: null };
          onProgress?.({ status: "encoder", file, loaded, total });
        },
      });
      const { name, sha256 } = this.#info;
      if (encoder.source !== sha256 || this.#closed) {
        await encoder.close();
        throw this.#closed ? new PywasmError("closed", "the index is closed")
          : new PywasmError("version", `the site's encoder is not the ${name} that this index was built with: it has been deployed anew`, { file: this.#compiled.plan, expected: sha256 });
      }
      this.#state = { ...this.#state, state: "ready" };
      return encoder;
    } catch (cause) {
      const error = cause instanceof PywasmError ? cause : new PywasmError("worker", String(cause), { cause });
      this.#opening = null;
      this.#failure = { error, at: performance.now() };
      this.#state = { ...this.#state, state: "failed", error: error.message };
      throw error;
    } finally {
      setTimeout(() => holding.abort(), SETTLE_MS);
    }
  }

  #considerTuning(): void {
    const { tune = "auto" } = this.#options.encoder || {};
    clearTimeout(this.#timer);
    if (this.#tuned || tune === "off") return;
    this.#timer = setTimeout(() => void this.tune(tune).catch(() => undefined), TUNE_AFTER_MS);
  }

  /** `asked`: a vector was asked for by name, so that no reason to save is a reason not to load. */
  async #vector(text: string, asked: boolean, signal: AbortSignal | undefined): Promise<Float32Array> {
    if (this.#last?.text === text) return this.#last.vector;
    const { state } = this.#state;
    if (state === "idle" && !asked && savesData()) throw new PywasmError("unsupported", "the encoder is not loaded, because the visitor asks to save data");
    if (state === "failed" && this.#failure && !(this.#failure.error.code === "network" && performance.now() - this.#failure.at > RETRY_MS)) throw this.#failure.error;
    const encoder = await within(this.load(), signal);
    const [vector] = await encoder.encode(text, { kind: "query", ...(signal && { signal }) });
    this.#last = { text, vector: vector! };
    this.#considerTuning();
    return vector!;
  }
}

function savesData(): boolean {
  return (navigator as { connection?: { saveData?: boolean } }).connection?.saveData === true;
}
