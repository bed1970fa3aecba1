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
} satisfies UserConfig;

/**
 * The imports of writer.js and of Pyodide carry comments that keep a user's bundler from resolving
 * them; the minifier drops all comments.
 */
const keepIgnored = {
  name: "import-of-an-address",
  generateBundle(_options: unknown, bundle: Record<string, { code?: string }>): void {
    let kept = 0;
    for (const chunk of Object.values(bundle)) {
      chunk.code = chunk.code?.replace(/\bimport\((?=[\w$]+\))/g, () => (kept++, "import(/*@vite-ignore*//*webpackIgnore:true*//*turbopackIgnore:true*/"));
    }
    if (kept !== 1) throw new Error(`${Object.keys(bundle).join()} has ${kept} imports of an address, expected one`);
  },
};

// No shared chunks: a page asks for pywasm.js, which starts worker.js, which may ask for writer.js.
// What several need is small and is in each of them.
export default defineConfig([
  {
    ...shared,
    entry: { pywasm: "src/pywasm.ts" },
    dts: true,
    plugins: [{
      // Only `thread: "inline"` loads the worker's code into the page, only typed queries the encoder's, only questions the generator's.
      name: "worker-and-models-are-external",
      resolveId: (id: string) => (/^\.\/(worker|encoder|generator)\.ts$/.test(id) ? { id: id.replace(/ts$/, "js"), external: true } : null),
    }],
  },
  { ...shared, entry: { worker: "src/worker.ts" }, dts: false, plugins: [keepIgnored] },
  { ...shared, entry: { writer: "src/writer.ts" }, dts: false },
  {
    ...shared,
    entry: { encoder: "src/encoder.ts" },
    dts: true,
    plugins: [{
      name: "worker-and-tuning-are-external",
      resolveId: (id: string) => (id === "./worker.ts" ? { id: "./encoder-worker.js", external: true } : id === "./tuning/tuning.ts" ? { id: "./tuning.js", external: true } : null),
    }],
  },
  {
    ...shared,
    entry: { "encoder-worker": "src/inference/worker.ts" },
    dts: false,
    deps: { alwaysBundle: ["@huggingface/tokenizers"], onlyBundle: false },
  },
  {
    ...shared,
    entry: { generator: "src/generator.ts" },
    dts: true,
    plugins: [{
      name: "worker-is-external",
      resolveId: (id: string) => (id === "./worker.ts" ? { id: "./generator-worker.js", external: true } : null),
    }],
  },
  {
    ...shared,
    entry: { "generator-worker": "src/generation/worker.ts" },
    dts: false,
    deps: { alwaysBundle: ["@huggingface/tokenizers", "@huggingface/jinja"], onlyBundle: false },
  },
  { ...shared, entry: { tuning: "src/tuning/tuning.ts" }, dts: true },
  // Classic: a module worker that boots Pyodide hangs under a policy with only wasm-unsafe-eval.
  { ...shared, format: "iife", outputOptions: { entryFileNames: "[name].js" }, entry: { "tuner-worker": "src/tuning/worker.ts" }, dts: false, plugins: [keepIgnored] },
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
