/** Opens the best local tier there is for one generation of an index, and changes it when this tab becomes the leader. */
import { holdLock, tryLock, type Release } from "../locks.ts";
import type { StorageKind } from "../types.ts";
import { IndexedDbStore, indexedDbGenerations, removeIndexedDbGeneration } from "./indexeddb.ts";
import { channelName, LeaderStore, serve } from "./leader.ts";
import { MemoryStore } from "./memory.ts";
import { opfsDirectory, OpfsStore, opfsGenerations, removeOpfs, removeOpfsGeneration } from "./opfs.ts";
import type { PageStore } from "./tier.ts";

export interface LocalPages {
  readonly store: PageStore;
  /** True unless another tab owns the pages. */
  readonly leads: boolean;
  /** Called with the new store when this tab becomes the leader. */
  changed: (store: PageStore) => void;
  close(): Promise<void>;
}

/** `pages` may be told later: opening begins without it. */
export async function openLocalPages(
  index: string, generation: string, pages: number | Promise<number>, kinds: readonly StorageKind[],
): Promise<LocalPages> {
  const using = holdLock(useLock(index, generation), "shared");
  for (const kind of kinds) {
    try {
      const opened = kind === "opfs" ? await openOpfs(index, generation, pages, using) : await openIndexedDb(index, generation, await pages, using);
      const { close } = opened;
      opened.close = async () => {
        await close();
        (await using)();
      };
      return opened;
    } catch {
      // Missing, denied (a private window) or full: the next kind, in the end none.
    }
  }
  const store = new MemoryStore();
  return { store, leads: true, changed: () => undefined, async close() { store.close(); (await using)(); } };
}

async function openIndexedDb(index: string, generation: string, pages: number, using: Promise<Release>): Promise<LocalPages> {
  await using;
  const store = await IndexedDbStore.open(index, generation, pages);
  return { store, leads: true, changed: () => undefined, async close() { await store.flush(); store.close(); } };
}

async function openOpfs(index: string, generation: string, pages: number | Promise<number>, using: Promise<Release>): Promise<LocalPages> {
  const lock = `pywasm-leader ${generation} ${index}`;
  const channel = new BroadcastChannel(channelName(index, generation));
  const waiting = new AbortController();
  // Both locks and the directory are asked for at once: each is an exchange with another process.
  const leading = tryLock(lock);
  const directory = await Promise.all([opfsDirectory(index), using]).then(([found]) => found, async (error: unknown) => {
    (await leading)?.();
    channel.close();
    throw error;
  });
  let release: Release | null = await leading;
  let store: PageStore;
  let stopServing: () => void = () => undefined;
  let leads = release !== null;

  const lead = async (): Promise<OpfsStore> => {
    const own = await openHandle(directory, generation, pages);
    stopServing = serve(channel, own);
    return own;
  };
  if (release) {
    try {
      store = await lead();
    } catch (error) {
      release();
      channel.close();
      throw error;
    }
  } else {
    let replace: (own: PageStore) => void = () => undefined;
    const follower = new LeaderStore(channel, new Promise((resolve) => (replace = resolve)));
    store = follower;
    await follower.ready;
    void holdLock(lock, "exclusive", waiting.signal).then(async (granted) => {
      release = granted;
      const own = await lead();
      follower.close();
      store = own;
      leads = true;
      replace(own);
      opened.changed(own);
    }).catch(() => undefined);  // closed before its turn came
  }
  const opened: LocalPages = {
    get store() { return store; },
    get leads() { return leads; },
    changed: () => undefined,
    async close() {
      waiting.abort();
      stopServing();
      store.close();
      channel.close();
      release?.();
    },
  };
  return opened;
}

/** A worker that was just terminated may hold the file for a moment longer than its lock. */
async function openHandle(directory: FileSystemDirectoryHandle, generation: string, pages: number | Promise<number>): Promise<OpfsStore> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await OpfsStore.open(directory, generation, pages);
    } catch (error) {
      const busy = error instanceof DOMException && error.name === "NoModificationAllowedError";
      if (!busy || attempt === 20) throw error;
      await new Promise((resolve) => setTimeout(resolve, 10 * (attempt + 1)));
    }
  }
}

/** Removes stored generations of an index, except `keep`, that no tab uses. */
export async function removeGenerations(index: string, keep: readonly string[]): Promise<void> {
  const remove = async (generation: string, from: (index: string, generation: string) => Promise<void>): Promise<void> => {
    if (keep.includes(generation)) return;
    const release = await tryLock(useLock(index, generation));
    if (!release) return;
    try {
      await from(index, generation);
    } finally {
      release();
    }
  };
  for (const generation of await opfsGenerations(index)) await remove(generation, removeOpfsGeneration).catch(() => undefined);
  for (const generation of await indexedDbGenerations(index).catch(() => [])) await remove(generation, removeIndexedDbGeneration).catch(() => undefined);
}

/** Removes every stored page of an index; its stores must be closed. */
export async function removeAllPages(index: string): Promise<void> {
  await removeOpfs(index).catch(() => undefined);  // there was none
  for (const generation of await indexedDbGenerations(index).catch(() => [])) await removeIndexedDbGeneration(index, generation);
}

function useLock(index: string, generation: string): string {
  return `pywasm-use ${generation} ${index}`;
}
