import { expect, test, vi } from "vitest";

import type { Plan } from "../../src/generated/plan.ts";
import type { ModelFiles } from "../../src/inference/files.ts";
import { Pool } from "../../src/inference/pool.ts";
import { WasmBackend } from "../../src/inference/wasm_backend.ts";
import { loadWeights } from "../../src/inference/weights.ts";
import { expected, sampleFile, samplePlan, WIDTH } from "./sample.ts";

/** A worker that answers when it is told to. */
class Silent extends EventTarget {
  readonly postMessage = vi.fn();
  readonly terminate = vi.fn();

  answer(): void {
    this.dispatchEvent(new MessageEvent("message", { data: {} }));
  }
}

async function makeBackend(plan: Plan, threads = 1, spawn: () => Worker = () => expect.unreachable()): Promise<WasmBackend> {
  const shared = threads > 1;
  const { file } = plan.modules.find((module) => module.numeric === "separate" && module.shared === shared)!;
  const module = WebAssembly.compile(await sampleFile(file));
  return new WasmBackend({ plan, numeric: "separate", module, shared, threads, largest: { batch: 4, seq: 16 }, spawn });
}

async function started(plan: Plan): Promise<WasmBackend> {
  const backend = await makeBackend(plan);
  let offset = 0;
  for (const { file, bytes } of plan.weights.shards) {
    backend.place(offset, bytes).set(await sampleFile(file));
    offset += bytes;
  }
  await backend.start();
  return backend;
}

test("a shape is known by its symbols, in whatever order they are given", async () => {
  const backend = await started(await samplePlan());
  await backend.run({ batch: 1, seq: 2 }, { ids: Int32Array.of(4, 5), lengths: Int32Array.of(2) });
  const { vectors } = await backend.run({ seq: 1, batch: 2 }, { ids: Int32Array.of(6, 7), lengths: Int32Array.of(1, 1) });
  const wanted = [...(await expected([6])), ...(await expected([7]))];
  expect(vectors).toHaveLength(2 * WIDTH);
  wanted.forEach((value, index) => expect(vectors![index]).toBeCloseTo(value, 5));
});

test("a port that is larger than its slot is refused", async () => {
  const plan = await samplePlan();
  plan.slots[plan.outputs[0]!.slot]!.bytes = 4;
  const backend = await started(plan);
  const run = backend.run({ batch: 1, seq: 2 }, { ids: Int32Array.of(4, 5), lengths: Int32Array.of(2) });
  await expect(run).rejects.toMatchObject({ code: "corrupt", message: "vectors: 8 x f32 in a slot of 4 bytes" });
});

test("closed while its threads start, they are ended", async () => {
  const silent = new Silent();
  const backend = await makeBackend(await samplePlan(), 2, () => silent as unknown as Worker);
  const start = expect(backend.start()).rejects.toMatchObject({ code: "closed" });
  await vi.waitFor(() => expect(silent.postMessage).toHaveBeenCalled());
  backend.close();
  silent.answer();
  await start;
  expect(silent.terminate).toHaveBeenCalled();
});

test("closed before its threads start, none is made", async () => {
  const backend = await makeBackend(await samplePlan(), 2);
  backend.close();
  await expect(backend.start()).rejects.toMatchObject({ code: "closed" });
});

test("of threads that can't all be made none is left", async () => {
  const silent = new Silent();
  const make = vi.fn(() => silent as unknown as Worker).mockImplementationOnce(() => silent as unknown as Worker).mockImplementationOnce(() => {
    throw new Error("too many");
  });
  const message = { kind: "forget", id: 0 } as const;
  await expect(Pool.start([message, message, message], make)).rejects.toThrow("too many");
  expect(make).toHaveBeenCalledTimes(2);
  expect(silent.terminate).toHaveBeenCalledTimes(1);
});

test("who waits for threads that are ended is told", async () => {
  const silent = new Silent();
  const starting = Pool.start([{ kind: "forget", id: 0 }], () => silent as unknown as Worker);
  silent.answer();
  const pool = await starting;
  pool.run(1, 1);
  const idle = expect(pool.idle()).rejects.toMatchObject({ code: "closed" });
  pool.end();
  await idle;
});

test("after a shard that fails no other is begun", async () => {
  const plan = await samplePlan();
  plan.weights.shards = Array.from({ length: 8 }, () => plan.weights.shards[0]!);
  const begun: number[] = [];
  const into = async (): Promise<void> => {
    const number = begun.push(begun.length);
    await new Promise((resolve) => setTimeout(resolve, number));
    if (number === 1) throw new Error("damaged");
  };
  const loading = loadWeights(plan, { into } as unknown as ModelFiles, () => new Uint8Array(), () => undefined);
  await expect(loading).rejects.toThrow("damaged");
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(begun).toHaveLength(2);
});
