import { afterEach, beforeAll, describe, expect, test, vi } from "vitest";

import { Core } from "../src/core.ts";
import { Database } from "../src/database.ts";
import { Engine } from "../src/engine.ts";
import { formatManifest, parseManifest } from "../src/manifest.ts";
import { readHint } from "../src/stored.ts";
import { packRows } from "../src/pack.ts";
import type { ManifestDelivery, OpenRequest } from "../src/protocol.ts";
import type { NewRow, Results } from "../src/types.ts";
import { buildSite, columns, DIM, modules, ignore, nearest, never, random, request, sampleRows, vector } from "./sample_site.ts";
import { StaticHost, type Misbehaviour } from "./static_host.ts";

const open: Core[] = [];
afterEach(async () => {
  for (const core of open.splice(0)) await core.close();
});

async function start(asked: OpenRequest, delivery: ManifestDelivery | null = null): Promise<Core> {
  const core = await Core.open(asked, await modules(), delivery && Promise.resolve(delivery), ignore, never);
  open.push(core);
  return core;
}

const idsOf = (results: Results): string[] => results.hits.map(({ id }) => id);
const pack = (rows: NewRow[]) => packRows(rows, DIM, columns);

describe("a built site over HTTP", () => {
  const rows = sampleRows(3000);
  let files: Map<string, Uint8Array<ArrayBuffer>>;
  beforeAll(async () => {
    files = await buildSite(rows);
  });

  async function visit(storage: OpenRequest["options"]["storage"] = "memory", misbehaviour: Misbehaviour = {}): Promise<{ core: Core; host: StaticHost; address: string }> {
    const host = new StaticHost(new Map(files));
    Object.assign(host.behaviour, misbehaviour);
    const address = (await host.start()).href;
    const core = await start(request(address, { storage, fill: false }), { bytes: files.get("manifest.json")!.slice().buffer });
    return { core, host, address };
  }

  test("vector search finds what brute force finds", async () => {
    const { core, host } = await visit();
    const next = random(9);
    let found = 0;
    for (let round = 0; round < 20; round++) {
      const query = vector(next);
      // Whoever takes partial answers gets exact ones in the end, also from a slow tier.
      const results = await core.search(query, {}, never, ignore);
      expect(results.hits.every(({ exact }) => exact)).toBe(true);
      const best = idsOf(results);
      found += nearest(rows, query, 10).filter((id) => best.includes(id)).length;
    }
    expect(found / 200).toBeGreaterThanOrEqual(0.9);
    await host.stop();
  });

  test("estimates come first where vectors are far away, exact answers after them", async () => {
    const host = new StaticHost(await buildSite(sampleRows(12_000)));
    const core = await start(request((await host.start()).href), { bytes: host.files.get("manifest.json")!.slice().buffer as ArrayBuffer });
    const partial: Results[] = [];
    const final = await core.search(vector(random(4)), { k: 100, rerank: 300 }, never, (results) => partial.push(results));
    expect(partial).toHaveLength(1);
    expect(partial[0]!.hits.some(({ exact }) => !exact)).toBe(true);
    expect(final.hits.every(({ exact }) => exact)).toBe(true);
    await host.stop();
  });

  test("what a site tells anew of the same index is known at the next opening", async () => {
    const { core, host, address } = await visit(["indexeddb"]);
    await core.close();
    // A manifest of the same generation with another title, as a build with other options writes it.
    const engine = await Engine.create((await modules()).search);
    const { manifest } = parseManifest(files.get("manifest.json")!, (data) => engine.xxh64(data));
    const renamed = new TextEncoder().encode(formatManifest({ ...manifest, title: "Renamed" }, (data) => engine.xxh64(data)));
    const deliver = (): ManifestDelivery => ({ bytes: renamed.slice().buffer });
    const second = await start(request(address, { storage: ["indexeddb"], fill: false }), deliver());
    expect(second.site.title).not.toBe("Renamed");
    const database = await Database.open(address);
    await vi.waitFor(async () => expect(new TextDecoder().decode((await database.get("current"))!.manifest!)).toContain("Renamed"));
    database.close();
    await second.close();
    expect((await start(request(address, { storage: ["indexeddb"], fill: false }), deliver())).site.title).toBe("Renamed");
    await host.stop();
  });

  test("searches may go on while the background is held", async () => {
    const { core, host } = await visit();
    const held = new AbortController();
    let over = false;
    const holding = core.hold(held.signal).then(() => (over = true));
    expect((await core.search("number7", {}, never, ignore)).hits[0]!.id).toBe("r7");
    expect(over).toBe(false);
    held.abort();
    await holding;
    await host.stop();
  });

  test("a search that fails because the site can't be reached works when it can be again", async () => {
    const { core, host } = await visit("memory", { fail: { status: 503, times: 100 } });
    const query = rows[7]!.vector as Float32Array;
    await expect(core.search(query, {}, never, ignore)).rejects.toMatchObject({ code: "network" });
    delete host.behaviour.fail;
    expect(idsOf(await core.search(query, {}, never, ignore))[0]).toBe("r7");
    await host.stop();
  });

  test("keyword, filter, prefix, similar, hybrid, exclude", async () => {
    const { core, host } = await visit();
    expect(idsOf(await core.search("number1234", {}, never, undefined))).toEqual(["r1234"]);
    expect(idsOf(await core.search("number299", { prefix: true, k: 20 }, never, undefined))).toHaveLength(11);
    const filtered = await core.search("café", { filter: { kind: "k2", year: { lt: 1995 } }, k: 50 }, never, undefined);
    expect(filtered.hits.length).toBeGreaterThan(0);
    expect(filtered.hits.every(({ metadata }) => metadata["kind"] === "k2" && (metadata["year"] as number) < 1995)).toBe(true);
    expect(filtered.passing).toBe(rows.filter(({ metadata }) => metadata!["kind"] === "k2" && (metadata!["year"] as number) < 1995).length);
    const similar = await core.similar("r7", { k: 3 }, never, undefined);
    expect(idsOf(similar)).not.toContain("r7");
    const hybrid = await core.search({ text: "number77", vector: rows[77]!.vector }, { k: 5 }, never, undefined);
    expect(hybrid.hits[0]).toMatchObject({ id: "r77", ranks: { keyword: 1, vector: 1 } });
    expect(hybrid.hits[0]!.highlights.map(([from, to]) => hybrid.hits[0]!.text.slice(from, to))).toEqual(["number77"]);
    expect(idsOf(await core.search(rows[77]!.vector as Float32Array, { exclude: "r77" }, never, undefined))).not.toContain("r77");
    await host.stop();
  });

  test.each([
    ["k of 0", (core: Core) => core.search("x", { k: 0 }, never, undefined), /k: a whole number/],
    ["a wrong dimension", (core: Core) => core.search(new Float32Array(3), {}, never, undefined), /32 dimensions expected, not 3/],
    ["NaN", (core: Core) => core.search(new Float32Array(DIM).fill(NaN), {}, never, undefined), /\[0\]: a finite number expected, not NaN/],
    ["a mode without its query", (core: Core) => core.search("x", { mode: "vector" }, never, undefined), /needs a query vector/],
    ["an unknown column", (core: Core) => core.search("x", { filter: { colour: "red" } }, never, undefined), /no column "colour"; it has kind, year/],
    ["an unknown id", (core: Core) => core.similar("nobody", {}, never, undefined), /no row "nobody"/],
    ["no such suggestion", (core: Core) => core.suggest(0, {}, never, undefined), /suggestion 0: the site has 0/],
  ])("%s is an argument error", async (_, call, message) => {
    const { core, host } = await visit();
    await expect(async () => call(core)).rejects.toMatchObject({ code: "argument", message: expect.stringMatching(message) });
    await host.stop();
  });

  test("more hits than rows asked for: all rows come", async () => {
    const { core, host } = await visit();
    expect((await core.search(rows[0]!.vector as Float32Array, { k: 5000 }, never, undefined)).hits).toHaveLength(3000);
    await host.stop();
  });

  test("an aborted search stops; others go on", async () => {
    const { core, host } = await visit();
    const controller = new AbortController();
    const first = core.search("number1", { k: 3 }, controller.signal, undefined);
    const second = core.search("number1", { k: 3 }, never, undefined);
    controller.abort();
    await expect(first).rejects.toMatchObject({ code: "aborted" });
    expect(idsOf(await second)).toContain("r1");
    await host.stop();
  });

  test("what the page found stored is begun with, and only then, where it is what the database says", async () => {
    const { core, host, address } = await visit(["indexeddb"]);
    const { generation } = await core.status();
    expect(await readHint("name:nowhere")).toBeNull();
    const hint = (await vi.waitUntil(() => readHint(address)))!;
    expect(hint.generation).toBe(generation);
    const query = rows[5]!.vector as Float32Array;
    const damaged = { generation, manifest: hint.manifest.slice(0, -100) };
    const replaced = { generation: "0123456789abcdef0123", manifest: hint.manifest };
    for (const found of [hint, damaged, replaced, null]) {
      const asked = { ...request(address, { storage: ["indexeddb"], fill: false }), hint: found };
      const again = await start(asked, { error: { code: "network", message: "offline" } });
      expect(again.site.generation).toBe(generation);
      expect(idsOf(await again.search(query, {}, never, ignore))[0]).toBe("r5");
    }
    // A deployment that is known of is not begun without.
    const database = await Database.open(address);
    await database.put("next", { generation: "newer", manifest: hint.manifest });
    expect(await readHint(address)).toBeNull();
    database.close();
    await host.stop();
  });

  test("a second visit opens from storage without a request for pages", async () => {
    const first = await visit(["indexeddb"]);
    const query = rows[5]!.vector as Float32Array;
    const before = idsOf(await first.core.search(query, {}, never, ignore));
    await first.core.close();
    first.host.log.length = 0;
    const again = await start(request(first.address, { storage: ["indexeddb"], fill: false }), { error: { code: "network", message: "offline" } });
    expect(idsOf(await again.search(query, {}, never, ignore))).toEqual(before);
    expect(first.host.log).toEqual([]);
    await first.host.stop();
  });

  test("a new deployment: gone shards make the search go on with the new generation", async () => {
    const { core, host } = await visit(["indexeddb"]);
    const other = await buildSite(sampleRows(500, 7));
    host.files.clear();
    for (const [path, bytes] of other) host.files.set(path, bytes);
    const results = await core.search("number499", {}, never, undefined);
    expect(idsOf(results)).toEqual(["r499"]);
    expect(core.site.rows).toBe(500);
    await host.stop();
  });

  test("export gives the files that were built", async () => {
    const { core, host } = await visit();
    const exported = await core.export(never);
    for (const { path, blob } of exported.slice(1)) expect(new Uint8Array(await blob.arrayBuffer())).toEqual(files.get(path));
    expect(exported.map(({ path }) => path).sort()).toEqual([...files.keys()].sort());
    await host.stop();
  });
});

describe("an index that lives in the browser", () => {
  const asked = (name: string): OpenRequest => request(`name:${name}`, { storage: ["indexeddb"] }, true);

  test("changes survive closing; compaction keeps every answer", async () => {
    const rows = sampleRows(1500);
    let core = await start(asked("survive"));
    await core.insert(pack(rows), false, never);
    expect(await core.delete(["r3", "r4", "nobody"], never)).toBe(2);
    await core.insert(pack([{ ...rows[10]!, text: "replaced now", metadata: { kind: "new" } }]), true, never);
    const check = async (): Promise<void> => {
      expect((await core.status()).rows).toBe(1498);
      expect(idsOf(await core.search("replaced", {}, never, undefined))).toEqual(["r10"]);
      expect(idsOf(await core.search("number10", {}, never, undefined))).toEqual([]);
      expect(idsOf(await core.search(rows[10]!.vector as Float32Array, { filter: { kind: "new" } }, never, undefined))).toEqual(["r10"]);
      expect((await core.get(["r3", "r5"], true, never)).map((row) => row?.id ?? null)).toEqual([null, "r5"]);
    };
    await check();
    await core.close();
    core = await start(request("name:survive", { storage: ["indexeddb"] }));
    await check();
    await core.compact(never);
    expect(await core.status()).toMatchObject({ delta: 0, deleted: 0, local: true, storage: { tier: "indexeddb" } });
    await check();
    await core.close();
    core = await start(request("name:survive", { storage: ["indexeddb"] }));
    expect((await core.status()).delta).toBe(0);
    await check();
    await core.clear();
    expect((await indexedDB.databases()).filter(({ name }) => name?.includes("name:survive"))).toEqual([]);
  });

  test("an id that exists is refused, and nothing of that call is kept", async () => {
    const core = await start(asked("duplicate"));
    const rows = sampleRows(10);
    await core.insert(pack(rows.slice(0, 5)), false, never);
    await expect(core.insert(pack(rows), false, never)).rejects.toMatchObject({ code: "duplicate", message: expect.stringContaining('"r0" and 4 more') });
    expect((await core.status()).rows).toBe(5);
  });

  test.each([
    ["a zero vector", { vector: new Float32Array(DIM) }, /every component is zero/],
    ["a vector out of range", { vector: new Float32Array(DIM).fill(1e20) }, /component 0 is 1e\+20/],
    ["a long id", { id: "i".repeat(5000) }, /its id has 5000 bytes/],
  ])("%s is refused before it is logged: the index opens again without that call's rows", async (what, wrong, message) => {
    const core = await start(asked(what));
    // More than one log entry holds, the wrong row in the last.
    const rows = [...sampleRows(2100), { id: "wrong", vector: vector(random(8)), ...wrong }];
    await expect(core.insert(pack(rows), false, never)).rejects.toMatchObject({ code: "argument", message: expect.stringMatching(message) });
    expect((await core.status()).rows).toBe(0);
    await core.close();
    expect((await (await start(asked(what))).status()).rows).toBe(0);
  });

  test("logged rows of other dimensions, from before a deployment, don't keep the index shut", async () => {
    const core = await start(asked("deployed"));
    await core.insert(pack(sampleRows(5)), false, never);
    await core.close();
    const database = await Database.open(asked("deployed").name);
    const old = packRows([{ id: "old", vector: vector(random(1), DIM * 2) }], DIM * 2, columns);
    await database.append([{ op: "insert", rows: old }]);
    database.close();
    const again = await start(asked("deployed"));
    expect((await again.status()).rows).toBe(5);
    await expect(again.insert(old, false, never)).rejects.toMatchObject({ code: "argument", message: expect.stringContaining(`${DIM} dimensions expected, not ${DIM * 2}`) });
  });

  test("two tabs see each other's changes", async () => {
    const one = await start(asked("tabs"));
    const two = await start(asked("tabs"));
    await one.insert(pack(sampleRows(20)), false, never);
    await two.insert(pack([{ id: "other", vector: vector(random(3)), text: "from two" }]), false, never);
    await vi.waitFor(async () => expect((await one.status()).rows).toBe(21));
    expect((await two.status()).rows).toBe(21);
    expect(idsOf(await one.search("two", {}, never, undefined))).toEqual(["other"]);
    await two.compact(never);
    await vi.waitFor(async () => expect((await one.status()).delta).toBe(0));
    expect(idsOf(await one.search("two", {}, never, undefined))).toEqual(["other"]);
  });

  test("a full disk leaves the index as it was and says so", async () => {
    const core = await start(asked("full"));
    await core.insert(pack(sampleRows(5)), false, never);
    const append = vi.spyOn(Database.prototype, "append").mockRejectedValueOnce(new DOMException("disk", "QuotaExceededError"));
    await expect(core.insert(pack([{ id: "late", vector: vector(random(1)) }]), false, never)).rejects.toMatchObject({ code: "quota", message: expect.stringContaining("nothing was changed") });
    append.mockRestore();
    expect((await core.status()).rows).toBe(5);
    await core.insert(pack([{ id: "late", vector: vector(random(1)) }]), false, never);
    expect((await core.status()).rows).toBe(6);
  });

  test("a compaction that is stopped anywhere leaves the index as it was", async () => {
    const core = await start(asked("stopped"));
    const rows = sampleRows(800);
    await core.insert(pack(rows), false, never);
    const switching = vi.spyOn(Database.prototype, "compacted").mockRejectedValueOnce(new Error("killed"));
    await expect(core.compact(never)).rejects.toThrow("killed");
    switching.mockRestore();
    expect((await core.status()).rows).toBe(800);
    await core.close();
    const again = await start(request("name:stopped", { storage: ["indexeddb"] }));
    expect(await again.status()).toMatchObject({ rows: 800, delta: 800 });
    expect(idsOf(await again.search("number799", {}, never, undefined))).toEqual(["r799"]);
  });

  test("without storage everything works until it is closed", async () => {
    const core = await start(request("name:heap", { storage: "memory" }, true));
    const rows = sampleRows(1200);
    await core.insert(pack(rows), false, never);
    await core.compact(never);
    expect(await core.status()).toMatchObject({ rows: 1200, delta: 0, storage: { tier: "memory" } });
    expect(idsOf(await core.search("number1100", {}, never, undefined))).toEqual(["r1100"]);
    await core.close();
    await expect(start(request("name:heap", { storage: "memory" }))).rejects.toMatchObject({ code: "argument", message: expect.stringContaining('no index "heap"') });
  });

  test("an index of another dimension is not mixed up", async () => {
    await (await start(asked("dim"))).close();
    await expect(start({ ...asked("dim"), create: { dim: 8 } })).rejects.toMatchObject({ code: "argument", message: expect.stringContaining("exists with 32 dimensions, not 8") });
  });
});
