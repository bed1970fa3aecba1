// What the engines that generate text share: one clock over each of them.

/**
 * Subclasses have `decode(prompt, count, onToken)`: the `count` most probable tokens behind the
 * prompt, one after another, calling onToken with each; resolves with { ids } or { text }.
 */
export class Decoding {
  /**
   * prompt: { ids, text } that say the same. Answers ms to the first token, ms from it to the last,
   * how many there were, and what they were.
   */
  async generate({ prompt, count }) {
    const began = performance.now();
    let first = 0;
    let last = 0;
    const answer = await this.decode(prompt, count, () => {
      last = performance.now();
      first ||= last;
    });
    return { first: first - began, rest: last - first, count, ...answer };
  }
}

/** The response, which must be one. */
export async function fetched(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: HTTP ${response.status}`);
  return response;
}
