/** Fetching manifest.json: by the page on open, by the worker when the site turns out to have changed. */
import type { ManifestDelivery } from "./protocol.ts";

/** The body of a site's manifest.json, or why it could not be had. */
export async function fetchManifest(site: URL, cache: RequestCache = "default", signal?: AbortSignal): Promise<ManifestDelivery> {
  const file = new URL("manifest.json", site).href;
  try {
    const response = await fetch(file, { cache, ...(signal && { signal }) });
    if (!response.ok) {
      const hint = response.status === 404 ? ": is this the address of a site that `pywasm build` wrote?" : "";
      return { error: { code: "network", message: `${file} answered ${response.status}${hint}`, file } };
    }
    return { bytes: await response.arrayBuffer() };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { error: { code: "network", message: `${file} could not be fetched: ${reason}`, file } };
  }
}
