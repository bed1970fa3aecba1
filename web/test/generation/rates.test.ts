import { expect, test } from "vitest";
import { Rates } from "../../src/generation/rates.ts";

test("computing is predicted from chunks of this device, dearer at later positions", () => {
  const rates = new Rates();
  const cost = (from: number, tokens: number): number => tokens * (2 + (from + tokens / 2) * 0.001);
  for (let from = 0; from < 2000; from += 128) rates.computed(from, 128, cost(from, 128));
  for (const [from, tokens] of [[0, 128], [500, 32], [1500, 400]] as const) {
    expect(rates.computeMs(from, tokens) / cost(from, tokens)).toBeCloseTo(1, 1);
  }
});

test("one token at a time tells nothing about prefill, and a device that slows down is believed", () => {
  const rates = new Rates();
  for (let round = 0; round < 50; round++) rates.computed(round * 128, 128, 128 * 3);
  const before = rates.computeMs(0, 128);
  for (let token = 0; token < 500; token++) rates.computed(6400 + token, 1, 12);
  expect(rates.computeMs(0, 128)).toBe(before);
  for (let round = 0; round < 200; round++) rates.computed((round % 50) * 128, 128, 128 * 9);
  expect(rates.computeMs(0, 128) / (128 * 9)).toBeCloseTo(1, 1);
});

test("transfers are as quick as those before", () => {
  const { storage } = new Rates();
  for (let round = 0; round < 40; round++) storage.learn(1e6, 5);
  expect(storage.ms(2e6)).toBeCloseTo(10, 1);
});
