/** The one thing of the index head that this side reads itself: the checksum of every page (docs/format.md). */
import { PywasmError } from "./error.ts";
import { TAG_SUMS } from "./generated/abi.ts";

const FIXED_BYTES = 24;

/** Low 32 bits of XXH64 of each page, by page number. The engine has checked the head before. */
export function pageSums(head: Uint8Array): Uint32Array {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  for (let at = FIXED_BYTES; at + 8 <= head.byteLength; ) {
    const bytes = view.getUint32(at + 4, true);
    if (view.getUint32(at, true) === TAG_SUMS) {
      return new Uint32Array(head.slice(at + 8, at + 8 + bytes).buffer);
    }
    at += 8 + ((bytes + 3) & ~3);
  }
  throw new PywasmError("corrupt", "index head: it has no page checksums", { file: "manifest.json" });
}
