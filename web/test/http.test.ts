import { afterEach, beforeEach, expect, test } from "vitest";

import { GoneError, HttpTier } from "../src/pages/http.ts";
import { StaticHost } from "./static_host.ts";

const PAGE = 16384;
const shard = (pages: number, first: number): Uint8Array => {
  const bytes = new Uint8Array(pages * PAGE);
  for (let page = 0; page < pages; page++) bytes.fill(first + page, page * PAGE, (page + 1) * PAGE);
  return bytes;
};

let host: StaticHost;
let http: HttpTier;
let arrived: Map<number, number>;

beforeEach(async () => {
  host = new StaticHost(new Map([["data/a.bin", shard(64, 0)], ["data/b.bin", shard(10, 64)]]));
  const base = await host.start();
  arrived = new Map();
  const shards = [{ file: "data/a.bin", bytes: 64 * PAGE }, { file: "data/b.bin", bytes: 10 * PAGE }];
  http = new HttpTier(base, shards, 64, (page, bytes) => arrived.set(page, bytes[PAGE - 1]!));
});
afterEach(() => host.stop());

test("pages come by ranges, neighbours together", async () => {
  await http.fetch([3, 4, 5, 40, 70]);
  expect([3, 4, 5, 40, 70].map((page) => arrived.get(page))).toEqual([3, 4, 5, 40, 70]);
  expect(host.log).toHaveLength(3);
  expect(host.log).toContain(`data/a.bin bytes=${3 * PAGE}-${6 * PAGE - 1}`);
});

test("a host without ranges is asked for each shard once, and everything it sent is taken", async () => {
  host.behaviour.noRanges = true;
  await Promise.all([http.fetch([3]), http.fetch([40]), http.fetch([9, 50])]);
  expect(arrived.size).toBe(64);
  await http.fetch([65]);
  expect(arrived.size).toBe(74);
  expect(http.servesRanges).toBe(false);
  expect(host.log.at(-1)).toBe("data/b.bin whole");
});

test("an answer that breaks off is continued where it broke", async () => {
  host.behaviour.truncate = 1;
  await http.fetch([0, 1, 2, 3, 4, 5, 6, 7]);
  expect(arrived.size).toBe(8);
  const second = Number(/bytes=(\d+)/.exec(host.log[1]!)![1]);
  expect(second).toBeGreaterThan(0);
});

test("a host that is briefly ill is asked again", async () => {
  host.behaviour.fail = { status: 503, times: 2 };
  await http.fetch([1]);
  expect(arrived.get(1)).toBe(1);
  expect(host.log).toHaveLength(3);
});

test("a host that stays ill is an error that names the file", async () => {
  host.behaviour.fail = { status: 500, times: 99 };
  await expect(http.fetch([1])).rejects.toMatchObject({ code: "network", file: "data/a.bin", message: expect.stringContaining("500") });
  expect(host.log).toHaveLength(3);
});

test("a shard that is gone is told apart: the site has changed", async () => {
  host.files.delete("data/a.bin");
  await expect(http.fetch([1])).rejects.toBeInstanceOf(GoneError);
  expect(host.log).toHaveLength(1);
});

test("a shard that is shorter than the manifest says is an error", async () => {
  host.files.set("data/b.bin", shard(2, 64));
  await expect(http.fetch([70])).rejects.toMatchObject({ code: "corrupt", file: "data/b.bin" });
  await expect(http.fetch([65, 66])).rejects.toMatchObject({ code: "corrupt", offset: 2 * PAGE });
});
