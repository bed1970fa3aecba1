/**
 * The service worker of a site: the page opens without a network once it has been visited, and is
 * cross-origin isolated on hosts that can't set headers. Registered by `open(..., { offline: true })`.
 *
 * The shell (page, scripts, engine: what the manifest lists as assets) is one unit: it is cached
 * whole, under a name made from the manifest's generation and the assets' hashes, and replaced
 * whole. Manifest and page come from the network first, so a deployment shows at the next visit;
 * a slow network is not waited for. The index itself (data/) passes by: it is kept in pages by the
 * search worker; models and KV are kept by their workers.
 */

/** What this file needs of a type library that can't be loaded together with the DOM's. */
interface ExtendableEvent extends Event {
  waitUntil(promise: Promise<unknown>): void;
}
interface FetchEvent extends ExtendableEvent {
  readonly request: Request;
  respondWith(response: Promise<Response>): void;
}
interface ServiceWorkerScope {
  readonly registration: { readonly scope: string };
  readonly clients: { claim(): Promise<void> };
  skipWaiting(): Promise<void>;
  addEventListener(type: "install" | "activate", listener: (event: ExtendableEvent) => void): void;
  addEventListener(type: "fetch", listener: (event: FetchEvent) => void): void;
}

interface ShellManifest {
  generation: string;
  assets: { file: string; sha256: string }[];
}

const worker = self as unknown as ServiceWorkerScope;
const scope = worker.registration.scope;
/** Caches of this site: other sites of the same origin have their own. */
const prefix = `pywasm-shell ${scope} `;
const manifestUrl = new URL("manifest.json", scope).href;
/** A network that takes longer is treated as absent where there is a copy; ms. */
const patience = 1500;
/** Pages opened at once share one look at the manifest; ms. */
const freshFor = 2000;

let checked: { at: number; manifest: Promise<Response> } | null = null;
/** The shell that the newest manifest names; null before it was looked at. */
let wanted: string | null = null;
/** The shell that is being stored, and when it is. */
let storing: { name: string; done: Promise<void> } | null = null;

worker.addEventListener("install", (event) => {
  event.waitUntil(checkManifest().then(stored).then(() => worker.skipWaiting()));
});

worker.addEventListener("activate", (event) => {
  event.waitUntil(worker.clients.claim());
});

worker.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || !request.url.startsWith(scope) || request.headers.has("range")) return;
  const path = new URL(request.url).pathname.slice(new URL(scope).pathname.length);
  if (/^(data|encoder|tune|generator|kv)\//.test(path) || path === "sw.js") return;
  if (request.mode === "navigate") event.respondWith(page(event));
  else if (request.url === manifestUrl) event.respondWith(manifest(event));
  else event.respondWith(asset(request));
});

/** A page: from the network if it answers in time; the stored one if it is the site's own page. */
async function page(event: FetchEvent): Promise<Response> {
  const check = checkManifest();
  event.waitUntil(check.then(stored, () => undefined));
  const path = new URL(event.request.url).pathname.slice(new URL(scope).pathname.length);
  const copy = path === "" || path === "index.html" ? await find(new URL("./", scope).href) : undefined;
  try {
    // Which shell is wanted must be known before the page asks for parts of it.
    const network = Promise.all([fetch(event.request), check.catch(() => undefined)]).then(([response]) => response);
    return isolated(await (copy ? inTime(network) : network));
  } catch (error) {
    if (copy) return isolated(copy);
    throw error;
  }
}

async function manifest(event: FetchEvent): Promise<Response> {
  const copy = await find(manifestUrl);
  const network = checkManifest();
  event.waitUntil(network.then(stored, () => undefined));
  try {
    return (await (copy ? inTime(network) : network)).clone();
  } catch (error) {
    if (copy) return copy;
    throw error;
  }
}

/** A part of the shell: the stored copy of the wanted one; else the network's; else an older copy. */
async function asset(request: Request): Promise<Response> {
  const current = await (wanted === null ? find(request.url) : findIn(wanted, request.url));
  if (current) return isolated(current);
  try {
    return isolated(await fetch(request));
  } catch (error) {
    const older = await find(request.url);
    if (older) return isolated(older);
    throw error;
  }
}

/** Fetches the manifest; where it names another shell than the stored one, stores that in its place. */
function checkManifest(): Promise<Response> {
  const now = Date.now();
  if (checked && now - checked.at < freshFor) return checked.manifest;
  const fetched = fetch(manifestUrl, { cache: "no-cache" }).then(async (response) => {
    if (!response.ok) throw new Error(`${manifestUrl}: HTTP ${response.status}`);
    await adopt(response.clone());
    return response;
  });
  checked = { at: now, manifest: fetched };
  fetched.catch(() => (checked = null));
  return fetched;
}

async function adopt(response: Response): Promise<void> {
  const manifestCopy = response.clone();
  const { manifest: body } = (await response.json()) as { manifest: ShellManifest };
  const name = prefix + (await fingerprint(body));
  wanted = name;
  if (storing?.name === name || (await findIn(name, manifestUrl))) return;
  // Not awaited: the page fetches what it needs itself. What failed is tried again at the next check.
  const done = store(name, body, manifestCopy).catch(() => undefined).then(() => { storing = null; });
  storing = { name, done };
}

async function stored(): Promise<void> {
  await storing?.done;
}

/** Stores a whole shell. The manifest goes in last: a cache without one is not complete. */
async function store(name: string, { assets }: ShellManifest, manifestCopy: Response): Promise<void> {
  const cache = await caches.open(name);
  const files = ["./", ...assets.map(({ file }) => file).filter((file) => !/^(index\.html|sw\.js)$|\.d\.ts$/.test(file))];
  await Promise.all(files.map(async (file) => {
    const url = new URL(file, scope).href;
    const response = await fetch(url, { cache: "no-cache" });
    if (response.status === 404) return;  // the site's owner has removed what they don't use
    if (!response.ok) throw new Error(`${url}: HTTP ${response.status}`);
    await cache.put(url, response);
  }));
  await cache.put(manifestUrl, manifestCopy);
  for (const other of await caches.keys()) if (other.startsWith(prefix) && other !== name) await caches.delete(other);
}

/** The response to `url` in a shell that is stored completely, whichever version it has. */
async function find(url: string): Promise<Response | undefined> {
  for (const name of await caches.keys()) {
    const found = name.startsWith(prefix) ? await findIn(name, url) : undefined;
    if (found) return found;
  }
  return undefined;
}

/** The response to `url` in the shell `name` if that is stored completely. */
async function findIn(name: string, url: string): Promise<Response | undefined> {
  if (!(await caches.has(name))) return undefined;
  const cache = await caches.open(name);
  return (await cache.match(manifestUrl)) && cache.match(url, { ignoreSearch: true });
}

async function fingerprint({ generation, assets }: ShellManifest): Promise<string> {
  const text = JSON.stringify([generation, assets.map(({ file, sha256 }) => [file, sha256])]);
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return [...new Uint8Array(hash, 0, 8)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function inTime(response: Promise<Response>): Promise<Response> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => { reject(new Error("the network is slow")); }, patience);
  });
  try {
    return await Promise.race([response, late]);
  } finally {
    clearTimeout(timer);
    response.catch(() => undefined);
  }
}

/**
 * With the headers that give the page shared memory, where the host sent none. "credentialless"
 * leaves images and scripts of other origins working; browsers without it ignore the header.
 */
function isolated(response: Response): Response {
  if (response.type !== "basic" && response.type !== "default") return response;
  if (response.redirected || response.status === 304 || response.status === 0) return response;
  const headers = new Headers(response.headers);
  const missing: [string, string][] = [
    ["cross-origin-opener-policy", "same-origin"],
    ["cross-origin-embedder-policy", "credentialless"],
    ["cross-origin-resource-policy", "same-origin"],
  ];
  if (missing.every(([name]) => headers.has(name))) return response;
  for (const [name, value] of missing) if (!headers.has(name)) headers.set(name, value);
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}
