/** The language model that a site carries: loaded when it is asked for, by all who ask together. */
import type { AskOptions, GeneratorState } from "./ask_types.ts";
import { PywasmError, throwIfAborted } from "./error.ts";
import type { Answers } from "./generated/manifest.ts";
import { Generator } from "./generation/generator.ts";
import { besideWorker } from "./spawn.ts";
import type { GeneratorSettings, OpenOptions, ProgressEvent } from "./types.ts";
import { within } from "./within.ts";

interface Opening {
  generator: Promise<Generator>;
  stop: AbortController;
  /** How many want it. */
  waiting: number;
}

export class SiteGenerator {
  readonly #site: URL;
  readonly #folder: URL;
  readonly #info: Answers;
  readonly #options: OpenOptions;
  readonly #listeners = new Set<(event: ProgressEvent) => void>();
  #state: GeneratorState;
  #opening: Opening | null = null;
  #closed = false;

  /** `site`: its folder; `info`: of its manifest. */
  constructor(site: URL, info: Answers, options: OpenOptions) {
    this.#site = site;
    this.#folder = new URL("./", new URL(info.plan, site));
    this.#info = info;
    this.#options = options;
    this.#state = this.#idle();
  }

  get state(): GeneratorState {
    return this.#state;
  }

  /** The model, opened the first time. Its download ends when all who wait for it have aborted; what failed is tried again. */
  async load({ signal, onProgress }: Pick<AskOptions, "signal" | "onProgress"> = {}): Promise<Generator> {
    throwIfAborted(signal);
    if (this.#closed) throw closed();
    const opening = (this.#opening ??= this.#open());
    opening.waiting++;
    if (onProgress) this.#listeners.add(onProgress);
    try {
      return await within(opening.generator, signal);
    } finally {
      if (onProgress) this.#listeners.delete(onProgress);
      if (--opening.waiting === 0 && this.#opening === opening && this.#state.state === "loading") this.#forget();
    }
  }

  /** Gives its memory back; the next question loads it again, from what is stored. */
  async unload(): Promise<void> {
    await this.#forget()?.then((generator) => generator.close(), () => undefined);
  }

  /** Removes what this browser stores of it: weights, and the KV of what it has read. */
  async clear(): Promise<void> {
    await this.unload();
    const { workerUrl } = this.#where();
    const { thread } = this.#options;
    await Generator.remove(this.#folder, { ...(workerUrl && { workerUrl }), ...(thread && { thread }) });
  }

  close(): void {
    this.#closed = true;
    void this.unload();
  }

  /** Whoever asks next opens it anew. */
  #forget(): Promise<Generator> | undefined {
    const opening = this.#opening;
    this.#opening = null;
    this.#state = this.#idle();
    opening?.stop.abort();
    return opening?.generator;
  }

  #open(): Opening {
    const stop = new AbortController();
    const opening: Opening = { stop, waiting: 0, generator: this.#start(stop.signal) };
    opening.generator.then(
      (generator) => {
        // Whoever gave up may have done so a moment too late.
        if (this.#opening !== opening) void generator.close();
        else this.#state = { ...this.#state, state: "ready", loaded: this.#state.total };
      },
      (error: unknown) => {
        if (this.#opening !== opening) return;
        this.#opening = null;
        this.#state = { ...this.#state, state: "failed", error: error instanceof Error ? error.message : String(error) };
      },
    );
    return opening;
  }

  async #start(signal: AbortSignal): Promise<Generator> {
    this.#state = { ...this.#idle(), state: "loading" };
    const { storage, thread, marks, onProgress } = this.#options;
    const { threads, memory, workerUrl } = this.#where();
    const generator = await Generator.open(this.#folder, {
      signal,
      ...(threads !== undefined && { threads }), ...(memory !== undefined && { memory }), ...(workerUrl && { workerUrl }),
      ...(thread && { thread }), ...(marks && { marks }), ...(storage === "memory" && { storage }),
      ...(this.#info.kv && { shipped: { site: this.#site, kv: this.#info.kv } }),
      onProgress: ({ file, loaded, total }) => {
        if (signal.aborted) return;
        this.#state = { state: "loading", loaded, total, error: null };
        const event: ProgressEvent = { status: "generator", file, loaded, total };
        onProgress?.(event);
        for (const hear of this.#listeners) hear(event);
      },
    });
    const { name, plan, source_sha256: expected } = this.#info;
    if (generator.info.source === expected) return generator;
    await generator.close();
    throw new PywasmError("version", `the site's language model is not the ${name} of its manifest: it has been deployed anew`, { file: plan, expected });
  }

  #where(): GeneratorSettings {
    const { generator, workerUrl } = this.#options;
    const beside = besideWorker(workerUrl, "generator-worker.js");
    return { ...(beside && { workerUrl: beside }), ...generator };
  }

  #idle(): GeneratorState {
    return { state: "idle", loaded: 0, total: this.#info.visit_bytes, error: null };
  }
}

function closed(): PywasmError {
  return new PywasmError("closed", "the index is closed");
}
