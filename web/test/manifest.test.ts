import { expect, test } from "vitest";

import { Engine } from "../src/engine.ts";
import { describeSite, formatManifest, parseManifest, toBase64 } from "../src/manifest.ts";
import { buildSite, modules, sampleRows } from "./sample_site.ts";

const engine = await Engine.create((await modules()).search);
const xxh64 = (data: Uint8Array): bigint => engine.xxh64(data);
const bytes = (await buildSite(sampleRows(40))).get("manifest.json")!;
const parse = (data: Uint8Array) => parseManifest(data, xxh64);
const text = (value: string): Uint8Array => new TextEncoder().encode(value);

test("what was written is read", () => {
  const { manifest, head } = parse(bytes);
  expect(manifest.rows).toBe(40);
  expect(new TextDecoder().decode(head.subarray(0, 4))).toBe("PWIX");
  expect(parse(text(formatManifest(manifest, xxh64))).manifest).toEqual(manifest);
});

test("a flipped bit is noticed wherever it is", () => {
  for (let at = 0; at < bytes.byteLength - 1; at += 7) {
    const damaged = bytes.slice();
    damaged[at]! ^= 1;
    expect(() => parse(damaged), `byte ${at}`).toThrow(expect.objectContaining({ code: expect.stringMatching(/corrupt|version/) }));
  }
});

test("half a manifest is noticed", () => {
  expect(() => parse(bytes.subarray(0, bytes.byteLength >> 1))).toThrow(/manifest\.json: its checksum/);
});

test("a newer version is named as such", () => {
  expect(() => parse(text('{"pywasm":2,"xxh64":"0000000000000000","manifest":{}}'))).toThrow(expect.objectContaining({ code: "version", message: expect.stringMatching(/version 2.*up to 1/) }));
  expect(() => parse(text('{ "pywasm": 3, "other": 1 }'))).toThrow(expect.objectContaining({ code: "version" }));
});

test("the host's fallback page is recognised", () => {
  expect(() => parse(text("<!doctype html><html></html>"))).toThrow(/found an HTML page/);
});

test("a page is told plain values", () => {
  const { manifest } = parse(bytes);
  const half = new Uint8Array(new Uint16Array([0x3c00, 0xc000, 0x0001, 0x7bff]).buffer);
  const site = describeSite({ ...manifest, dtype: "i8", suggestions: [{ text: "why", vector: toBase64(half) }] });
  expect(site.dtype).toBe("int8");
  expect([...site.suggestions[0]!.vector]).toEqual([1, -2, 2 ** -24, 65504]);
  expect(site.columns.map(({ name }) => name)).toEqual(["kind", "year"]);
});
