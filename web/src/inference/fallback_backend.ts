/** A backend that may stop working, as a GPU does when its driver is updated, and what then takes its place. */
import { PywasmError } from "../error.ts";
import type { Adoption, Backend, RunOptions, Tensors } from "./backend.ts";
import type { Symbols } from "./expr.ts";
import type { BackendStatus } from "./types.ts";

export interface Fragile extends Backend {
  /** Why it works no more; null while it does. */
  readonly failed: string | null;
}

export class FallbackBackend implements Backend {
  #backend: Backend;
  #fragile: Fragile | null;
  #closed = false;
  readonly #replace: (why: string) => Promise<Backend>;

  /** `replace` gives another backend, started, with all weights in place. */
  constructor(first: Fragile, replace: (why: string) => Promise<Backend>) {
    this.#backend = this.#fragile = first;
    this.#replace = replace;
  }

  place(offset: number, bytes: number): Uint8Array {
    return this.#backend.place(offset, bytes);
  }

  /** Weights may still be coming in, to where they were told: what fails now is replaced by the first run. */
  async start(): Promise<void> {
    await this.#backend.start().catch((error: unknown) => {
      if (!this.#fragile?.failed) throw error;
    });
  }

  async run(symbols: Symbols, inputs: Tensors, options?: RunOptions): Promise<Tensors> {
    try {
      return await this.#backend.run(symbols, inputs, options);
    } catch (error) {
      if (!this.#fragile?.failed) throw error;
    }
    const other = await this.#replace(this.#fragile.failed);
    if (this.#closed) {
      other.close();
      throw new PywasmError("closed", "the encoder is closed");
    }
    this.#fragile.close();
    this.#fragile = null;
    this.#backend = other;
    return other.run(symbols, inputs, options);
  }

  adopt(adoption: Adoption): void {
    this.#backend.adopt(adoption);
  }

  status(): BackendStatus {
    return this.#backend.status();
  }

  close(): void {
    this.#closed = true;
    this.#backend.close();
  }
}
