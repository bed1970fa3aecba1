/**
 * A typed wrapper of the engine's C interface (kernels_wasm/src/abi.h): one instance of the module
 * is one index. Nothing here waits or does I/O.
 */
import { PywasmError, type ErrorCode } from "./error.ts";
import { PAGE_BYTES, PwStatus } from "./generated/abi.ts";
import { decodeInfo, type Info } from "./messages.ts";

interface Exports {
  memory: WebAssembly.Memory;
  _initialize?: () => void;
  pw_abi_version(): number;
  pw_alloc(bytes: number): number;
  pw_free(pointer: number): void;
  pw_error(): number;
  pw_xxh64(data: number, bytes: number, seed: bigint): bigint;
  pw_open(head: number, bytes: number, budget: number): number;
  pw_create(config: number, bytes: number, budget: number): number;
  pw_info(): number;
  pw_set_budget(bytes: number): number;
  pw_set_policy(policy: number): number;
  pw_page_buffer(page: number): number;
  pw_page_commit(page: number): number;
  pw_page_abandon(page: number): void;
  pw_page_present(page: number): number;
  pw_make_resident(section: number): number;
  pw_drop_resident(section: number): number;
  pw_begin(kind: number, message: number, bytes: number): number;
  pw_step(operation: number): number;
  pw_needed(operation: number): number;
  pw_result(operation: number, bytes: number): number;
  pw_end(operation: number): void;
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
  pw_tokenize(text: number, bytes: number, resultBytes: number): number;
}

const ABI_VERSION = 1;

const codes: Record<number, ErrorCode> = {
  [PwStatus.PW_BAD_ARGUMENT]: "argument",
  [PwStatus.PW_CORRUPT]: "corrupt",
  [PwStatus.PW_NEWER_VERSION]: "version",
  [PwStatus.PW_NO_MEMORY]: "memory",
  [PwStatus.PW_DUPLICATE]: "duplicate",
  [PwStatus.PW_STATE]: "argument",
};

export class Engine {
  readonly #exports: Exports;
  #bytes: Uint8Array;
  #view: DataView;
  /** Two u32 for results that come back through pointers. */
  readonly #out: number;

  private constructor(instance: WebAssembly.Instance) {
    this.#exports = instance.exports as unknown as Exports;
    this.#bytes = new Uint8Array(this.#exports.memory.buffer);
    this.#view = new DataView(this.#exports.memory.buffer);
    this.#exports._initialize?.();
    const version = this.#exports.pw_abi_version();
    if (version !== ABI_VERSION) {
      throw new PywasmError("version", `engine.wasm speaks interface ${version}, this bundle ${ABI_VERSION}: deploy the files of one build together`, { file: "engine.wasm" });
    }
    this.#out = this.#exports.pw_alloc(16);
  }

  /** A fresh instance with its own memory. */
  static async create(module: WebAssembly.Module): Promise<Engine> {
    return new Engine(await WebAssembly.instantiate(module, hostImports(module)));
  }

  /** All of the instance's memory; valid until the engine allocates again. */
  get bytes(): Uint8Array {
    if (this.#bytes.byteLength === 0) this.#refresh();
    return this.#bytes;
  }

  get view(): DataView {
    if (this.#bytes.byteLength === 0) this.#refresh();
    return this.#view;
  }

  /** Size of the instance's memory in bytes. */
  get memoryBytes(): number {
    return this.#exports.memory.buffer.byteLength;
  }

  // Growth detaches the old buffer, whose views then have length 0.
  #refresh(): void {
    this.#bytes = new Uint8Array(this.#exports.memory.buffer);
    this.#view = new DataView(this.#exports.memory.buffer);
  }

  open(head: Uint8Array, budget: number): void {
    this.#withBytes(head, (at) => this.#check(this.#exports.pw_open(at, head.byteLength, budget)));
  }

  create(config: Uint8Array, budget: number): void {
    this.#withBytes(config, (at) => this.#check(this.#exports.pw_create(at, config.byteLength, budget)));
  }

  info(): Info {
    const at = this.#exports.pw_info();
    return decodeInfo(this.view, at);
  }

  setBudget(bytes: number): void {
    this.#check(this.#exports.pw_set_budget(bytes));
  }

  setPolicy(policy: number): void {
    this.#check(this.#exports.pw_set_policy(policy));
  }

  xxh64(data: Uint8Array, seed = 0n): bigint {
    return this.#withBytes(data, (at) => BigInt.asUintN(64, this.#exports.pw_xxh64(at, data.byteLength, seed)));
  }

  // --- pages

  present(page: number): boolean {
    return this.#exports.pw_page_present(page) === 1;
  }

  /**
   * Has `read` write page `page` into its place and makes it visible. "busy": every slot is pinned
   * by running operations; "corrupt": the checksum differs; "absent": `read` answered false.
   */
  fill(page: number, read: (target: Uint8Array) => boolean): "ok" | "busy" | "corrupt" | "absent" {
    const at = this.#exports.pw_page_buffer(page);
    if (at === 0) return "busy";
    if (!read(this.bytes.subarray(at, at + PAGE_BYTES))) {
      this.#exports.pw_page_abandon(page);
      return "absent";
    }
    const status = this.#exports.pw_page_commit(page);
    if (status === PwStatus.PW_CORRUPT) return "corrupt";
    this.#check(status);
    return "ok";
  }

  makeResident(section: number): void {
    this.#check(this.#exports.pw_make_resident(section));
  }

  dropResident(section: number): void {
    this.#check(this.#exports.pw_drop_resident(section));
  }

  // --- operations

  begin(kind: number, message: Uint8Array): number {
    return this.#withBytes(message, (at) => this.#check(this.#exports.pw_begin(kind, at, message.byteLength)));
  }

  /** True when the result is complete, false when `needed` has pages to bring. */
  step(operation: number): boolean {
    return this.#check(this.#exports.pw_step(operation)) === PwStatus.PW_DONE;
  }

  /** Pages wanted, ascending (a copy). */
  needed(operation: number): Uint32Array {
    const at = this.#exports.pw_needed(operation);
    const count = this.view.getUint32(at, true);
    return new Uint32Array(this.bytes.buffer, at + 4, count).slice();
  }

  /** The result's bytes (a copy, 8-byte aligned). */
  result(operation: number): Uint8Array<ArrayBuffer> {
    const at = this.#exports.pw_result(operation, this.#out);
    return this.bytes.slice(at, at + this.view.getUint32(this.#out, true)) as Uint8Array<ArrayBuffer>;
  }

  end(operation: number): void {
    this.#exports.pw_end(operation);
  }

  /** The engine's own segmentation: layout in abi.h (a copy). */
  tokenize(utf8: Uint8Array): Uint8Array {
    return this.#withBytes(utf8, (at) => {
      const result = this.#exports.pw_tokenize(at, utf8.byteLength, this.#out);
      return this.bytes.slice(result, result + this.view.getUint32(this.#out, true));
    });
  }

  // --- build

  buildBegin(config: Uint8Array): void {
    this.#withBytes(config, (at) => this.#check(this.#exports.pw_build_begin(at, config.byteLength)));
  }

  /** `vectors` is count x dim. */
  buildTrain(vectors: Float32Array, count: number): void {
    this.#withBytes(asBytes(vectors), (at) => this.#check(this.#exports.pw_build_train(at, count)));
  }

  /** False while iterations are left. */
  buildTrainStep(): boolean {
    return this.#check(this.#exports.pw_build_train_step()) === PwStatus.PW_DONE;
  }

  /** The cluster of each of `count` vectors. */
  buildAssign(vectors: Float32Array, count: number): Uint32Array {
    const clusters = this.#alloc(count * 4);
    try {
      this.#withBytes(asBytes(vectors), (at) => this.#check(this.#exports.pw_build_assign(at, count, clusters)));
      return new Uint32Array(this.bytes.buffer, clusters, count).slice();
    } finally {
      this.#exports.pw_free(clusters);
    }
  }

  buildRows(batch: Uint8Array): void {
    this.#withBytes(batch, (at) => this.#check(this.#exports.pw_build_rows(at, batch.byteLength)));
  }

  /** The next finished page (a copy), or null. */
  buildTake(): { section: number; index: number; bytes: Uint8Array } | null {
    const at = this.#exports.pw_build_take(this.#out, this.#out + 4);
    if (at === 0) return null;
    return {
      section: this.view.getUint32(this.#out, true),
      index: this.view.getUint32(this.#out + 4, true),
      bytes: this.bytes.slice(at, at + PAGE_BYTES),
    };
  }

  /** The next chunk of a sorted run that doesn't fit into the builder's memory (a copy), or null. */
  buildSpill(): Uint8Array | null {
    const at = this.#exports.pw_build_spill(this.#out);
    return at === 0 ? null : this.bytes.slice(at, at + this.view.getUint32(this.#out, true));
  }

  /** Which part of which run the builder wants back, or null. */
  buildRunWanted(): { run: number; offset: number } | null {
    if (this.#check(this.#exports.pw_build_run_wanted(this.#out, this.#out + 4)) === PwStatus.PW_DONE) return null;
    return { run: this.view.getUint32(this.#out, true), offset: this.view.getUint32(this.#out + 4, true) };
  }

  buildRunFeed(data: Uint8Array): void {
    this.#withBytes(data, (at) => this.#check(this.#exports.pw_build_run_feed(at, data.byteLength)));
  }

  /** False: call again. */
  buildFinish(): boolean {
    return this.#check(this.#exports.pw_build_finish()) === PwStatus.PW_DONE;
  }

  buildHead(): Uint8Array<ArrayBuffer> {
    const at = this.#exports.pw_build_head(this.#out);
    if (at === 0) this.#check(PwStatus.PW_STATE);
    return this.bytes.slice(at, at + this.view.getUint32(this.#out, true)) as Uint8Array<ArrayBuffer>;
  }

  #alloc(bytes: number): number {
    const at = this.#exports.pw_alloc(Math.max(bytes, 4));
    if (at === 0) throw new PywasmError("memory", `the engine could not allocate ${bytes} bytes`);
    return at;
  }

  #withBytes<T>(data: Uint8Array, use: (at: number) => T): T {
    const at = this.#alloc(data.byteLength);
    try {
      this.bytes.set(data, at);
      return use(at);
    } finally {
      this.#exports.pw_free(at);
    }
  }

  /** Throws the engine's own sentence for a failure; gives the status back otherwise. */
  #check(status: number): number {
    if (status >= 0) return status;
    const bytes = this.bytes;
    const from = this.#exports.pw_error();
    let to = from;
    while (bytes[to] !== 0) to++;
    const message = new TextDecoder().decode(bytes.slice(from, to)) || `engine status ${status}`;
    throw new PywasmError(codes[status] ?? "worker", message);
  }
}

/**
 * What the module imports, if anything: libc's memory-growth note needs no answer, and every other
 * call (it has no files, no clock) is an abort.
 */
function hostImports(module: WebAssembly.Module): WebAssembly.Imports {
  const imports: Record<string, Record<string, WebAssembly.ImportValue>> = {};
  for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
    if (kind !== "function") throw new PywasmError("version", `engine.wasm imports ${from}.${name}, a ${kind}`, { file: "engine.wasm" });
    (imports[from] ??= {})[name] =
      name === "emscripten_notify_memory_growth"
        ? () => undefined
        : () => {
            throw new PywasmError("worker", `the engine aborted (${from}.${name})`);
          };
  }
  return imports;
}

function asBytes(data: Float32Array): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
