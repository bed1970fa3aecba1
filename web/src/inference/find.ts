/** Which compiled model is meant by an address, and its worker with that model opened. */
import { PywasmError, throwIfAborted } from "../error.ts";
import { closed } from "./lasting.ts";
import { Remote, type AskOptions, type Script } from "./remote.ts";

const PLAN_FILE = "plan.json";

export interface Found {
  /** The folder of the plan, ending in "/". */
  address: string;
  /** The content of plan.json; null if its host could not be reached. */
  plan: string | null;
}

/** The plan of the model at `where`, or of the one that the site there carries in its folder `carried`. */
export async function findPlan(where: string | URL, carried: string, signal: AbortSignal | undefined): Promise<Found> {
  const base = folderOf(where);
  for (const folder of [base, new URL(carried, base)]) {
    let response: Response;
    try {
      response = await fetch(new URL(PLAN_FILE, folder), { cache: "no-cache", ...(signal && { signal }) });
    } catch {
      throwIfAborted(signal);
      return { address: base.href, plan: null };
    }
    if (response.ok) return { address: folder.href, plan: await response.text() };
    if (response.status >= 500) return { address: folder.href, plan: null };
  }
  const file = new URL(PLAN_FILE, base).href;
  throw new PywasmError("network", `${file} is not there, nor is ${carried}${PLAN_FILE}: is this the address of a model that \`pywasm compile\` wrote?`, { file });
}

/** The folder that `where` is or is in, ending in "/". */
export function folderOf(where: string | URL): URL {
  const folder = new URL(where, location.href);
  folder.hash = "";
  folder.search = "";
  folder.pathname = folder.pathname.replace(/(plan\.json|manifest\.json|index\.html)$/, "");
  if (!folder.pathname.endsWith("/")) folder.pathname += "/";
  return folder;
}

export interface StartOptions {
  workerUrl?: string | URL | undefined;
  thread?: "worker" | "inline" | undefined;
}

/** A worker of `script`, with nothing opened. */
export function startRemote(script: Script, { workerUrl, thread = "worker" }: StartOptions): Promise<Remote> {
  return Remote.start(script, workerUrl === undefined ? null : new URL(workerUrl, location.href), thread);
}

/** A worker of `script` that has answered to "open": its request may still be on its way while the worker starts. */
export async function startOpened<Info>(script: Script, request: Promise<unknown>, { workerUrl, thread }: StartOptions, ask: AskOptions): Promise<[Remote, Info]> {
  request.catch(() => undefined);
  const remote = await startRemote(script, { workerUrl, thread });
  try {
    return [remote, await remote.ask<Info>("open", [await request], ask)];
  } catch (error) {
    remote.close(closed(script.name));
    throw error;
  }
}
