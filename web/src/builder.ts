/** The build calls of the engine's interface (kernels_wasm/src/abi.h), which builder.wasm has. */
import { Engine, hostImports, type Exports } from "./engine.ts";
import { PAGE_BYTES, PwStatus } from "./generated/abi.ts";

interface BuildExports extends Exports {
  pw_build_begin(config: number, bytes: number): number;
  pw_build_train(vectors: number, count: number): number;
  pw_build_train_step(): number;
  pw_build_assign(vectors: number, count: number, clusters: number): number;
  pw_build_rows(batch: number, bytes: number): number;
  pw_build_take(section: number, index: number): number;
  pw_build_spill(bytes: number): number;
  pw_build_run_wanted(run: number, offset: number): number;
  pw_build_run_feed(data: number, bytes: number): number;
  pw_build_finish(): number;
  pw_build_head(bytes: number): number;
}

export class Builder extends Engine {
  static override async create(module: WebAssembly.Module): Promise<Builder> {
    return new Builder(await WebAssembly.instantiate(module, hostImports(module)));
  }

  get #build(): BuildExports {
    return this.exports as BuildExports;
  }

  /** Begins a build; `config` by encodeConfig. */
  start(config: Uint8Array): void {
    this.withBytes(config, (at) => this.check(this.#build.pw_build_begin(at, config.byteLength)));
  }

  /** `vectors` is count x dim. */
  train(vectors: Float32Array, count: number): void {
    this.withBytes(asBytes(vectors), (at) => this.check(this.#build.pw_build_train(at, count)));
  }

  /** False while iterations are left. */
  trainStep(): boolean {
    return this.check(this.#build.pw_build_train_step()) === PwStatus.PW_DONE;
  }

  /** The cluster of each of `count` vectors. */
  assign(vectors: Float32Array, count: number): Uint32Array {
    const clusters = this.allocate(count * 4);
    try {
      this.withBytes(asBytes(vectors), (at) => this.check(this.#build.pw_build_assign(at, count, clusters)));
      return new Uint32Array(this.bytes.buffer, clusters, count).slice();
    } finally {
      this.exports.pw_free(clusters);
    }
  }

  rows(batch: Uint8Array): void {
    this.withBytes(batch, (at) => this.check(this.#build.pw_build_rows(at, batch.byteLength)));
  }

  /** The next finished page (a copy), or null. */
  take(): { section: number; index: number; bytes: Uint8Array } | null {
    const at = this.#build.pw_build_take(this.out, this.out + 4);
    if (at === 0) return null;
    return {
      section: this.view.getUint32(this.out, true),
      index: this.view.getUint32(this.out + 4, true),
      bytes: this.bytes.slice(at, at + PAGE_BYTES),
    };
  }

  /** The next chunk of a sorted run that doesn't fit into the builder's memory (a copy), or null. */
  spill(): Uint8Array | null {
    const at = this.#build.pw_build_spill(this.out);
    return at === 0 ? null : this.bytes.slice(at, at + this.view.getUint32(this.out, true));
  }

  /** Which part of which run the builder wants back, or null. */
  runWanted(): { run: number; offset: number } | null {
    if (this.check(this.#build.pw_build_run_wanted(this.out, this.out + 4)) === PwStatus.PW_DONE) return null;
    return { run: this.view.getUint32(this.out, true), offset: this.view.getUint32(this.out + 4, true) };
  }

  runFeed(data: Uint8Array): void {
    this.withBytes(data, (at) => this.check(this.#build.pw_build_run_feed(at, data.byteLength)));
  }

  /** False: call again. */
  finish(): boolean {
    return this.check(this.#build.pw_build_finish()) === PwStatus.PW_DONE;
  }

  head(): Uint8Array<ArrayBuffer> {
    const at = this.#build.pw_build_head(this.out);
    if (at === 0) this.check(PwStatus.PW_STATE);
    return this.bytes.slice(at, at + this.view.getUint32(this.out, true)) as Uint8Array<ArrayBuffer>;
  }
}

function asBytes(data: Float32Array): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
