import { expect, test } from "vitest";

import type { Backend, Tensors } from "../../src/inference/backend.ts";
import { FallbackBackend, type Fragile } from "../../src/inference/fallback_backend.ts";

/** Answers runs with its name; `failed` makes it fail. */
class Named implements Fragile {
  failed: string | null = null;
  closed = false;

  constructor(readonly name: "wasm" | "webgpu") {}

  place(): Uint8Array {
    return new Uint8Array(1);
  }

  async start(): Promise<void> {
    if (this.failed) throw new Error(this.failed);
  }

  async run(): Promise<Tensors> {
    if (this.failed) throw new Error(this.failed);
    if (this.closed) throw new Error("closed");
    return { [this.name]: new Float32Array(1) };
  }

  adopt(): void {
    throw new Error(`${this.name} adopts nothing`);
  }

  status(): ReturnType<Backend["status"]> {
    return { backend: this.name, numeric: "fused", threads: 1, memory: { weights: 0, arena: 0, scratch: 0, total: 0 }, adopted: [] };
  }

  close(): void {
    this.closed = true;
  }
}

function pair(): { first: Named; second: Named; both: FallbackBackend; reasons: string[] } {
  const [first, second] = [new Named("webgpu"), new Named("wasm")];
  const reasons: string[] = [];
  const both = new FallbackBackend(first, async (why) => {
    reasons.push(why);
    return second;
  });
  return { first, second, both, reasons };
}

test("a backend that works is used, and its errors are the caller's", async () => {
  const { first, both, reasons } = pair();
  await both.start();
  expect(await both.run({}, {})).toHaveProperty("webgpu");
  first.closed = true;
  await expect(both.run({}, {})).rejects.toThrow("closed");
  expect(reasons).toEqual([]);
});

test("one that fails is replaced in the same run, once, and closed", async () => {
  const { first, second, both, reasons } = pair();
  await both.start();
  first.failed = "lost";
  expect(await both.run({}, {})).toHaveProperty("wasm");
  expect(await both.run({}, {})).toHaveProperty("wasm");
  expect(reasons).toEqual(["lost"]);
  expect(first.closed).toBe(true);
  expect(both.status().backend).toBe("wasm");
  expect(() => both.adopt({} as never)).toThrow("wasm adopts nothing");
  second.failed = "too";
  await expect(both.run({}, {})).rejects.toThrow("too");
  both.close();
  expect(second.closed).toBe(true);
});

test("one that can't start is replaced by the first run, when the weights are in place", async () => {
  const { first, both, reasons } = pair();
  first.failed = "a shader";
  await both.start();
  expect(both.place(0, 1)).toHaveLength(1);
  expect(first.closed).toBe(false);
  expect(await both.run({}, {})).toHaveProperty("wasm");
  expect(reasons).toEqual(["a shader"]);
});

test("when nothing takes its place the run fails, and the next tries again", async () => {
  const first = new Named("webgpu");
  let tries = 0;
  const both = new FallbackBackend(first, async () => {
    if (tries++ === 0) throw new Error("offline");
    return new Named("wasm");
  });
  first.failed = "lost";
  await expect(both.run({}, {})).rejects.toThrow("offline");
  expect(await both.run({}, {})).toHaveProperty("wasm");
});

test("closed while the other one is got ready, that one is closed as well", async () => {
  const { first, second, both } = pair();
  first.failed = "the driver was updated";
  const run = expect(both.run({}, {})).rejects.toMatchObject({ code: "closed" });
  both.close();
  await run;
  expect(second.closed).toBe(true);
});
