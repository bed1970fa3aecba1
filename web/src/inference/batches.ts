/** Which texts run together. */

/** Rows of padding that a batch may have, and the share of its rows. */
const PADDING = 32;
const PADDING_SHARE = 0.15;

/**
 * Indexes of texts with `lengths` tokens, grouped: a batch has at most `rows` tokens with padding,
 * at least one text, the longest first. Reading the weights once more costs less than much padding.
 */
export function batches(lengths: readonly number[], rows: number): number[][] {
  const order = lengths.map((_, index) => index).sort((a, b) => lengths[b]! - lengths[a]! || a - b);
  const found: number[][] = [];
  let batch: number[] = [];
  let padding = 0;
  for (const index of order) {
    const seq = batch.length > 0 ? lengths[batch[0]!]! : 0;
    const more = padding + seq - lengths[index]!;
    const padded = (batch.length + 1) * seq;
    if (batch.length > 0 && padded <= rows && more <= Math.max(PADDING, padded * PADDING_SHARE)) {
      batch.push(index);
      padding = more;
    } else {
      found.push((batch = [index]));
      padding = 0;
    }
  }
  return found;
}
