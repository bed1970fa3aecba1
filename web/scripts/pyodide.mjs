/**
 * Copies what of Pyodide the tuner boots, for `pywasm build` to put into sites (pywasm/site_tuner.py).
 * The lock file loses its packages: the tuner needs none, and they are on another host.
 */
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";

const source = new URL("../node_modules/pyodide/", import.meta.url);
const output = new URL("../../pywasm/_web/pyodide/", import.meta.url);

await mkdir(output, { recursive: true });
for (const file of ["pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip"]) {
  await copyFile(new URL(file, source), new URL(file, output));
}
const { info } = JSON.parse(await readFile(new URL("pyodide-lock.json", source), "utf8"));
await writeFile(new URL("pyodide-lock.json", output), `${JSON.stringify({ info, packages: {} })}\n`);
