/** The one error class. It crosses the worker boundary as plain data, with its code. */

export type ErrorCode =
  | "corrupt"
  | "network"
  | "quota"
  | "argument"
  | "version"
  | "aborted"
  | "closed"
  | "storage"
  | "duplicate"
  | "memory"
  | "unsupported"
  | "worker";

export interface ErrorDetail {
  file?: string;
  offset?: number;
  expected?: string;
}

export interface PlainError extends ErrorDetail {
  code: ErrorCode;
  message: string;
}

export class PywasmError extends Error {
  readonly code: ErrorCode;
  /** The file that is at fault, where there is one. */
  readonly file?: string;
  /** Bytes from its start. */
  readonly offset?: number;
  readonly expected?: string;

  /** Each file of the bundle has a copy of this class: an error of any of them is an instance of all. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    return Function.prototype[Symbol.hasInstance].call(this, value)
      || (this === PywasmError && value instanceof Error && /^(Pywasm|Abort)Error$/.test(value.name) && typeof (value as PywasmError).code === "string");
  }

  constructor(code: ErrorCode, message: string, detail: ErrorDetail & { cause?: unknown } = {}) {
    super(message, detail.cause === undefined ? undefined : { cause: detail.cause });
    // fetch and the DOM name an abort so; code that checks `error.name` keeps working.
    this.name = code === "aborted" ? "AbortError" : "PywasmError";
    this.code = code;
    if (detail.file !== undefined) this.file = detail.file;
    if (detail.offset !== undefined) this.offset = detail.offset;
    if (detail.expected !== undefined) this.expected = detail.expected;
  }
}

/** Any thrown value as plain data for the other side; a foreign error keeps its message. */
export function toPlain(error: unknown): PlainError {
  if (error instanceof PywasmError) {
    const { code, message, file, offset, expected } = error;
    return { code, message, ...(file !== undefined && { file }), ...(offset !== undefined && { offset }), ...(expected !== undefined && { expected }) };
  }
  if (error instanceof Error) {
    if (error.name === "AbortError") return { code: "aborted", message: error.message };
    if (error.name === "QuotaExceededError") return { code: "quota", message: `storage is full: ${error.message}` };
    if (error instanceof RangeError && /memory/i.test(error.message)) return { code: "memory", message: error.message };
    return { code: "worker", message: `${error.name}: ${error.message}` };
  }
  return { code: "worker", message: String(error) };
}

export function fromPlain(plain: PlainError): PywasmError {
  return new PywasmError(plain.code, plain.message, plain);
}

export function aborted(): PywasmError {
  return new PywasmError("aborted", "the operation was aborted");
}

export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw aborted();
}

/** True for the error that browsers throw when the origin's storage is full. */
export function isQuota(error: unknown): boolean {
  return error instanceof Error && error.name === "QuotaExceededError";
}
