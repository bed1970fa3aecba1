/** What this browser remembers of choices made on the page. Without storage they last as long as the page. */

export function remembered(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

export function remember(key: string, value: string): void {
  try {
    localStorage.setItem(key, value);
  } catch { /* no storage here: asked again at the next visit */ }
}

/** A key of this site alone: several may be of one origin. */
export function siteKey(name: string): string {
  return `pywasm:${name} ${document.baseURI.split(/[?#]/)[0]}`;
}
