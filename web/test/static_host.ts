/** A static host on this machine that can misbehave on request. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface Misbehaviour {
  /** Answers 200 with everything to every request. */
  noRanges?: boolean;
  /** Cuts the next so many answers in the middle, with the connection. */
  truncate?: number;
  /** Answers the next so many requests for shards with this status. */
  fail?: { status: number; times: number };
  /** Flips a bit in the next so many answers for shards. */
  flip?: number;
}

/** Ports that hosts of this process have had: an index is stored under its address, so none serves a second site. */
const claimed = new Set<number>();

export class StaticHost {
  readonly files: Map<string, Uint8Array>;
  readonly behaviour: Misbehaviour = {};
  /** "path range" of every request. */
  readonly log: string[] = [];
  readonly #server = createServer((message, response) => this.#answer(message, response));

  constructor(files: Map<string, Uint8Array>) {
    this.files = files;
  }

  async start(): Promise<URL> {
    await new Promise<void>((listening) => this.#server.listen(0, "127.0.0.1", listening));
    const { port } = this.#server.address() as AddressInfo;
    if (claimed.has(port)) {
      await this.stop();
      return this.start();
    }
    claimed.add(port);
    return new URL(`http://127.0.0.1:${port}/`);
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((closed) => this.#server.close(closed));
  }

  #answer(message: IncomingMessage, response: ServerResponse): void {
    const path = decodeURIComponent(message.url ?? "/").slice(1);
    const range = /^bytes=(\d+)-(\d+)$/.exec(message.headers.range ?? "");
    this.log.push(`${path} ${message.headers.range ?? "whole"}`);
    const { behaviour } = this;
    const shard = path.startsWith("data/");
    const file = this.files.get(path);
    if (shard && behaviour.fail && behaviour.fail.times-- > 0) {
      response.writeHead(behaviour.fail.status).end();
      return;
    }
    if (!file) {
      response.writeHead(404).end();
      return;
    }
    const part = range && !behaviour.noRanges;
    const from = part ? Number(range[1]) : 0;
    if (from >= file.byteLength) {
      response.writeHead(416).end();
      return;
    }
    let body = file.slice(from, part ? Number(range[2]) + 1 : file.byteLength);
    response.writeHead(part ? 206 : 200, {
      "content-type": path.endsWith(".wasm") ? "application/wasm" : "application/octet-stream",
      "content-length": body.byteLength,
      ...(part && { "content-range": `bytes ${from}-${from + body.byteLength - 1}/${file.byteLength}` }),
    });
    if (shard && behaviour.flip && behaviour.flip-- > 0) body[body.byteLength >> 1]! ^= 1;
    if (shard && behaviour.truncate && behaviour.truncate-- > 0) {
      response.write(body.subarray(0, body.byteLength >> 1), () => response.destroy());
      return;
    }
    response.end(body);
  }
}
