// The import rule of web/src: layers go one way, nothing reaches outside but a few npm packages.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../src/", import.meta.url));
const packages = {
  "@langchain/core": ["langchain.ts"],
  "@huggingface/tokenizers": ["inference/tokenizer.ts", "generation/tokenizer.ts"],
  "@huggingface/jinja": ["generation/template.ts"],
};

// Lower layers first; a file may import from its own layer and from those before it.
const layers = [
  ["generated/*", "types.ts", "error.ts", "locks.ts", "compile.ts", "spawn.ts"],
  ["pages/*"],
  ["messages.ts", "head.ts", "manifest.ts", "filter.ts", "fuse.ts", "highlight.ts", "recorder.ts", "columns.ts", "records.ts", "pack.ts", "empty.ts", "stored.ts", "protocol.ts", "rpc.ts", "network.ts"],
  ["inference/expr.ts", "inference/features.ts", "tuning/messages.ts", "tuning/tasks.ts"],
  ["inference/*"],
  ["generation/*"],
  ["tuning/*"],
  ["engine.ts", "builder.ts", "operation.ts", "base.ts", "database.ts", "budget.ts"],
  ["resident.ts", "fill.ts", "rows.ts", "searcher.ts", "changes.ts", "compact.ts", "export.ts"],
  ["writer.ts"],
  ["early.ts", "session.ts", "status.ts", "core.ts", "host.ts", "worker.ts"],
  ["within.ts", "ask_types.ts", "ask_prompt.ts", "citations.ts", "site_generator.ts", "ask.ts", "generator.ts"],
  ["offline.ts", "connection.ts", "site_encoder.ts", "encoder.ts", "client.ts", "pywasm.ts"],
  ["langchain.ts"],
  ["sw.ts"],
];
// The page's side must not pull in the worker's: it talks to it through protocol.ts. The
// exceptions are the dynamic imports of `thread: "inline"`.
const pageSide = ["within.ts", "ask_types.ts", "ask_prompt.ts", "citations.ts", "site_generator.ts", "ask.ts", "generator.ts", "generation/arguments.ts", "generation/conversation.ts", "generation/generation.ts", "generation/generator.ts", "inference/encoder.ts", "inference/find.ts", "inference/lasting.ts", "inference/remote.ts", "offline.ts", "connection.ts", "site_encoder.ts", "encoder.ts", "client.ts", "pywasm.ts", "langchain.ts"];
const workerSide = [...layers.slice(7, 11).flat(), "generation/cache.ts", "generation/conversations.ts", "generation/host.ts", "generation/kv_store.ts", "generation/lease.ts", "generation/model.ts", "generation/saved_conversations.ts", "generation/storage_tier.ts", "generation/template.ts", "generation/tokenizer.ts", "generation/worker.ts", "inference/host.ts", "inference/model.ts", "inference/opening.ts", "inference/service.ts", "inference/worker.ts"];
// What is loaded when an index is changed or exported stays out of worker.js: it knows the types only.
const writerSide = ["writer.ts", "builder.ts", "empty.ts", "changes.ts", "compact.ts", "export.ts"];
const exceptions = ["connection.ts -> worker.ts", "generation/generator.ts -> generation/worker.ts", "inference/encoder.ts -> inference/worker.ts"];

const layerOf = (file) => layers.findIndex((names) => names.some((name) => name === file || (name.endsWith("/*") && file.startsWith(name.slice(0, -1)))));
const problems = [];
for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile() || !entry.name.endsWith(".ts")) continue;
  const file = relative(root, join(entry.parentPath ?? entry.path, entry.name));
  if (layerOf(file) < 0) problems.push(`${file}: in no layer of scripts/check-imports.mjs`);
  const text = readFileSync(join(root, file), "utf8");
  for (const [line, target] of text.matchAll(/^(?!\s*(?:\/\*|\*|\/\/)).*\b(?:from|import)\s*\(?\s*"([^"]+)"/gm)) {
    if (!target.startsWith(".")) {
      const owner = Object.keys(packages).find((name) => target === name || target.startsWith(`${name}/`));
      if (!packages[owner]?.includes(file)) problems.push(`${file}: may not import ${target}`);
      continue;
    }
    const imported = normalize(join(dirname(file), target));
    if (imported.startsWith("..")) problems.push(`${file}: ${target} is outside web/src`);
    else if (exceptions.includes(`${file} -> ${imported}`)) continue;
    else if (layerOf(imported) > layerOf(file)) problems.push(`${file}: ${imported} is of a later layer`);
    else if (pageSide.includes(file) && workerSide.includes(imported)) problems.push(`${file}: ${imported} belongs to the worker`);
    else if (writerSide.includes(imported) && !writerSide.includes(file) && !line.startsWith("import type ")) problems.push(`${file}: ${imported} belongs to writer.js`);
  }
}
for (const problem of problems) console.error(problem);
process.exitCode = problems.length > 0 ? 1 : 0;
