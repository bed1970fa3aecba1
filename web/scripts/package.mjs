/**
 * Fills dist/, the npm package, from the bundle: the library without the demo page. The bundle is
 * built into the Python package (pywasm/_web), which carries it to the sites that it builds.
 */
import { copyFile, mkdir, readdir } from "node:fs/promises";

const bundle = new URL("../../pywasm/_web/", import.meta.url);
const output = new URL("../dist/", import.meta.url);

await mkdir(output, { recursive: true });
for (const file of await readdir(bundle)) {
  if (/\.(js|d\.ts|wasm)$/.test(file) && file !== "sw.js") await copyFile(new URL(file, bundle), new URL(file, output));
}
