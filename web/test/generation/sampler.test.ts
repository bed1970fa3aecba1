import { expect, test } from "vitest";

import { argmax, Random, Sampler, type Sampling } from "../../src/generation/sampler.ts";

const greedy: Sampling = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 1 };
/** Probabilities 0.4, 0.3, 0.2, 0.1 at temperature 1, in no order. */
const PROBABILITIES = [0.1, 0.4, 0.2, 0.3];
const logits = (): Float32Array => Float32Array.from(PROBABILITIES, (probability) => Math.log(probability) + 3);

/** How often each token comes in 4000 draws, as shares. */
function shares(options: Partial<Sampling>): number[] {
  const sampler = new Sampler({ ...greedy, temperature: 1, ...options });
  const counts = [0, 0, 0, 0];
  for (let draw = 0; draw < 4000; draw++) counts[sampler.next(logits())]!++;
  return counts.map((count) => count / 4000);
}

function expectShares(found: number[], wanted: number[]): void {
  // Five standard deviations of a share of one half are 0.04.
  wanted.forEach((share, token) => (share === 0 ? expect(found[token]).toBe(0) : expect(Math.abs(found[token]! - share)).toBeLessThan(0.04)));
}

test("greedy takes the largest logit, of equal ones the first", () => {
  expect(new Sampler(greedy).next(Float32Array.of(1, 5, -2, 5))).toBe(1);
  expect(new Sampler(greedy).next(Float32Array.of(-3, -5))).toBe(0);
});

test("logits that are no numbers are an error", () => {
  expect(() => argmax(Float32Array.of(NaN, NaN))).toThrow("not numbers");
  expect(() => argmax(Float32Array.of(0, Infinity))).toThrow("not numbers");
});

test("a temperature draws by probability", () => {
  expectShares(shares({}), PROBABILITIES);
  const sharper = PROBABILITIES.map((probability) => probability ** 2);
  const sum = sharper.reduce((a, b) => a + b);
  expectShares(shares({ temperature: 0.5 }), sharper.map((weight) => weight / sum));
});

test("top-k, top-p and min-p leave the most probable tokens", () => {
  expectShares(shares({ topK: 2 }), [0, 4 / 7, 0, 3 / 7]);
  expectShares(shares({ topK: 100 }), PROBABILITIES);
  expectShares(shares({ topP: 0.65 }), [0, 4 / 7, 0, 3 / 7]);
  expectShares(shares({ topP: 0.75 }), [0, 4 / 9, 2 / 9, 3 / 9]);
  expectShares(shares({ topP: 0.01 }), [0, 1, 0, 0]);
  expectShares(shares({ minP: 0.45 }), [0, 4 / 9, 2 / 9, 3 / 9]);
  expectShares(shares({ minP: 1 }), [0, 1, 0, 0]);
  // Of what top-k leaves (4/7 and 3/7) the first is enough for a half.
  expectShares(shares({ topK: 2, topP: 0.5 }), [0, 1, 0, 0]);
});

test("the same seed draws the same", () => {
  const draws = (seed: number): number[] => {
    const sampler = new Sampler({ ...greedy, temperature: 1, seed });
    return Array.from({ length: 50 }, () => sampler.next(logits()));
  };
  expect(draws(7)).toEqual(draws(7));
  expect(draws(7)).not.toEqual(draws(8));
});

test("what was there is penalised, in the prompt or drawn", () => {
  const sampler = new Sampler({ ...greedy, repetitionPenalty: 2 });
  sampler.saw([1]);
  const next = (): number => sampler.next(Float32Array.of(-1, 6, 4, -0.9));
  expect([next(), next(), next()]).toEqual([2, 1, 1]);
  const negative = new Sampler({ ...greedy, repetitionPenalty: 2 });
  negative.saw([0]);
  expect(negative.next(Float32Array.of(-1, -1.5))).toBe(1);
});

test("random numbers are those of xoshiro128** behind splitmix32, between 0 and 1", () => {
  const random = new Random(42);
  const numbers = Array.from({ length: 10_000 }, () => random.next());
  expect(Math.min(...numbers)).toBeGreaterThanOrEqual(0);
  expect(Math.max(...numbers)).toBeLessThan(1);
  expect(numbers.reduce((a, b) => a + b) / numbers.length).toBeCloseTo(0.5, 1);
  expect(new Random(42).next()).toBe(reference(42));
});

/** The first number, in integers of any size. */
function reference(seed: number): number {
  const mask = (1n << 32n) - 1n;
  let at = BigInt(seed);
  const state = Array.from({ length: 4 }, () => {
    at = (at + 0x9e3779b9n) & mask;
    let z = at;
    z = ((z ^ (z >> 16n)) * 0x21f0aaadn) & mask;
    z = ((z ^ (z >> 15n)) * 0x735a2d97n) & mask;
    return z ^ (z >> 15n);
  });
  const rotated = (value: bigint, by: bigint): bigint => ((value << by) | (value >> (32n - by))) & mask;
  return Number((rotated((state[1]! * 5n) & mask, 7n) * 9n) & mask) / 2 ** 32;
}
