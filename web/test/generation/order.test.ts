import { expect, test } from "vitest";
import { orderDocuments } from "../../src/generation/order.ts";
import { Random } from "./random.ts";
import { run, setUp, text } from "./toy_generator.ts";

test("documents are put in the order in which they were read before", async () => {
  const toy = setUp();
  const random = new Random(1);
  const system = random.tokens(32);
  const [a, b, c, d] = Array.from({ length: 4 }, () => random.tokens(40));
  const order = (...documents: Int32Array[]): number[] => orderDocuments([system], documents, (tokens) => toy.cache.known(tokens));
  expect(order(a!, b!, c!)).toEqual([0, 1, 2]);
  (await run(toy, [text(system), text(b!), text(c!), text(random.tokens(9))])).release();
  expect(order(a!, b!, c!)).toEqual([1, 2, 0]);
  expect(order(c!, d!, b!)).toEqual([2, 0, 1]);
  // Nothing is known behind another first document.
  expect(order(a!, c!, d!)).toEqual([0, 1, 2]);
});
