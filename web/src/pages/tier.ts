/** What the storage tiers have in common. Pages are 16 KiB, numbered over the whole index. */
import type { TierName } from "../types.ts";

/** Where pages end up: the engine. */
export interface PageSink {
  present(page: number): boolean;
  /** Has `read` write the page into its place, checks it and makes it visible. */
  fill(page: number, read: (target: Uint8Array) => boolean): "ok" | "busy" | "corrupt" | "absent";
  /** The same for `count` pages of a resident section by one `read`: those that are damaged; null where it answered false. */
  fillPlaces(first: number, count: number, read: (target: Uint8Array) => boolean): number[] | null;
  /** Whether `bytes` are page `page`, by the checksum in the index head. */
  verify(page: number, bytes: Uint8Array): boolean;
}

/** A local tier: pages of one generation of one index. */
export interface PageStore {
  readonly tier: TierName;
  /** How many pages it holds. */
  readonly count: number;
  /** Whether it believes to have the page; a read may still come back without it. */
  has(page: number): boolean;
  /** Reads at once into `target`, which may be longer than a page where the tier can have neighbours; only where the tier can (OPFS in the leading tab). */
  readNow?(page: number, target: Uint8Array): boolean;
  /** Reads ascending `pages`; what it lacks is missing from the answer. */
  read(pages: readonly number[]): Promise<Map<number, Uint8Array>>;
  /** Stores pages; a QuotaExceededError leaves what was stored before. */
  write(pages: ReadonlyMap<number, Uint8Array>): Promise<void>;
  /** Drops a page that turned out damaged. */
  forget(page: number): void;
  /** What was written is on disk, the list of pages included. */
  flush(): Promise<void>;
  close(): void;
}

export type Priority = "high" | "low";
