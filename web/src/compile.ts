import { PywasmError } from "./error.ts";

/** Fetches and compiles engine.wasm or builder.wasm, once for each address. */
export function compileEngine(url: URL): Promise<WebAssembly.Module> {
  const known = modules.get(url.href);
  if (known) return known;
  const module = compile(url).catch((error: unknown) => {
    modules.delete(url.href);
    throw error;
  });
  modules.set(url.href, module);
  return module;
}

const modules = new Map<string, Promise<WebAssembly.Module>>();

async function compile(url: URL): Promise<WebAssembly.Module> {
  let response: Response;
  try {
    response = await fetch(url);
  } catch (cause) {
    throw new PywasmError("network", `${url.href} could not be fetched`, { file: url.href, cause });
  }
  if (!response.ok) throw new PywasmError("network", `${url.href} answered ${response.status}`, { file: url.href });
  try {
    // Streaming needs the right media type, which some hosts don't send.
    return response.headers.get("content-type")?.startsWith("application/wasm")
      ? await WebAssembly.compileStreaming(response)
      : await WebAssembly.compile(await response.arrayBuffer());
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new PywasmError("corrupt", `${url.href} is not a WebAssembly module this browser can run: ${reason}`, { file: url.href, cause });
  }
}
