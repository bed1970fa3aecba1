import { createHash } from "node:crypto";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import type { ShippedKv } from "../../src/generated/manifest.ts";
import { openShipped, ShippedIndex } from "../../src/generation/shipped.ts";
import { prefixHash } from "../../src/generation/tree.ts";

const IDENTITY = "kv1 model";
const DOCUMENTS = [[1, 2, 3], [4, 5, 6, 7], [9]];
const sha256 = (data: Uint8Array): string => createHash("sha256").update(data).digest("hex");
const prefix = (document: number[]): Int32Array => Int32Array.of(50, 51, ...document);

function site(): { kv: ShippedKv; index: Uint8Array<ArrayBuffer>; shard: Uint8Array<ArrayBuffer> } {
  const shard = Uint8Array.from({ length: 90 }, (_, place) => place * 7);
  const entries = DOCUMENTS.map((document, number) => {
    const entry = Buffer.alloc(48);
    Buffer.from(prefixHash(IDENTITY, prefix(document)).slice(0, 32), "hex").copy(entry);
    Buffer.from(sha256(shard.subarray(number * 30, number * 30 + 30)).slice(0, 32), "hex").copy(entry, 16);
    entry.writeUInt32LE(number * 30, 36);
    entry.writeUInt32LE(30, 40);
    entry.writeUInt16LE(document.length, 44);
    entry.writeUInt16LE(number === 1 ? 8 : 4, 46);
    return entry;
  }).sort(Buffer.compare);
  const head = Buffer.from("PWKV\x01\0\0\0\x02\0\0\0\x03\0\0\0", "latin1");
  const index = new Uint8Array(Buffer.concat([head, ...entries]));
  const info = (file: string, data: Uint8Array) => ({ file, bytes: data.byteLength, sha256: sha256(data) });
  return { kv: { identity: IDENTITY, system_tokens: 2, chunks: 3, tokens: 8, bytes: 90, index: info("kv/a.idx", index), shards: [info("kv/b.bin", shard)] }, index, shard };
}

let server: Server | null = null;
afterEach(() => server?.close());

/** Serves the site; `ranges`: whether it knows them. Answers its address and what was asked for. */
async function serve(files: Record<string, Uint8Array>, ranges: boolean): Promise<{ at: URL; asked: string[] }> {
  const asked: string[] = [];
  server = createServer(({ url, headers }, response) => {
    asked.push(`${url} ${headers.range ?? ""}`.trim());
    const data = files[url!.slice(1)];
    const range = ranges && /bytes=(\d+)-(\d+)/.exec(headers.range ?? "");
    if (!data) response.writeHead(404).end();
    else if (range) response.writeHead(206).end(data.subarray(Number(range[1]), Number(range[2]) + 1));
    else response.writeHead(200).end(data);
  });
  await new Promise<void>((resolve) => server!.listen(0, "127.0.0.1", resolve));
  return { at: new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`), asked };
}

test("the key is the build step's", () => {
  // tests/test_kv_build.py has the same
  expect(prefixHash(IDENTITY, Int32Array.of(1, 2, 3)).slice(0, 32)).toBe("70c35c224eca57d9b61aa47a7ebfd422");
});

describe.each([true, false])("a host with ranges: %s", (ranges) => {
  test("each chunk's record is found and fetched alone", async () => {
    const { kv, index, shard } = site();
    const { at, asked } = await serve({ "kv/a.idx": index, "kv/b.bin": shard }, ranges);
    const shipped = await openShipped(at, kv);
    expect(asked).toEqual(["/kv/a.idx"]);
    for (const [number, document] of DOCUMENTS.entries()) {
      const record = shipped.find(prefix(document), 2)!;
      expect([record.bytes, record.tokens, record.bits]).toEqual([30, document.length, number === 1 ? 8 : 4]);
      expect(await record.fetch()).toEqual(shard.slice(number * 30, number * 30 + 30));
      expect(asked.at(-1)).toBe(`/kv/b.bin bytes=${number * 30}-${number * 30 + 29}`);
    }
  });

  test("a damaged record is refused", async () => {
    const { kv, index, shard } = site();
    const damaged = shard.slice();
    damaged[45]! ^= 1;
    const { at } = await serve({ "kv/a.idx": index, "kv/b.bin": damaged }, ranges);
    const shipped = await openShipped(at, kv);
    await expect(shipped.find(prefix(DOCUMENTS[1]!), 2)!.fetch()).rejects.toMatchObject({ code: "corrupt", offset: 30 });
    expect(await shipped.find(prefix(DOCUMENTS[0]!), 2)!.fetch()).toHaveLength(30);
  });
});

test("other tokens, another place, another model: nothing", () => {
  const { kv, index } = site();
  const at = new URL("http://localhost/");
  const shipped = new ShippedIndex(at, kv, index);
  expect(shipped.find(prefix([1, 2, 3]), 2)).not.toBeNull();
  expect(shipped.find(prefix([1, 2, 4]), 2)).toBeNull();
  expect(shipped.find(prefix([1, 2]), 2)).toBeNull();
  expect(shipped.find(Int32Array.of(50, 52, 1, 2, 3), 2)).toBeNull();
  expect(shipped.find(prefix([1, 2, 3]), 3)).toBeNull();
  expect(new ShippedIndex(at, { ...kv, identity: "kv1 another" }, index).find(prefix([1, 2, 3]), 2)).toBeNull();
});

test.each([
  ["cut short", (data: Uint8Array<ArrayBuffer>) => data.subarray(0, data.length - 1), "corrupt"],
  ["something else", (data: Uint8Array<ArrayBuffer>) => data.fill(0, 0, 4), "corrupt"],
  ["newer", (data: Uint8Array<ArrayBuffer>) => data.fill(2, 4, 5), "version"],
])("an index that is %s", (_, damage, code) => {
  const { kv, index } = site();
  expect(() => new ShippedIndex(new URL("http://localhost/"), kv, damage(index))).toThrowError(expect.objectContaining({ code }));
});

test("an index that is not the manifest's, a host that is gone, an abort", async () => {
  const { kv, index, shard } = site();
  const { at } = await serve({ "kv/a.idx": index, "kv/b.bin": shard }, true);
  await expect(openShipped(at, { ...kv, index: { ...kv.index, sha256: "0".repeat(64) } })).rejects.toMatchObject({ code: "corrupt" });
  await expect(openShipped(at, { ...kv, index: { ...kv.index, file: "kv/gone.idx" } })).rejects.toMatchObject({ code: "corrupt" });
  const shipped = await openShipped(at, kv);
  await expect(shipped.find(prefix(DOCUMENTS[0]!), 2)!.fetch(AbortSignal.abort())).rejects.toMatchObject({ name: "AbortError" });
  server!.closeAllConnections();
  await new Promise((resolve) => server!.close(resolve));
  await expect(shipped.find(prefix(DOCUMENTS[0]!), 2)!.fetch()).rejects.toMatchObject({ code: "network" });
});
