/**
 * Downloads the whole index into local storage in the background: in the order of the file, where
 * it was left off, out of the way of searches.
 */
import { isQuota, PywasmError } from "./error.ts";
import { GoneError } from "./pages/http.ts";
import type { Pager } from "./pages/pager.ts";
import type { Status } from "./types.ts";

/** Pages a request: 1 MiB. */
const CHUNK = 64;
/** The list of stored pages is written after so many chunks. */
const FLUSH_EVERY = 8;
/** Waits between tries after a network error, ms. */
const RETRY_MS = [2_000, 10_000, 60_000];

export interface FillEvents {
  progress(done: number, total: number): void;
  complete(): void;
  /** Storage is full: what was stored stays and is used. */
  full(): void;
}

export class Fill {
  readonly #pager: Pager;
  readonly #total: number;
  readonly #idle: () => Promise<void>;
  readonly #events: FillEvents;
  #stopped = false;
  state: Status["fill"]["state"] = "off";

  /** `idle` settles when no search is running. */
  constructor(pager: Pager, total: number, idle: () => Promise<void>, events: FillEvents) {
    this.#pager = pager;
    this.#total = total;
    this.#idle = idle;
    this.#events = events;
  }

  get done(): number {
    return this.#pager.store?.count ?? 0;
  }

  stop(): void {
    this.#stopped = true;
  }

  /** Runs until everything is stored, storage is full, or the network stays away. */
  async run(): Promise<void> {
    for (let failures = 0; !this.#stopped; ) {
      try {
        await this.#pass();
        return;
      } catch (error) {
        if (this.#stopped) return;
        if (isQuota(error) || (error instanceof PywasmError && error.code === "quota")) {
          this.state = "quota";
          this.#events.full();
          return;
        }
        const wait = RETRY_MS[failures++];
        // A new deployment is met by the next search or open; damage on the site is not ours to mend.
        if (wait === undefined || error instanceof GoneError || !(error instanceof PywasmError && error.code === "network")) {
          this.state = "failed";
          return;
        }
        this.state = "paused";
        await new Promise((resolve) => setTimeout(resolve, wait));
      }
    }
  }

  async #pass(): Promise<void> {
    let chunks = 0;
    for (let page = 0; page < this.#total; ) {
      const pages: number[] = [];
      for (; page < this.#total && pages.length < CHUNK; page++) if (!this.#pager.store?.has(page)) pages.push(page);
      if (pages.length === 0) break;
      this.state = "paused";
      await this.#idle();
      if (this.#stopped) return;
      this.state = "running";
      await this.#pager.download(pages, "low");
      await this.#pager.write();
      if (++chunks % FLUSH_EVERY === 0) await this.#pager.flush();
      this.#events.progress(this.done, this.#total);
    }
    await this.#pager.flush();
    this.state = "done";
    this.#events.complete();
  }
}
