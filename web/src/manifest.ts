/**
 * manifest.json: one line, {"pywasm":1,"xxh64":"<16 hex digits>","manifest":<BODY>}, whose checksum
 * covers the bytes of BODY. Nothing in it is believed before that is checked.
 */
import { PywasmError } from "./error.ts";
import type { Manifest } from "./generated/manifest.ts";
import type { Site, Suggestion } from "./types.ts";

/** The newest form of the manifest that this code reads. */
const VERSION = 1;
const FILE = "manifest.json";
const FRAME = /^\{"pywasm":(\d+),"xxh64":"([0-9a-f]{16})","manifest":/;

/** What open needs of a manifest, decoded. */
export interface Opened {
  manifest: Manifest;
  /** The index head. */
  head: Uint8Array<ArrayBuffer>;
  /** The file's text as it stands, to be stored. */
  text: string;
}

/** Parses and checks the file; `xxh64` is the engine's. */
export function parseManifest(bytes: Uint8Array, xxh64: (data: Uint8Array) => bigint): Opened {
  const text = new TextDecoder().decode(bytes);
  const frame = FRAME.exec(text);
  if (!frame) {
    const version = /"pywasm"\s*:\s*(\d+)/.exec(text.slice(0, 200));
    if (version && Number(version[1]) > VERSION) throw newer(Number(version[1]));
    const found = text.trimStart().startsWith("<") ? "an HTML page" : `${bytes.byteLength} bytes of something else`;
    throw new PywasmError("corrupt", `${FILE}: the manifest of a pywasm site expected, found ${found}`, { file: FILE, offset: 0, expected: '{"pywasm":1,...' });
  }
  if (Number(frame[1]) > VERSION) throw newer(Number(frame[1]));
  const start = frame[0].length;
  const end = bytes.lastIndexOf("}".charCodeAt(0));
  const sum = xxh64(bytes.subarray(start, end)).toString(16).padStart(16, "0");
  if (end <= start || sum !== frame[2]) {
    throw new PywasmError("corrupt", `${FILE}: its checksum is ${sum}, ${frame[2]} expected: the file is damaged or was cut short`, { file: FILE, offset: start, expected: frame[2]! });
  }
  let manifest: Manifest;
  let head: Uint8Array<ArrayBuffer>;
  try {
    manifest = JSON.parse(text.slice(start, text.lastIndexOf("}"))) as Manifest;
    head = fromBase64(manifest.head);
  } catch (cause) {
    throw new PywasmError("corrupt", `${FILE}: ${String(cause)}`, { file: FILE, cause });
  }
  return { manifest, head, text };
}

/** The file for a manifest. */
export function formatManifest(manifest: Manifest, xxh64: (data: Uint8Array) => bigint): string {
  const body = JSON.stringify(manifest);
  const sum = xxh64(new TextEncoder().encode(body)).toString(16).padStart(16, "0");
  return `{"pywasm":${VERSION},"xxh64":"${sum}","manifest":${body}}\n`;
}

function newer(version: number): PywasmError {
  return new PywasmError("version", `${FILE} is of version ${version}, this library reads up to ${VERSION}: load a newer pywasm`, { file: FILE, expected: String(VERSION) });
}

/** What the page is told of the site. */
export function describeSite(manifest: Manifest): Site {
  const { title, language, rows, documents, dim, metric, dtype, kind, code_bits: codeBits, keyword, encoder, answers = null, licences, generation } = manifest;
  return {
    title, language, rows, documents, dim, metric, dtype: dtype === "i8" ? "int8" : dtype, kind, codeBits, keyword, encoder, answers, licences, generation,
    columns: manifest.columns.map(({ name, type, values, min, max }) => ({
      name, type, ...(values && { values }), ...(min != null && { min }), ...(max != null && { max }),
    })),
    suggestions: manifest.suggestions.map(({ text, vector }): Suggestion => ({ text, vector: decodeF16(fromBase64(vector)) })),
  };
}

export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let index = 0; index < binary.length; index++) bytes[index] = binary.charCodeAt(index);
  return bytes;
}

export function toBase64(bytes: Uint8Array): string {
  let binary = "";
  const chunk = 8192;  // String.fromCharCode takes only so many arguments
  for (let at = 0; at < bytes.byteLength; at += chunk) binary += String.fromCharCode(...bytes.subarray(at, at + chunk));
  return btoa(binary);
}

/** IEEE half floats, little-endian. */
function decodeF16(bytes: Uint8Array<ArrayBuffer>): Float32Array {
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.byteLength >> 1 }, (_, index) => {
    const half = view.getUint16(index * 2, true);
    const sign = half & 0x8000 ? -1 : 1;
    const exponent = (half >> 10) & 31;
    const fraction = half & 1023;
    if (exponent === 0) return sign * fraction * 2 ** -24;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  });
}
