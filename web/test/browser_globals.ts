/** What the library asks of a browser and Node lacks. Storage and locks are tested in real browsers (e2e/). */
import "fake-indexeddb/auto";

if (!("navigator" in globalThis)) Object.defineProperty(globalThis, "navigator", { value: {}, configurable: true });
if (!("location" in globalThis)) Object.defineProperty(globalThis, "location", { value: new URL("http://localhost/"), configurable: true });
