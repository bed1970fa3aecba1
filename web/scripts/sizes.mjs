// Prints what a visitor downloads, so that growth is seen by whoever causes it.
import { existsSync, readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const out = new URL("../../pywasm/_web/", import.meta.url);
const BUDGET_KB = 80;

let total = 0;
for (const name of ["pywasm.js", "worker.js", "engine.wasm"]) {
  const file = new URL(name, out);
  if (!existsSync(file)) {
    console.log(`${name.padEnd(12)} not built yet`);
    continue;
  }
  const bytes = readFileSync(file);
  const gzip = gzipSync(bytes, { level: 9 }).byteLength;
  total += gzip;
  console.log(`${name.padEnd(12)} ${(bytes.byteLength / 1000).toFixed(1).padStart(7)} KB ${(gzip / 1000).toFixed(1).padStart(7)} KB gzip`);
}
console.log(`${"search entry".padEnd(12)} ${"".padStart(10)} ${(total / 1000).toFixed(1).padStart(7)} KB gzip (${total > BUDGET_KB * 1000 ? "more than" : "at most"} ${BUDGET_KB})`);
