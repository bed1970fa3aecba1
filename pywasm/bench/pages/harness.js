// What the Python side drives: `bench.call(host, method, argument)`. A host whose name begins with
// "page:" lives on this page's main thread, every other in a worker of its own.
import { Host } from "./host.js";

const hosts = new Map();

class WorkerHost {
  #worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  #waiting = new Map();
  #id = 0;

  constructor() {
    this.#worker.onmessage = ({ data: { id, value, error } }) => {
      const { resolve, reject } = this.#waiting.get(id);
      this.#waiting.delete(id);
      error ? reject(Object.assign(new Error(error.message), error)) : resolve(value);
    };
    this.#worker.onerror = (event) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(event.message));
      this.#waiting.clear();
    };
  }

  send(method, argument) {
    return new Promise((resolve, reject) => {
      this.#waiting.set(++this.#id, { resolve, reject });
      this.#worker.postMessage({ id: this.#id, method, argument });
    });
  }

  stop() {
    this.#worker.terminate();
  }
}

class PageHost {
  #host = new Host();
  send = (method, argument) => this.#host[method](argument);
  stop() {}
}

globalThis.bench = {
  call({ host, method, argument }) {
    if (!hosts.has(host)) hosts.set(host, host.startsWith("page:") ? new PageHost() : new WorkerHost());
    return hosts.get(host).send(method, argument);
  },
  stop(host) {
    hosts.get(host)?.stop();
    hosts.delete(host);
  },
};
