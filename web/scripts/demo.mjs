/**
 * Builds the page that every site carries, and the service worker, beside the bundle:
 * index.html, sw.js, demo/{demo.js,style.css,icon.svg}. The page imports the bundle
 * as ../pywasm.js, so that a site's own pages share its one copy.
 */
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { transform } from "lightningcss";
import { rolldown } from "rolldown";

const web = new URL("../", import.meta.url);
const output = new URL("../pywasm/_web/", web);
const path = (relative, base = web) => decodeURIComponent(new URL(relative, base).pathname);

/** The oldest browsers that run the engine (WebAssembly SIMD and module workers), as lightningcss counts. */
const oldest = { chrome: 91 << 16, firefox: 114 << 16, safari: (16 << 16) | (4 << 8) };

async function script(input, file, options = {}) {
  const bundle = await rolldown({ input: path(input), ...options });
  await bundle.write({ file: path(file, output), format: "es", minify: true });
  await bundle.close();
}

async function styles(files) {
  const source = Buffer.concat(await Promise.all(files.map((file) => readFile(new URL(file, web)))));
  return transform({ filename: "style.css", code: source, minify: true, targets: oldest }).code;
}

await mkdir(new URL("demo/", output), { recursive: true });
await script("demo/main.ts", "demo/demo.js", {
  plugins: [{
    name: "the bundle stays outside",
    resolveId: (id) => (id.endsWith("src/pywasm.ts") ? { id: "../pywasm.js", external: true } : null),
  }],
});
await script("src/sw.ts", "sw.js");
await writeFile(new URL("demo/style.css", output), await styles(["demo/style.css", "demo/answer.css", "demo/inspector.css"]));
await cp(new URL("demo/icon.svg", web), new URL("demo/icon.svg", output));
await cp(new URL("demo/index.html", web), new URL("index.html", output));
