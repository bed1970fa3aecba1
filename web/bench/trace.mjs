// Hit rates of every replacement policy on the trace of src/generation/trace.ts, which no bundle
// carries: node trace.mjs SEEDS. Prints { policy: [{ hitRate, tokenRate, computeMs }, ...] }.
import { fileURLToPath } from "node:url";
import { rolldown } from "../node_modules/rolldown/dist/index.mjs";

const source = (name) => fileURLToPath(new URL(`../src/generation/${name}.ts`, import.meta.url));

async function load(name) {
  const bundle = await rolldown({ input: source(name), logLevel: "silent" });
  const { output } = await bundle.generate({ format: "esm" });
  return import(`data:text/javascript,${encodeURIComponent(output[0].code)}`);
}

const { simulateTrace } = await load("trace");
const { POLICIES } = await load("policy");
const seeds = Number(process.argv[2]);
const found = {};
for (const policy of POLICIES) {
  found[policy] = [];
  for (let seed = 1; seed <= seeds; seed++) found[policy].push(await simulateTrace(policy, { seed }));
}
console.log(JSON.stringify(found));
