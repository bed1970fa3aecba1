// Latency and recall of the engine alone, in memory, one thread: no worker, no storage.
//
//   python kernels_wasm/bench/make_case.py /tmp/case
//   node kernels_wasm/bench/search_bench.mjs /tmp/case [engine.wasm]
//
// Prints p50 and p99 over effort (clusters visited, rows re-ranked), nanoseconds a code in a scan of
// all of them, and the memory bandwidth that this is, beside what a plain read of the memory reaches.
import { readFileSync } from "node:fs";
import { join } from "node:path";

const folder = process.argv[2];
const wasm = process.argv[3] ?? new URL("../../pywasm/_web/engine.wasm", import.meta.url);
const { instance } = await WebAssembly.instantiate(readFileSync(wasm), {});
const e = instance.exports;
e._initialize();
const u8 = () => new Uint8Array(e.memory.buffer);
const u32 = () => new Uint32Array(e.memory.buffer);
const fail = () => {
  const at = e.pw_error() >>> 0;
  throw new Error(new TextDecoder().decode(u8().slice(at, u8().indexOf(0, at))));
};
const check = (status) => (status < 0 ? fail() : status);

const PAGE = 16384;
const head = readFileSync(join(folder, "head.bin"));
const pages = readFileSync(join(folder, "pages.bin"));
const queryBytes = readFileSync(join(folder, "queries.f32"));
const truthBytes = readFileSync(join(folder, "truth.i32"));
const headAt = e.pw_alloc(head.length);
u8().set(head, headAt);
check(e.pw_open(headAt, head.length, 0));
e.pw_free(headAt);
const info = u32().subarray(e.pw_info() >> 2);
const [rows, , , dim, codeDim] = info;
const [bits, clusters] = [info[8], info[9]];
for (let section = 2; section <= 8; section++) check(e.pw_make_resident(section));
for (let page = 0; page * PAGE < pages.length; page++) {
  const at = e.pw_page_buffer(page);
  u8().set(pages.subarray(page * PAGE, (page + 1) * PAGE), at);
  check(e.pw_page_commit(page));
}
const queries = queryBytes.length / 4 / dim;
const truth = new Int32Array(truthBytes.buffer, truthBytes.byteOffset, truthBytes.length / 4);
const message = e.pw_alloc(32 + dim * 4);
const size = e.pw_alloc(16);

function search(query, { recall = 0, nprobe = 0, ef = 0, rerank = 0 }) {
  const words = u32().subarray(message >> 2);
  words.set([10, 0, nprobe, ef, rerank, 0, 0xffffffff, 0]);
  new Float32Array(e.memory.buffer)[(message >> 2) + 1] = recall;
  u8().set(queryBytes.subarray(query * dim * 4, (query + 1) * dim * 4), message + 32);
  const started = performance.now();
  const handle = check(e.pw_begin(1, message, 32 + dim * 4));
  if (check(e.pw_step(handle)) !== 0) throw new Error("a page is missing");
  const result = e.pw_result(handle, size) >> 2;
  const time = performance.now() - started;
  const found = u32();
  const hits = [];
  for (let i = 0; i < found[result]; i++) hits.push(found[result + 8 + 4 * i]);
  const codes = found[result + 3];
  e.pw_end(handle);
  return { time, hits, codes };
}

function measure(effort) {
  const count = Math.min(queries, 500);
  let right = 0;
  let codes = 0;
  for (let i = 0; i < 200; i++) search(i % count, effort);
  const times = [];
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < count; i++) {
      const { time, hits, codes: n } = search(i, effort);
      times.push(time);
      if (round) continue;
      codes += n;
      for (let j = 0; j < 10; j++) right += hits.includes(truth[i * 10 + j]) ? 1 : 0;
    }
  }
  times.sort((a, b) => a - b);
  const at = (q) => times[Math.floor(q * times.length)] * 1000;
  return { recall: right / count / 10, p50: at(0.5), p99: at(0.99), codes: codes / count };
}

const show = (effort) => {
  const { recall, p50, p99, codes } = measure(effort);
  const name = Object.entries(effort).map(([key, value]) => `${key} ${value}`).join(", ") || "default";
  console.log(`${name.padEnd(26)} recall ${recall.toFixed(4)}  p50 ${p50.toFixed(1)} us  p99 ${p99.toFixed(1)} us  ${codes.toFixed(0)} codes`);
  return p50;
};
console.log(`${rows} x ${dim}, ${bits} bits, ${clusters} clusters, memory ${(e.memory.buffer.byteLength / 1e6).toFixed(1)} MB`);
show({});
if (info[7] === 3) {
  for (const ef of [16, 32, 64, 128, 256]) for (const rerank of [20, 50]) show({ ef, rerank });
} else {
  for (const nprobe of [4, 8, 16, 24, 32, 48, 64, 96]) {
    if (nprobe < clusters) for (const rerank of [25, 50, 100]) show({ nprobe, rerank });
  }
  const few = show({ nprobe: 1, rerank: 10 });
  const all = show({ nprobe: clusters, rerank: 10 });
  const bytes = ((codeDim / 4) * 16 * bits + 128) / 32;
  const perCode = ((all - few) * 1000) / (rows * (1 - 1 / clusters));
  if (clusters > 1) console.log(`scan: ${perCode.toFixed(2)} ns a code, ${(bytes / perCode).toFixed(1)} GB/s`);
}
