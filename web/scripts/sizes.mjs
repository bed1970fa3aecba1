// Prints what a visitor downloads, so that growth is seen by whoever causes it.
import { existsSync, readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const out = new URL("../../pywasm/_web/", import.meta.url);
const parts = [
  { what: "search", budget: 80, files: ["pywasm.js", "worker.js", "engine.wasm"] },
  { what: "encoder", budget: 150, files: ["encoder.js", "encoder-worker.js", "tuning.js", "tuner-worker.js"] },
  { what: "generator", budget: 90, files: ["generator.js", "generator-worker.js"] },
];
const kilobytes = (bytes) => `${(bytes / 1024).toFixed(1).padStart(7)} KB`;

for (const { what, budget, files } of parts) {
  let total = 0;
  for (const name of files) {
    const file = new URL(name, out);
    if (!existsSync(file)) {
      console.log(`${name.padEnd(17)} not built yet`);
      continue;
    }
    const bytes = readFileSync(file);
    const gzip = gzipSync(bytes, { level: 9 }).byteLength;
    total += gzip;
    console.log(`${name.padEnd(17)} ${kilobytes(bytes.byteLength)} ${kilobytes(gzip)} gzip`);
  }
  console.log(`${what.padEnd(17)} ${" ".repeat(10)} ${kilobytes(total)} gzip (${total > budget * 1024 ? "more than" : "at most"} ${budget})`);
}
