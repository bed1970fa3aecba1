/** One open index, as the worker sees it: opening, searching, and what goes on in between. */
import { Base } from "./base.ts";
import { Engine } from "./engine.ts";
import { fromPlain, PywasmError } from "./error.ts";
import { describeSite, parseManifest, type Opened } from "./manifest.ts";
import { HttpTier } from "./pages/http.ts";
import type { ManifestDelivery, OpenRequest } from "./protocol.ts";
import { loadResident, residentSections } from "./resident.ts";
import { search, similar, type PlainSearchOptions, type SearchContext } from "./searcher.ts";
import type { ProgressEvent, Query, Results, Site } from "./types.ts";

export class Core {
  readonly site: Site;
  readonly #base: Base;
  readonly #request: OpenRequest;
  readonly #http: HttpTier | null;
  #codes: Promise<void>;

  private constructor(base: Base, request: OpenRequest, http: HttpTier | null, notify: (event: ProgressEvent) => void) {
    this.#base = base;
    this.#request = request;
    this.#http = http;
    this.site = describeSite(base.manifest);
    const sections = residentSections(base.engine.info());
    this.#codes = loadResident(base, sections, (loaded, total) => notify({ status: "codes", file: "codes", loaded, total }));
    this.#codes.catch(() => undefined);
  }

  static async open(
    request: OpenRequest, module: WebAssembly.Module, delivery: Promise<ManifestDelivery> | null,
    notify: (event: ProgressEvent) => void, signal: AbortSignal,
  ): Promise<Core> {
    const engine = await Engine.create(module);
    const delivered = await delivery;
    if (!delivered) throw new PywasmError("argument", `${request.name} is not stored in this browser`);
    if ("error" in delivered) throw fromPlain(delivered.error);
    const opened: Opened = parseManifest(new Uint8Array(delivered.bytes), (data) => engine.xxh64(data));
    engine.open(opened.head, typeof request.options.memory === "number" ? request.options.memory : 0);
    const base = new Base(engine, opened.manifest, opened.head);
    const http = new HttpTier(new URL(request.name), opened.manifest.shards, opened.manifest.pages_per_shard, (page, bytes) => base.pager.arrived(page, bytes));
    base.pager.http = http;
    signal.throwIfAborted();
    return new Core(base, request, http, notify);
  }

  search(query: Query, options: PlainSearchOptions, signal: AbortSignal, partial: (results: Results) => void): Promise<Results> {
    return search(query, options, this.#context(signal, partial));
  }

  similar(id: string, options: PlainSearchOptions, signal: AbortSignal, partial: (results: Results) => void): Promise<Results> {
    return similar(id, options, this.#context(signal, partial));
  }

  suggest(number: number, options: PlainSearchOptions, signal: AbortSignal, partial: (results: Results) => void): Promise<Results> {
    const suggestion = this.site.suggestions[number];
    if (!suggestion) throw new PywasmError("argument", `suggestion ${number}: the site has ${this.site.suggestions.length}`);
    return search({ text: suggestion.text, vector: suggestion.vector }, options, this.#context(signal, partial));
  }

  async close(): Promise<void> {
    this.#http?.close();
  }

  #context(signal: AbortSignal, partial: (results: Results) => void): SearchContext {
    return {
      base: this.#base,
      vectors: { ready: () => this.#codes, maxPages: () => 8 },
      marks: this.#request.options.marks === true,
      signal,
      partial,
      waited: () => undefined,
    };
  }
}
