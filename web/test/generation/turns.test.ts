import { expect, test } from "vitest";

import { Turns } from "../../src/generation/turns.ts";

const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1));

test("who asks again goes behind those who wait", async () => {
  const turns = new Turns();
  const order: string[] = [];
  const generate = async (name: string): Promise<void> => {
    for (let token = 0; token < 3; token++) {
      await turns.take(async () => {
        await pause();
        order.push(`${name}${token}`);
      });
    }
  };
  await Promise.all([generate("a"), generate("b")]);
  expect(order).toEqual(["a0", "b0", "a1", "b1", "a2", "b2"]);
});

test("a turn that fails is its owner's business", async () => {
  const turns = new Turns();
  const failing = turns.take(() => Promise.reject(new Error("mine")));
  const next = turns.take(() => Promise.resolve("done"));
  await expect(failing).rejects.toThrow("mine");
  expect(await next).toBe("done");
});

test("idle is when nobody has asked again", async () => {
  const turns = new Turns();
  let done = 0;
  const generate = async (): Promise<void> => {
    for (; done < 5; done++) await turns.take(pause);
  };
  const generating = generate();
  await turns.idle();
  expect(done).toBe(5);
  await generating;
  expect(turns.waiting).toBe(0);
});
