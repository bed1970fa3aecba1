/**
 * Opening that begins before the database is open: with the generation that the page has found
 * stored, which the database then confirms or not.
 */
import { pageSums } from "./head.ts";
import type { Opened } from "./manifest.ts";
import { openLocalPages, type LocalPages } from "./pages/local.ts";
import type { Hint } from "./stored.ts";
import type { StorageKind } from "./types.ts";

export class Early {
  readonly #hint: Hint;
  readonly #local: Promise<LocalPages>;
  #tell: (pages: number) => void = () => undefined;
  #opened: Opened | null = null;
  #taken = false;

  constructor(index: string, hint: Hint, kinds: readonly StorageKind[]) {
    this.#hint = hint;
    const pages = new Promise<number>((resolve) => (this.#tell = resolve));
    this.#local = openLocalPages(index, hint.generation, pages, kinds);
  }

  /** Parses its manifest with the engine's checksum. */
  parse(parse: (manifest: ArrayBuffer) => Opened): void {
    try {
      this.#opened = parse(this.#hint.manifest);
      this.#tell(pageSums(this.#opened.head).length);
    } catch {
      this.#opened = null;
      this.leave();  // damaged: it is as if it had not been found
    }
  }

  /** The parsed manifest, if it is that of `generation`. */
  opened(generation: string | undefined): Opened | null {
    return generation === this.#hint.generation ? this.#opened : null;
  }

  /** Its pages, if they are those of `generation`. */
  take(generation: string | undefined): Promise<LocalPages> | undefined {
    if (this.#taken || !this.opened(generation)) return undefined;
    this.#taken = true;
    return this.#local;
  }

  /** Closes what nobody took. */
  leave(): void {
    if (this.#taken) return;
    this.#taken = true;
    this.#tell(0);
    void this.#local.then((local) => local.close());
  }
}
