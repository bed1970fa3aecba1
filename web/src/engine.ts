/**
 * A typed wrapper of the engine's C interface (kernels_wasm/src/abi.h): one instance of a module is
 * one index. Nothing here does I/O, and but for the exchange of the instance nothing waits.
 */
import { PywasmError, type ErrorCode } from "./error.ts";
import { PAGE_BYTES, PwStatus } from "./generated/abi.ts";
import { decodeInfo, type Info } from "./messages.ts";

export interface Exports {
  memory: WebAssembly.Memory;
  _initialize?: () => void;
  pw_abi_version(): number;
  pw_alloc(bytes: number): number;
  pw_free(pointer: number): void;
  pw_error(): number;
  pw_xxh64(data: number, bytes: number, seed: bigint): bigint;
  pw_open(head: number, bytes: number, budget: number): number;
  pw_info(): number;
  pw_set_budget(bytes: number): number;
  pw_page_buffer(page: number): number;
  pw_page_commit(page: number): number;
  pw_page_abandon(page: number): void;
  pw_page_present(page: number): number;
  pw_make_resident(section: number): number;
  pw_begin(kind: number, message: number, bytes: number): number;
  pw_step(operation: number): number;
  pw_needed(operation: number): number;
  pw_result(operation: number, bytes: number): number;
  pw_end(operation: number): void;
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
  protected exports: Exports;
  #bytes: Uint8Array;
  #view: DataView;
  /** Two u32 for results that come back through pointers. */
  protected out: number;
  #head = new Uint8Array();
  /** Operations begun and not ended. */
  #running = 0;
  #drained: (() => void) | null = null;
  #completing: Promise<void> | null = null;
  #exchange: Promise<void> | null = null;

  protected constructor(instance: WebAssembly.Instance) {
    this.exports = instance.exports as unknown as Exports;
    this.#bytes = new Uint8Array(this.exports.memory.buffer);
    this.#view = new DataView(this.exports.memory.buffer);
    this.exports._initialize?.();
    const version = this.exports.pw_abi_version();
    if (version !== ABI_VERSION) {
      throw new PywasmError("version", `engine.wasm speaks interface ${version}, this bundle ${ABI_VERSION}: deploy the files of one build together`, { file: "engine.wasm" });
    }
    this.out = this.exports.pw_alloc(16);
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
    return this.exports.memory.buffer.byteLength;
  }

  // Growth detaches the old buffer, whose views then have length 0.
  #refresh(): void {
    this.#bytes = new Uint8Array(this.exports.memory.buffer);
    this.#view = new DataView(this.exports.memory.buffer);
  }

  /** False: the index is of a kind that only builder.wasm has. */
  open(head: Uint8Array<ArrayBuffer>, budget: number): boolean {
    this.#head = head;
    const status = this.withBytes(head, (at) => this.exports.pw_open(at, head.byteLength, budget));
    return status !== PwStatus.PW_NOT_LINKED && this.check(status) === PwStatus.PW_DONE;
  }

  /** The instance is one of builder.wasm, which does all there is; engine.wasm's only search. */
  get complete(): boolean {
    return "pw_build_begin" in this.exports;
  }

  /**
   * Goes on in an instance of builder.wasm with all pages that are in memory. Searches in flight are
   * waited for, new ones wait. When it fails, everything stays as it was.
   */
  makeComplete(builder: () => Promise<WebAssembly.Module>): Promise<void> {
    if (this.complete) return Promise.resolve();
    this.#completing ??= (async () => {
      const next = await Engine.create(await builder());
      this.#exchange = this.#goOnIn(next).finally(() => (this.#exchange = null));
      await this.#exchange;
    })().finally(() => (this.#completing = null));
    return this.#completing;
  }

  /** Settles when operations may begin. */
  async usable(): Promise<void> {
    // What failed is told to whoever wanted the exchange.
    while (this.#exchange) await this.#exchange.catch(() => undefined);
  }

  async #goOnIn(next: Engine): Promise<void> {
    while (this.#running > 0) await new Promise<void>((resolve) => (this.#drained = resolve));
    const { budget, sections, totalPages } = this.info();
    next.open(this.#head, budget);
    for (const [section, { resident }] of sections.entries()) if (resident) next.makeResident(section);
    for (let page = 0; page < totalPages; page++) {
      if (this.present(page)) next.fill(page, (target) => this.#read(page, target));
    }
    this.exports = next.exports;
    this.out = next.out;
    this.#refresh();
  }

  #read(page: number, target: Uint8Array): true {
    const at = this.exports.pw_page_buffer(page);
    target.set(this.bytes.subarray(at, at + PAGE_BYTES));
    return true;
  }

  info(): Info {
    const at = this.exports.pw_info();
    return decodeInfo(this.view, at);
  }

  setBudget(bytes: number): void {
    this.check(this.exports.pw_set_budget(bytes));
  }

  xxh64(data: Uint8Array, seed = 0n): bigint {
    return this.withBytes(data, (at) => BigInt.asUintN(64, this.exports.pw_xxh64(at, data.byteLength, seed)));
  }

  // --- pages

  present(page: number): boolean {
    return this.exports.pw_page_present(page) === 1;
  }

  /**
   * Has `read` write page `page` into its place and makes it visible. "busy": every slot is pinned
   * by running operations; "corrupt": the checksum differs; "absent": `read` answered false.
   */
  fill(page: number, read: (target: Uint8Array) => boolean): "ok" | "busy" | "corrupt" | "absent" {
    const at = this.exports.pw_page_buffer(page);
    if (at === 0) return "busy";
    let came = false;
    try {
      came = read(this.bytes.subarray(at, at + PAGE_BYTES));
    } finally {
      // Else the slot would be taken for ever, also where a closed file makes `read` throw.
      if (!came) this.exports.pw_page_abandon(page);
    }
    if (!came) return "absent";
    const status = this.exports.pw_page_commit(page);
    if (status === PwStatus.PW_CORRUPT) return "corrupt";
    this.check(status);
    return "ok";
  }

  /**
   * Has `read` write `count` pages of a resident section, which lie side by side in memory, at once.
   * The answer is the pages whose checksum differs; null where `read` answered false.
   */
  fillPlaces(first: number, count: number, read: (target: Uint8Array) => boolean): number[] | null {
    const at = this.exports.pw_page_buffer(first);
    if (at === 0 || !read(this.bytes.subarray(at, at + count * PAGE_BYTES))) return null;
    const damaged: number[] = [];
    for (let page = first; page < first + count; page++) {
      const status = this.exports.pw_page_commit(page);
      if (status === PwStatus.PW_CORRUPT) damaged.push(page);
      else this.check(status);
    }
    return damaged;
  }

  makeResident(section: number): void {
    this.check(this.exports.pw_make_resident(section));
  }

  // --- operations

  /** Not while an exchange is under way: after usable(). */
  begin(kind: number, message: Uint8Array): number {
    const operation = this.withBytes(message, (at) => this.check(this.exports.pw_begin(kind, at, message.byteLength)));
    this.#running++;
    return operation;
  }

  /** True when the result is complete, false when `needed` has pages to bring. */
  step(operation: number): boolean {
    return this.check(this.exports.pw_step(operation)) === PwStatus.PW_DONE;
  }

  /** Pages wanted, ascending (a copy). */
  needed(operation: number): Uint32Array {
    const at = this.exports.pw_needed(operation);
    const count = this.view.getUint32(at, true);
    return new Uint32Array(this.bytes.buffer, at + 4, count).slice();
  }

  /** The result's bytes (a copy, 8-byte aligned). */
  result(operation: number): Uint8Array<ArrayBuffer> {
    const at = this.exports.pw_result(operation, this.out);
    return this.bytes.slice(at, at + this.view.getUint32(this.out, true)) as Uint8Array<ArrayBuffer>;
  }

  end(operation: number): void {
    this.exports.pw_end(operation);
    if (--this.#running === 0) this.#drained?.();
  }

  /** The engine's own segmentation: layout in abi.h (a copy). */
  tokenize(utf8: Uint8Array): Uint8Array {
    return this.withBytes(utf8, (at) => {
      const result = this.exports.pw_tokenize(at, utf8.byteLength, this.out);
      return this.bytes.slice(result, result + this.view.getUint32(this.out, true));
    });
  }

  protected allocate(bytes: number): number {
    const at = this.exports.pw_alloc(Math.max(bytes, 4));
    if (at === 0) throw new PywasmError("memory", `the engine could not allocate ${bytes} bytes`);
    return at;
  }

  protected withBytes<T>(data: Uint8Array, use: (at: number) => T): T {
    const at = this.allocate(data.byteLength);
    try {
      this.bytes.set(data, at);
      return use(at);
    } finally {
      this.exports.pw_free(at);
    }
  }

  /** Throws the engine's own sentence for a failure; gives the status back otherwise. */
  protected check(status: number): number {
    if (status >= 0) return status;
    const bytes = this.bytes;
    const from = this.exports.pw_error();
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
export function hostImports(module: WebAssembly.Module): WebAssembly.Imports {
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
