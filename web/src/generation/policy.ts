/**
 * What goes when a tier is full. Each policy gives an entry a priority whenever it is used; the
 * lowest goes first. PGDSF is RAGCache's (Jin et al., arXiv 2404.12457, section 5.1): GDSF whose
 * cost is what it would take to have this node again behind its prefix. The others are here to
 * compare with.
 */

export type PolicyName = "pgdsf" | "gdsf" | "lfu" | "lru";
export const POLICIES: readonly PolicyName[] = ["pgdsf", "gdsf", "lfu", "lru"];

/** What a policy keeps of something stored. */
export interface Entry {
  frequency: number;
  priority: number;
  /** When it was last used, in uses of the whole tier: decides between equals. */
  touched: number;
}

export function newEntry(frequency = 0): Entry {
  return { frequency, priority: 0, touched: 0 };
}

/** One of them for each tier: the clock is the tier's. */
export class Policy {
  readonly name: PolicyName;
  /** The priority of the last that went: what was not used since then ages against what is new. */
  #clock = 0;
  #uses = 0;

  constructor(name: PolicyName = "pgdsf") {
    this.name = name;
  }

  /** `cost`: ms to have it again; `size`: tokens. */
  use(entry: Entry, cost: number, size: number): void {
    entry.frequency++;
    this.rate(entry, cost, size);
    entry.touched = ++this.#uses;
  }

  /** Gives the entry its priority without counting a use. */
  rate(entry: Entry, cost: number, size: number): void {
    switch (this.name) {
      case "pgdsf":
        entry.priority = this.#clock + (entry.frequency * cost) / size;
        break;
      // A cost in proportion to the size cancels out.
      case "gdsf":
        entry.priority = this.#clock + entry.frequency;
        break;
      case "lfu":
        entry.priority = entry.frequency;
        break;
      case "lru":
        entry.priority = 0;  // the order of uses decides
    }
  }

  evicted(entry: Entry): void {
    this.#clock = Math.max(this.#clock, entry.priority);
  }
}

/** Of `entries` the one to go first; undefined of none. */
export function victim<T>(candidates: Iterable<T>, entryOf: (candidate: T) => Entry): T | undefined {
  let found: T | undefined;
  for (const candidate of candidates) {
    if (found === undefined || before(entryOf(candidate), entryOf(found))) found = candidate;
  }
  return found;
}

/** Whether `left` goes before `right`. */
export function before(left: Entry, right: Entry): boolean {
  return left.priority !== right.priority ? left.priority < right.priority : left.touched < right.touched;
}
