import { MessageChannel, type MessagePort } from "node:worker_threads";
import { afterEach, expect, test } from "vitest";

import type { Host, HostEvent } from "../src/protocol.ts";
import { remoteHost, serveHost, transfer, type WorkerScope } from "../src/rpc.ts";

const ports: MessagePort[] = [];
afterEach(() => {
  for (const port of ports.splice(0)) port.close();
});

/** A host behind a channel, as behind a worker; the host's methods are those given. */
function remote(methods: Partial<Host>): Host {
  const { port1, port2 } = new MessageChannel();
  ports.push(port1, port2);
  serveHost(methods as Host, port2 as unknown as WorkerScope);
  return remoteHost(port1 as unknown as Worker);
}

test("answers find their calls, whatever their order", async () => {
  const release: (() => void)[] = [];
  const host = remote({
    call: (_index, call) => new Promise((resolve) => release.push(() => resolve({ ok: call * 10 }))),
  });
  const first = host.call(1, 7, "search", []);
  const second = host.call(1, 8, "search", []);
  await expect.poll(() => release.length).toBe(2);
  release[1]!();
  expect(await second).toEqual({ ok: 80 });
  release[0]!();
  expect(await first).toEqual({ ok: 70 });
});

test("events come to the listener, also while a call runs", async () => {
  const heard: HostEvent[] = [];
  let notify: (event: HostEvent) => void = () => undefined;
  const event: HostEvent = { kind: "progress", index: 3, event: { status: "open", file: "x", loaded: 1, total: 1 } };
  const host = remote({
    connect: async (lock, listener) => {
      expect(lock).toBe("a lock");
      notify = listener;
    },
    ping: async () => (notify(event), true),
  });
  await host.connect("a lock", (one) => heard.push(one));
  expect(await host.ping()).toBe(true);
  expect(heard).toEqual([event]);
});

test("what a method throws rejects the call", async () => {
  const host = remote({ close: () => Promise.reject(new TypeError("no such thing")), ping: () => { throw new Error("at once"); } });
  await expect(host.close(1)).rejects.toThrow("no such thing");
  await expect(host.ping()).rejects.toThrow("at once");
});

test("transferred buffers move, others are copied", async () => {
  const host = remote({
    call: async (_index, _call, _method, args) => {
      const { length } = args[0] as Float32Array;
      const doubled = new Float32Array(length * 2);
      return transfer({ ok: doubled }, [doubled.buffer]);
    },
  });
  const moved = new Float32Array(4);
  expect(await host.call(1, 1, "insert", transfer([moved], [moved.buffer]))).toEqual({ ok: new Float32Array(8) });
  expect(moved.byteLength).toBe(0);
  const copied = new Float32Array(4);
  await host.call(1, 2, "insert", [copied]);
  expect(copied.byteLength).toBe(16);
});
