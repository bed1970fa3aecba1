/** What this browser's WebAssembly can do, asked by validating modules of a few bytes. */

/** A module with one function of no arguments whose body is `code`. */
function valid(...code: number[]): boolean {
  const body = [0, ...code, 0x0b];
  return WebAssembly.validate(new Uint8Array([
    0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,  // \0asm, version 1
    1, 4, 1, 0x60, 0, 0,  // type 0: () -> ()
    3, 2, 1, 0,  // function 0 is of type 0
    10, body.length + 2, 1, body.length, ...body,
  ]));
}

const SPLAT = [0x41, 0, 0xfd, 0x0f];  // i32.const 0, i8x16.splat
const DROP = 0x1a;

export const hasSimd = (): boolean => valid(...SPLAT, DROP);
/** Fused multiply-add (f32x4.relaxed_madd) and the rest of relaxed SIMD. */
export const hasRelaxedSimd = (): boolean => valid(...SPLAT, ...SPLAT, ...SPLAT, 0xfd, 0x85, 0x02, DROP);
/** Memory that threads can share. */
export const canShare = (): boolean => globalThis.crossOriginIsolated === true && typeof SharedArrayBuffer === "function";
