/**
 * How much memory the engine may hold. With `memory: "auto"` the page cache follows WebANNS's
 * heuristic (Liu et al., SIGIR 2025, section 3.3): start from what fits, then shrink the cache for
 * as long as the page fetches that this adds stay within a latency target; here re-evaluated while
 * searches run, and reversed when they no longer do.
 */
import type { Engine } from "./engine.ts";
import { PAGE_BYTES } from "./generated/abi.ts";
import type { TierName } from "./types.ts";

/** Searches between two decisions. */
const WINDOW = 32;
const SHRINK = 0.75;
const GROW = 1.5;
/** Shrinking goes on only while the wait is this far below its target. */
const HEADROOM = 0.5;
const LEAST_CACHE = 64 * PAGE_BYTES;
/** The cache to start from, by what a page costs to bring: from OPFS microseconds, from the network round trips. */
const FIRST_CACHE: Record<TierName, number> = { opfs: 2 << 20, memory: 2 << 20, indexeddb: 6 << 20, leader: 6 << 20, http: 16 << 20 };
/** What the engine keeps for each page of the index and each slot, bytes. */
const PAGE_ENTRY = 8;
/** The share of the device's memory that is never exceeded. */
const DEVICE_SHARE = 1 / 32;
/** The part of a fixed budget that resident sections may take: the rest must hold what one search reads. */
const RESIDENT_SHARE = 0.8;

export class MemoryBudget {
  readonly #engine: Engine;
  readonly #target: number;
  #fixed: number | null;
  #cache: number;
  /** The size at which the target was last missed: not to be returned to soon. */
  #tooSmall = 0;
  #waits: number[] = [];
  #lastP95 = 0;

  /** `latencyTarget` in ms; `tier` is where pages will mostly come from. */
  constructor(engine: Engine, memory: "auto" | number, latencyTarget: number, tier: TierName) {
    this.#engine = engine;
    this.#target = latencyTarget;
    this.#fixed = memory === "auto" ? null : memory;
    this.#cache = FIRST_CACHE[tier];
  }

  /** Which of `sections` fit as a whole, in that order. */
  fitting(sections: readonly number[], bytesOf: (section: number) => number): number[] {
    let room = this.#fixed === null ? deviceBytes() : this.#fixed * RESIDENT_SHARE;
    return sections.filter((section) => (room -= bytesOf(section)) >= 0);
  }

  /** Applies the budget to what is resident and inserted now. */
  apply(): void {
    if (this.#fixed !== null) {
      this.#engine.setBudget(this.#fixed);
      return;
    }
    const { residentBytes, deltaBytes, totalPages } = this.#engine.info();
    this.#engine.setBudget(residentBytes + deltaBytes + totalPages * PAGE_ENTRY + this.#cache);
  }

  set(memory: "auto" | number): void {
    this.#fixed = memory === "auto" ? null : memory;
    this.#waits = [];
    this.apply();
  }

  /** p95 of what recent searches waited for local pages, ms. */
  get waitP95(): number {
    return this.#waits.length > 0 ? p95(this.#waits) : this.#lastP95;
  }

  /** Told of every search that brought pages from local storage alone: how long it waited, ms. */
  observe(waited: number): void {
    this.#waits.push(waited);
    if (this.#waits.length < WINDOW) return;
    this.#lastP95 = p95(this.#waits);
    this.#waits = [];
    if (this.#fixed !== null) return;
    if (this.#lastP95 > this.#target) {
      this.#tooSmall = this.#cache;
      this.#cache = Math.min(this.#cache * GROW, deviceBytes());
    } else if (this.#lastP95 < this.#target * HEADROOM) {
      const smaller = Math.max(this.#cache * SHRINK, LEAST_CACHE);
      if (smaller > this.#tooSmall) this.#cache = smaller;
      else this.#tooSmall *= SHRINK;  // a slow moment passes: try again later
    }
    this.apply();
  }
}

function p95(values: readonly number[]): number {
  const sorted = [...values].sort((left, right) => left - right);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * 0.95))] ?? 0;
}

function deviceBytes(): number {
  const gibibytes = (globalThis.navigator as { deviceMemory?: number } | undefined)?.deviceMemory ?? 4;
  return gibibytes * 2 ** 30 * DEVICE_SHARE;
}
