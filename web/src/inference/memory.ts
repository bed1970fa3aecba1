/** The one WebAssembly memory of a model: made once, never larger than what was said when it was made. */
import { PywasmError } from "../error.ts";
import type { Plan } from "../generated/plan.ts";
import { megabytes, PAGE_BYTES } from "./layout.ts";

/** Memory of `bytes` that may grow by `more`: that is reserved, not used. Fails with code "memory" where the browser has not got so much. */
export function allocate(bytes: number, more: number, shared: boolean, plan: Plan): WebAssembly.Memory {
  const initial = Math.ceil(bytes / PAGE_BYTES);
  const maximum = Math.min(65536, initial + Math.ceil(more / PAGE_BYTES));
  try {
    return new WebAssembly.Memory({ initial, maximum, shared });
  } catch (cause) {
    throw noMemory(bytes, plan, cause);
  }
}

/** Makes `memory` one of at least `bytes`; fails with code "memory" where the browser does not give them. */
export function grow(memory: WebAssembly.Memory, bytes: number, plan: Plan): void {
  const missing = bytes - memory.buffer.byteLength;
  if (missing <= 0) return;
  try {
    memory.grow(Math.ceil(missing / PAGE_BYTES));
  } catch (cause) {
    throw noMemory(bytes, plan, cause);
  }
}

function noMemory(bytes: number, { name, weights }: Plan, cause: unknown): PywasmError {
  return new PywasmError("memory", `${name} needs ${megabytes(bytes)} of memory (${megabytes(weights.bytes)} of it for weights), which the browser did not give`, { cause });
}
