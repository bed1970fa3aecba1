/** Which byte ranges to ask for when pages are wanted: few requests against few bytes too many. */

/** Pages [first, last] of one shard, numbered over the whole index. */
export interface PageRange {
  shard: number;
  first: number;
  last: number;
}

/** A gap this small is read over always: less than a request costs at any latency. */
const FREE_GAP = 2;
/** A gap this large is never read over: 256 KiB take longer than a round trip. */
const LARGEST_GAP = 16;

/**
 * Ranges over ascending `pages`: neighbours are joined, then the smallest gaps until `most` ranges
 * are left. Shard borders are never crossed.
 */
export function planRanges(pages: readonly number[], pagesPerShard: number, most: number): PageRange[] {
  const ranges: PageRange[] = [];
  for (const page of pages) {
    const shard = Math.floor(page / pagesPerShard);
    const before = ranges.at(-1);
    if (before && before.shard === shard && page - before.last <= FREE_GAP + 1) before.last = page;
    else ranges.push({ shard, first: page, last: page });
  }
  while (ranges.length > most) {
    let best = -1;
    let smallest = LARGEST_GAP + 1;
    for (let index = 1; index < ranges.length; index++) {
      const [left, right] = [ranges[index - 1]!, ranges[index]!];
      const gap = left.shard === right.shard ? right.first - left.last - 1 : Infinity;
      if (gap < smallest) [best, smallest] = [index, gap];
    }
    if (best < 0) break;
    ranges[best - 1]!.last = ranges[best]!.last;
    ranges.splice(best, 1);
  }
  return ranges;
}
