/**
 * From logits to the next token. The order is that of transformers: repetition penalty, temperature,
 * then what of the distribution is left: top-k, top-p, min-p. Without a temperature the largest logit
 * wins, of equal ones the first.
 */
import { PywasmError } from "../error.ts";

export interface Sampling {
  /** 0: greedy. */
  temperature: number;
  /** The k most probable tokens; 0: all. */
  topK: number;
  /** The most probable tokens until their probabilities sum to this (nucleus sampling, Holtzman et al. 2020); 1: all. */
  topP: number;
  /** Tokens at least so probable as this share of the most probable one (Nguyen et al. 2024); 0: all. */
  minP: number;
  /** Logits of tokens that were there are divided by it if positive, else multiplied (CTRL, Keskar et al. 2019); 1: nothing. */
  repetitionPenalty: number;
  /** Of the random numbers, 32 bits. */
  seed: number;
}

export class Sampler {
  readonly #sampling: Sampling;
  readonly #random: Random;
  readonly #seen = new Set<number>();

  constructor(sampling: Sampling) {
    this.#sampling = sampling;
    this.#random = new Random(sampling.seed);
  }

  /** Tokens that the penalty is for: those of the prompt; the sampler's own are added by next(). */
  saw(tokens: Iterable<number>): void {
    if (this.#sampling.repetitionPenalty !== 1) for (const token of tokens) this.#seen.add(token);
  }

  /** The next token; changes `logits`. */
  next(logits: Float32Array): number {
    const { temperature, repetitionPenalty: penalty } = this.#sampling;
    for (const token of this.#seen) logits[token] = logits[token]! > 0 ? logits[token]! / penalty : logits[token]! * penalty;
    const token = temperature > 0 ? this.#draw(logits) : argmax(logits);
    this.saw([token]);
    return token;
  }

  #draw(logits: Float32Array): number {
    const { temperature, topK, topP, minP } = this.#sampling;
    const most = logits[argmax(logits)]!;
    const weights = logits;  // in place: they are of no use any more
    for (let token = 0; token < weights.length; token++) weights[token] = Math.exp((logits[token]! - most) / temperature);
    if (topK === 0 && topP === 1 && minP === 0) return pick(weights, null, this.#random.next());
    const order = descending(weights);
    const known: number[] = [];
    const ranked = (rank: number): number => (known[rank] ??= order.next());
    const limit = topK === 0 ? weights.length : Math.min(topK, weights.length);
    // The share of top-p is of what top-k has left.
    let whole = 0;
    if (topP < 1) for (let rank = 0; rank < limit; rank++) whole += weights[limit < weights.length ? ranked(rank) : rank]!;
    const kept: number[] = [];
    let sum = 0;
    for (let rank = 0; rank < limit; rank++) {
      const weight = weights[ranked(rank)]!;
      // Of the most probable token the weight is 1.
      if (rank > 0 && (weight < minP || (topP < 1 && sum >= topP * whole))) break;
      sum += weight;
      kept.push(ranked(rank));
    }
    return pick(weights, kept, this.#random.next());
  }
}

/** The index of the largest, of equal ones the first. */
export function argmax(values: Float32Array): number {
  let best = 0;
  for (let index = 1; index < values.length; index++) if (values[index]! > values[best]!) best = index;
  if (!Number.isFinite(values[best])) throw new PywasmError("worker", `the model's logits are not numbers (${values[best]} at ${best})`);
  return best;
}

/** The one of `tokens` (null: all) where the sum of weights passes the share `at` of it. */
function pick(weights: Float32Array, tokens: readonly number[] | null, at: number): number {
  const count = tokens?.length ?? weights.length;
  let sum = 0;
  for (let index = 0; index < count; index++) sum += weights[tokens ? tokens[index]! : index]!;
  let rest = at * sum;
  let last = 0;
  for (let index = 0; index < count; index++) {
    const token = tokens ? tokens[index]! : index;
    const weight = weights[token]!;
    if (weight === 0) continue;
    last = token;
    if ((rest -= weight) < 0) return token;
  }
  return last;  // rounding
}

/** Indexes of `weights` from the largest on, by a heap: mostly a few are asked for. */
function descending(weights: Float32Array): { next(): number } {
  const heap = Uint32Array.from(weights, (_, index) => index);
  let size = heap.length;
  const before = (a: number, b: number): boolean => weights[a]! > weights[b]! || (weights[a]! === weights[b]! && a < b);
  const sink = (at: number): void => {
    const moved = heap[at]!;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && before(heap[child + 1]!, heap[child]!)) child++;
      if (!before(heap[child]!, moved)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = moved;
  };
  for (let at = (size >> 1) - 1; at >= 0; at--) sink(at);
  return {
    next() {
      const top = heap[0]!;
      heap[0] = heap[--size]!;
      sink(0);
      return top;
    },
  };
}

/** xoshiro128** (Blackman and Vigna, 2018), its state filled from the seed by splitmix32. */
export class Random {
  readonly #state = new Uint32Array(4);

  constructor(seed: number) {
    let at = seed >>> 0;
    for (let index = 0; index < 4; index++) {
      at = (at + 0x9e3779b9) >>> 0;
      let z = at;
      z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
      this.#state[index] = z ^ (z >>> 15);
    }
  }

  /** From 0 to 1, without 1; 32 bits. */
  next(): number {
    const s = this.#state;
    const x = Math.imul(s[1]!, 5);
    const value = Math.imul((x << 7) | (x >>> 25), 9) >>> 0;
    const t = s[1]! << 9;
    s[2]! ^= s[0]!;
    s[3]! ^= s[1]!;
    s[1]! ^= s[2]!;
    s[0]! ^= s[3]!;
    s[2]! ^= t;
    s[3] = (s[3]! << 11) | (s[3]! >>> 21);
    return value / 2 ** 32;
  }
}
