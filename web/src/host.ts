/** The worker's side of the protocol: numbers to indexes and calls, exceptions to answers. */
import { compileEngine } from "./compile.ts";
import { Core } from "./core.ts";
import { PywasmError, toPlain } from "./error.ts";
import type { Answer, Host, HostEvent, ManifestDelivery, Method } from "./protocol.ts";
import { transfer } from "./rpc.ts";
import type { Results } from "./types.ts";
import type * as Writer from "./writer.ts";

export function createHost(): Host {
  const cores = new Map<number, Core>();
  const manifests = new Map<number, PromiseWithResolvers<ManifestDelivery>>();
  const calls = new Map<number, AbortController>();
  let notify: (event: HostEvent) => void = () => undefined;

  const manifestOf = (index: number): PromiseWithResolvers<ManifestDelivery> => {
    let entry = manifests.get(index);
    if (!entry) manifests.set(index, (entry = withResolvers()));
    return entry;
  };

  async function answer<T>(call: number, work: (signal: AbortSignal) => Promise<T>): Promise<Answer<T>> {
    const controller = new AbortController();
    calls.set(call, controller);
    try {
      return { ok: await work(controller.signal) };
    } catch (error) {
      return { error: toPlain(error) };
    } finally {
      calls.delete(call);
    }
  }

  return {
    async connect(lock, listener) {
      notify = listener;
      // Held until the thread ends; nobody waits for it.
      if (lock !== "" && navigator.locks) await new Promise<void>((held) => {
        void navigator.locks.request(lock, () => {
          held();
          return new Promise(() => undefined);
        }).catch(() => held());
      });
    },
    async ping() {
      return true;
    },
    open(index, request, module, call) {
      return answer(call, async (signal) => {
        const manifest = request.network ? manifestOf(index).promise : null;
        const builder = () => compileEngine(absolute(request.builderUrl ?? new URL("./builder.wasm", import.meta.url)));
        const writer = () => loadWriter(absolute(request.writerUrl ?? new URL("./writer.js", import.meta.url)));
        const core = await Core.open(request, { search: module, builder, writer }, manifest, (event) => notify({ kind: "progress", index, event }), signal);
        cores.set(index, core);
        return core.site;
      });
    },
    manifest(index, delivery) {
      manifestOf(index).resolve(delivery);
    },
    async call(index, call, method, args) {
      const result = await answer(call, (signal) => {
        const core = cores.get(index);
        if (!core) throw new PywasmError("closed", "the index is closed");
        const partial = (results: Results): void => notify({ kind: "partial", call, results });
        return invoke(core, method, args, signal, partial);
      });
      return "ok" in result && ArrayBuffer.isView(result.ok) ? transfer(result, [result.ok.buffer as ArrayBuffer]) : result;
    },
    cancel(call) {
      calls.get(call)?.abort();
    },
    async close(index) {
      const core = cores.get(index);
      cores.delete(index);
      manifests.delete(index);
      await core?.close();
    },
  };
}

/** One line a method: the arguments are what client.ts sends. */
function invoke(core: Core, method: Method, args: unknown[], signal: AbortSignal, partial: (results: Results) => void): Promise<unknown> {
  const a = args as never[];
  switch (method) {
    case "search": return core.search(a[0]!, a[1]!, signal, a[2] ? partial : undefined);
    case "similar": return core.similar(a[0]!, a[1]!, signal, a[2] ? partial : undefined);
    case "suggest": return core.suggest(a[0]!, a[1]!, signal, a[2] ? partial : undefined);
    case "insert": return core.insert(a[0]!, a[1]!, signal);
    case "delete": return core.delete(a[0]!, signal);
    case "get": return core.get(a[0]!, a[1]!, signal);
    case "rowsFrom": return core.rowsFrom(a[0]!, a[1]!, a[2]!, signal);
    case "hold": return core.hold(signal);
    case "status": return core.status();
    case "setMemory": return Promise.resolve(core.setMemory(a[0]!));
    case "compact": return core.compact(signal);
    case "export": return core.export(signal);
    case "clear": return core.clear();
  }
}

/** Turbopack makes of `new URL` an address without an origin. */
function absolute(url: string | URL): URL {
  return new URL(url, location.href);
}

/**
 * The comments keep bundlers from resolving the import: the address is that of an asset. They are
 * put back after minification (tsdown.config.ts).
 */
async function loadWriter({ href }: URL): Promise<typeof Writer> {
  try {
    return (await import(/* @vite-ignore */ /* webpackIgnore: true */ /* turbopackIgnore: true */ href)) as typeof Writer;
  } catch (cause) {
    throw new PywasmError("network", `${href} could not be loaded: ${String(cause)}`, { file: href, cause });
  }
}

interface PromiseWithResolvers<T> {
  promise: Promise<T>;
  resolve: (value: T) => void;
}

function withResolvers<T>(): PromiseWithResolvers<T> {
  let resolve: (value: T) => void = () => undefined;
  const promise = new Promise<T>((settle) => (resolve = settle));
  return { promise, resolve };
}
