/** Removing a model that is not open. */
import { removeStore } from "../inference/store.ts";
import { openKvStore } from "./kv_store.ts";

/** Removes what this browser stores of the model at `address`: its files, KV and conversations. */
export async function removeModel(address: string): Promise<void> {
  const store = await openKvStore(address);
  try {
    await Promise.all([removeStore(address), store?.clear()]);
  } finally {
    store?.close();
  }
}
