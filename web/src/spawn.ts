/** Starting workers from an address: this bundle's own script again, or one that an option names. */

/** A module worker at `url`, which may be of another origin (if served with CORS). */
export function spawn(url: URL, name: string): Worker {
  if (url.origin === origin || url.protocol === "blob:") return new Worker(url, { type: "module", name });
  // A worker must be of the page's origin; a module it imports need not (if served with CORS).
  const source = new Blob([`import ${JSON.stringify(url.href)};`], { type: "text/javascript" });
  const address = URL.createObjectURL(source);
  const worker = new Worker(address, { type: "module", name });
  worker.addEventListener("message", () => URL.revokeObjectURL(address), { once: true });
  return worker;
}

/** Where `file` of the bundle is if the worker that a page was told to use is of another origin: beside that. */
export function besideWorker(workerUrl: string | URL | undefined, file: string): URL | undefined {
  const worker = workerUrl === undefined ? null : new URL(workerUrl, location.href);
  return worker && worker.origin !== location.origin ? new URL(file, worker) : undefined;
}
