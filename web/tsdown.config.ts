import { defineConfig, type UserConfig } from "tsdown";

const shared = {
  outDir: "../pywasm/_web",
  format: "esm",
  platform: "browser",
  target: "es2022",
  minify: true,
  clean: false,
  fixedExtension: false,
  hash: false,
  deps: { alwaysBundle: ["comlink", "idb"], onlyBundle: false },
} satisfies UserConfig;

// Three files and no shared chunks: a page asks for pywasm.js, which starts worker.js. What both
// need is small and is in both.
export default defineConfig([
  {
    ...shared,
    entry: { pywasm: "src/pywasm.ts" },
    dts: true,
    plugins: [{
      // Only `thread: "inline"` loads the worker's code into the page.
      name: "worker-is-external",
      resolveId: (id: string) => (id === "./worker.ts" ? { id: "./worker.js", external: true } : null),
    }],
  },
  { ...shared, entry: { worker: "src/worker.ts" }, dts: false },
  {
    ...shared,
    entry: { langchain: "src/langchain.ts" },
    dts: true,
    deps: { neverBundle: [/^@langchain\/core/] },
    plugins: [{
      name: "library-is-external",
      resolveId: (id: string) => (id === "./pywasm.ts" ? { id: "./pywasm.js", external: true } : null),
    }],
  },
]);
