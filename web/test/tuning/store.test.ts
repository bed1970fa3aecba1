import { beforeEach, expect, test } from "vitest";

import { answer, deleteDatabase, finished, openDatabase } from "../../src/pages/idb.ts";
import { TunedKernels } from "../../src/tuning/store.ts";
import { taskOf, winnerOf, workOf } from "./work.ts";

const NAME = "pywasm tuned kernels";
const task = taskOf(0);
const work = workOf([task]);
let store: TunedKernels;

beforeEach(async () => {
  store?.close();
  await deleteDatabase(NAME);
  store = (await TunedKernels.open())!;
});

/** Changes what is stored, behind the store's back. */
async function meddle(change: (stored: { winner: { module: Uint8Array; grid: unknown } }) => void): Promise<void> {
  const database = await openDatabase(NAME, () => undefined);
  const transaction = database.transaction("kernels", "readwrite");
  const kernels = transaction.objectStore("kernels");
  const [key] = await answer(kernels.getAllKeys());
  const stored = await answer(kernels.get(key!));
  change(stored);
  kernels.put(stored, key);
  await finished(transaction);
  database.close();
}

test("a winner, and that there is none, are found again by another visit", async () => {
  const other = taskOf(1);
  await store.put(task, work, winnerOf(task));
  await store.put(other, work, null);
  const visit = (await TunedKernels.open())!;
  expect(await visit.get(task, work)).toEqual(winnerOf(task));
  expect(await visit.get(other, work)).toBeNull();
  expect(await visit.get(taskOf(2), work)).toBeUndefined();
  visit.close();
});

test("another shape, compiler, memory or device is another key", async () => {
  await store.put(task, work, winnerOf(task));
  expect(await store.get(taskOf(0, 64), work)).toBeUndefined();
  expect(await store.get(task, workOf([task], "1.0+abd"))).toBeUndefined();
  expect(await store.get(task, workOf([task], "1.0+abc", true))).toBeUndefined();
  expect(await store.get({ ...task, recipe: { ...task.recipe, numeric: "separate" } }, work)).toBeUndefined();
});

test("the number of a kernel in its plan is none of the key", async () => {
  await store.put(task, work, winnerOf(task));
  expect(await store.get({ ...task, kernel: 7, name: "k7" }, work)).toEqual(winnerOf(task));
});

test.each([
  ["code", (stored: { winner: { module: Uint8Array } }) => { stored.winner.module[4]! ^= 1; }],
  ["grid", (stored: { winner: { grid: unknown } }) => { stored.winner.grid = ["*", "rows", 1000]; }],
])("a changed %s is not run, and is forgotten", async (_, change) => {
  await store.put(task, work, winnerOf(task));
  await meddle(change);
  expect(await store.get(task, work)).toBeUndefined();
  await store.put(task, work, null);
  expect(await store.get(task, work)).toBeNull();
});

test("a database that is gone keeps nobody from tuning", async () => {
  store.close();
  await store.put(task, work, winnerOf(task));
  expect(await store.get(task, work)).toBeUndefined();
});
