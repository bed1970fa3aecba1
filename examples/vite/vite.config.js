import { defineConfig } from "vite";

export default defineConfig({
  build: { target: "es2022" },
  worker: { format: "es" },  // the search worker is a module
  // Pre-bundling would move pywasm.js away from its worker.js and engine.wasm.
  optimizeDeps: { exclude: ["pywasm"] },
});
