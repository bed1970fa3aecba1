/**
 * What is stored beside a file that was checked when it came from the network: a second, quick
 * checksum, so that a visit with everything stored need not wait for SHA-256 (0.8 GB/s in Chromium;
 * this is several times that). It finds damage; against intent the origin's own storage needs none.
 */

/** FNV's 32-bit prime: odd, so that a change of one word always changes the sum. */
const PRIME = 0x01000193;

export const SEAL_BYTES = 64 + 1 + 32;

/** Of `bytes` whose SHA-256 is known to be `sha256`: ASCII of SEAL_BYTES characters. */
export function sealOf(sha256: string, bytes: Uint8Array): string {
  const sums = checksum(bytes).map((sum) => (sum >>> 0).toString(16).padStart(8, "0"));
  return `${sha256} ${sums.join("")}`;
}

/** Four sums, each over every fourth word: they don't wait for one another. */
export function checksum(bytes: Uint8Array): number[] {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  const words = new Int32Array(aligned.buffer, aligned.byteOffset, aligned.byteLength >> 2);
  const whole = words.length & ~3;
  let a = 1;
  let b = 2;
  let c = 3;
  let d = 4;
  for (let index = 0; index < whole; index += 4) {
    a = (Math.imul(a, PRIME) + words[index]!) | 0;
    b = (Math.imul(b, PRIME) + words[index + 1]!) | 0;
    c = (Math.imul(c, PRIME) + words[index + 2]!) | 0;
    d = (Math.imul(d, PRIME) + words[index + 3]!) | 0;
  }
  for (let index = whole * 4; index < aligned.byteLength; index++) a = (Math.imul(a, PRIME) + aligned[index]!) | 0;
  return [a, b, c, d];
}
