/** What `index.status()` tells. */
import type { Session } from "./session.ts";
import type { Status } from "./types.ts";
import { PAGE_BYTES } from "./generated/abi.ts";

/** `logged`: changes are kept in IndexedDB. */
export async function statusOf(session: Session, { available, local, logged }: Pick<Status, "available" | "local"> & { logged: boolean }): Promise<Omit<Status, "encoder">> {
  const { base, fill, budget, http } = session;
  const info = base.engine.info();
  const store = base.pager.store;
  const [estimate, persisted] = await Promise.all([
    navigator.storage?.estimate?.().catch((): StorageEstimate => ({})) ?? ({} as StorageEstimate),
    navigator.storage?.persisted?.().catch(() => false) ?? false,
  ]);
  return {
    rows: info.rows - info.deleted,
    deleted: info.deleted,
    delta: info.deltaRows,
    memory: {
      wasm: base.engine.memoryBytes, resident: info.residentBytes, cache: info.cachedPages * PAGE_BYTES, delta: info.deltaBytes,
      budget: info.budget, cachedPages: info.cachedPages, cacheSlots: info.cacheSlots,
    },
    storage: {
      tier: (store?.tier ?? (logged ? "indexeddb" : "memory")) as Status["storage"]["tier"], pages: store?.count ?? 0, total: base.totalPages,
      persisted, quota: estimate.quota ?? 0, usage: estimate.usage ?? 0,
    },
    fill: { done: fill.done, total: base.totalPages, state: fill.state },
    fetches: { ...base.pager.tally.pages },
    requests: http?.requests ?? 0,
    bytes: http?.bytes ?? 0,
    corrupt: base.pager.tally.corrupt,
    leader: session.local?.leads ?? true,
    generation: base.manifest.generation,
    available,
    local,
    waitP95: budget.waitP95,
  };
}
