import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    setupFiles: ["test/browser_globals.ts"],
    testTimeout: 20_000,
  },
});
