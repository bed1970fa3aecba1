/** The page's side of the service worker (sw.ts). */

const script = "sw.js";

/**
 * Registers the site's service worker. Where there can be none (an insecure page, a private window,
 * a site of another origin) the page works as before while online: that is not an error.
 */
export async function registerOffline(site: string): Promise<void> {
  try {
    await navigator.serviceWorker?.register(new URL(script, site), { type: "module" });
  } catch { /* see above */ }
}

/**
 * Asks the browser to keep what is stored when space runs short. Only for a site that is meant to
 * work offline: Firefox asks the visitor.
 */
export async function keepStored(): Promise<void> {
  try {
    if (!(await navigator.storage?.persisted?.())) await navigator.storage?.persist?.();
  } catch { /* Refused: the data stays as long as there is space. */ }
}

/** Removes the site's service worker and all it has stored. */
export async function forgetOffline(site: string): Promise<void> {
  const registration = await navigator.serviceWorker?.getRegistration(site).catch(() => undefined);
  const running = registration?.active ?? registration?.waiting ?? registration?.installing;
  if (!registration || running?.scriptURL !== new URL(script, site).href) return;  // none, or the page's own
  await registration.unregister();
  for (const name of await caches.keys()) if (name.startsWith(`pywasm-shell ${registration.scope} `)) await caches.delete(name);
}
