// Builds the demo page (web/demo) and the service worker beside the library, when they are there.
import { cpSync, existsSync, mkdirSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "tsdown";

const web = new URL("../", import.meta.url);
const out = new URL("../pywasm/_web/", web);
const path = (url) => fileURLToPath(url);

const shared = {
  format: "esm", platform: "browser", target: "es2022", minify: true, clean: false, dts: false,
  fixedExtension: false, hash: false, config: false, logLevel: "warn", cwd: path(web), deps: { onlyBundle: false },
};

if (existsSync(new URL("demo/main.ts", web))) {
  await build({
    ...shared,
    entry: { demo: "demo/main.ts" },
    outDir: path(new URL("demo/", out)),
    // The page uses the library as anybody would: from its own file.
    plugins: [{
      name: "library-is-external",
      resolveId(id) {
        return id.endsWith("/src/pywasm.ts") ? { id: "../pywasm.js", external: true } : null;
      },
    }],
  });
  mkdirSync(new URL("demo/", out), { recursive: true });
  for (const name of readdirSync(new URL("demo/", web))) {
    if (name === "index.html") cpSync(new URL(`demo/${name}`, web), new URL(name, out));
    else if (!/\.(ts|md)$/.test(name)) cpSync(new URL(`demo/${name}`, web), new URL(`demo/${name}`, out));
  }
}
if (existsSync(new URL("src/sw.ts", web))) {
  await build({ ...shared, entry: { sw: "src/sw.ts" }, outDir: path(out) });
}
