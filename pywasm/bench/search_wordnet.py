"""Cases over 117 k WordNet vectors in local storage: a small budget, memory, reopening."""

from __future__ import annotations

import time
from typing import Any

from .browsers import PageError, launch
from .context import Context
from .engines import InPage, Setting, choose
from .search_memory import OURS
from .sites import served
from .statistics import recall

TARGET = 0.95
SHARE = 0.1  # of the vectors' bytes as f32
TIERS = {"opfs": "opfs", "idb": "indexeddb"}

# What the module holds beside what its budget bounds (code, stack, allocator), left free.
MODULE_BYTES = 2_000_000


def budget10(context: Context, tier: str) -> None:
    """Reopened from storage with a tenth of the vectors' bytes for everything the engine holds."""
    case = f"wordnet-budget10-{tier}"
    samples = context.samples
    vectors, _ = context.wordnet
    site = context.wordnet_site
    whole = int(vectors.base.nbytes * SHARE)
    storage = [TIERS[tier]]
    page = context.browser.new_page()
    page.goto(f"{context.server.url}/bench/")
    try:
        fill(context, page, site, storage)
        context.step(f"{case}: reopened")
        engine = InPage(page, case, OURS)
        options = context.open_options(
            site, thread="inline", storage=storage, memory=whole - MODULE_BYTES, fill=False
        )
        dim = vectors.base.shape[1]
        engine.start("pywasm", options, context.url("wordnet/queries.f32"), dim)
        chosen = choose(engine.survey(vectors.truth, TARGET), TARGET)
        # The survey asked the same queries: the cache is as a long use leaves it, and far too
        # small to hold what a thousand queries touch.
        before = engine.ask("status")["fetches"]
        count = len(vectors.truth)
        times, found = engine.run(chosen.parameter, 0, count, ids=True)
        status = engine.ask("status")
        fetched = sum(status["fetches"].values()) - sum(before.values())
        series = samples.add(case, "pywasm", "latency_ms", "ms", times)
        series.parameter = str(chosen)
        _recall(context, case, found, chosen)
        samples.add(case, "pywasm", "fetches", "pages/query", fetched / count)
        memory = samples.add(case, "pywasm", "memory_mb", "MB", status["memory"]["wasm"] / 1e6)
        memory.bound = whole / 1e6
        memory.note = f"of {whole / 1e6:.1f} MB; Wasm memory, all of it"
        if status["storage"]["tier"] != storage[0]:
            series.note = f"ran on {status['storage']['tier']}"
        engine.stop()
    finally:
        page.close()


def fill(context: Context, page: Any, site: str, storage: list[str]) -> None:
    """Download a whole site into the browser's storage and close it."""
    context.step(f"filling {storage[0]} with {site}")
    engine = InPage(page, f"fill-{site}-{storage[0]}", [])
    options = context.open_options(site, thread="inline", storage=storage)
    engine.start("pywasm", options, context.url("wordnet/queries.f32"), 384)
    end = time.monotonic() + 300
    while (state := engine.ask("status")["fill"])["state"] not in ("done", "off"):
        if time.monotonic() > end or state["state"] in ("quota", "failed"):
            raise PageError(f"{site} was not stored in {storage[0]}: {state}")
        time.sleep(0.2)
    engine.ask("close")
    engine.stop()


def _recall(context: Context, case: str, found: list[list[int]], chosen: Setting) -> None:
    truth = context.wordnet[0].truth
    series = context.samples.add(case, "pywasm", "recall@10", "", recall(found, truth))
    series.mean = True
    series.parameter = str(chosen)
    if chosen.recall < TARGET:
        series.note = f"reaches no {TARGET}"


HEAP = """async () => {
  const { bytes } = await performance.measureUserAgentSpecificMemory();
  return bytes;
}"""


def resident(context: Context) -> None:
    """Wasm memory and JavaScript heap (page and worker, above a page without the index) of an
    index open for use at recall 0.95, after all queries were asked, with the memory it finds
    for itself and with as little as it can work with.
    """
    vectors, _ = context.wordnet
    site = context.wordnet_site
    arguments = ("--enable-blink-features=ForceEagerMeasureMemory",)
    with launch("chromium", args=arguments) as browser:
        page = browser.new_page()
        page.goto(f"{context.server.url}/bench/")
        fill(context, page, site, ["opfs"])
        for case, memory in (("wordnet-resident", 0.0), ("wordnet-resident-auto", None)):
            context.step(case)
            page.goto(f"{context.server.url}/bench/")
            empty = page.evaluate(HEAP, timeout=60)
            engine = InPage(page, "page:resident", OURS)
            options: dict[str, object] = {"storage": ["opfs"], "fill": False}
            options["memory"] = "auto" if memory is None else least_memory(context)
            queries = context.url("wordnet/queries.f32")
            engine.start("pywasm", context.open_options(site, **options), queries, 384)
            chosen = choose(engine.survey(vectors.truth, TARGET), TARGET)
            times, found = engine.run(chosen.parameter, 0, len(vectors.truth), ids=True)
            # The queries themselves are the benchmark's.
            heap = page.evaluate(HEAP, timeout=60) - empty - vectors.queries.nbytes
            status = engine.ask("status")
            wasm = status["memory"]["wasm"]
            total = (wasm + max(0.0, heap)) / 1e6
            series = context.samples.add(case, "pywasm", "memory_mb", "MB", total)
            series.note = f"Wasm {wasm / 1e6:.2f} MB, JavaScript {heap / 1e6:.2f} MB"
            context.samples.add(case, "pywasm", "latency_ms", "ms", times)
            _recall(context, case, found, chosen)
            engine.ask("close")
            time.sleep(0.3)  # the lock on the files goes with the worker


def least_memory(context: Context) -> int:
    """A budget that holds what a search always scans and a page cache of 1.5 MB."""
    import json

    manifest = json.loads((context.work / context.wordnet_site / "manifest.json").read_bytes())
    resident_bytes = int(manifest["manifest"]["memory"]["resident_bytes"])
    return resident_bytes + 1_500_000


EMPTY_WORKER = "empty-0123456789abcdef.js"  # a name that is served as one that never changes
# What no page can be faster than here and now: a worker that does nothing but answer, its script
# in the browser's cache.
FLOOR = """async (script) => {
  const started = performance.now();
  const worker = new Worker(script, { type: "module" });
  await new Promise((resolve, reject) => {
    worker.onmessage = resolve;
    worker.onerror = () => reject(new Error("the empty worker did not start"));
  });
  const done = performance.now();
  worker.terminate();
  return done - started;
}"""


REOPEN = """async ({ module, site, open, query }) => {
  const library = await import(module);
  const vector = new Float32Array(query);
  const started = performance.now();
  const index = await library.open(site, open);
  const opened = performance.now();
  const { hits } = await index.search(vector, { k: 10 });
  const done = performance.now();
  await index.close();
  return { open: opened - started, first: done - started, ids: hits.map(({ id }) => Number(id)) };
}"""


FILL = """async ({ module, site }) => {
  const index = await (await import(module)).open(site);
  for (;;) {
    const { state } = (await index.status()).fill;
    if (state === "done") break;
    if (state === "quota" || state === "failed") throw new Error(`not filled: ${state}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await index.close();
}"""


def reopen(context: Context) -> None:
    """open() to the first vector result in a new page, everything in local storage (OPFS)."""
    case = "wordnet-reopen"
    vectors, _ = context.wordnet
    site = context.work / context.wordnet_site
    # Served as the product serves it, with its caching headers; a page with nothing else on it.
    (site / "blank.html").write_text("<!doctype html><link rel=icon href='data:,'>")
    empty = site / EMPTY_WORKER
    empty.write_text("postMessage(0)")
    repeats = 8 if context.quick else 40
    found = []
    with served(site) as address:
        module = f"{address}/pywasm/pywasm.js"
        page = context.browser.new_page()
        page.goto(f"{address}/blank.html")
        context.step(f"{case}: filling OPFS")
        page.evaluate(FILL, {"module": module, "site": f"{address}/"}, 300.0)
        page.close()
        context.step(case)
        for number in range(repeats + 1):
            page = context.browser.new_page()
            page.goto(f"{address}/blank.html")
            query = vectors.queries[number].tolist()
            argument = {"module": module, "site": f"{address}/", "open": {}, "query": query}
            answer = page.evaluate(REOPEN, argument)
            page.close()
            page = context.browser.new_page()
            page.goto(f"{address}/blank.html")
            floor = page.evaluate(FLOOR, f"{address}/{EMPTY_WORKER}")
            page.close()
            if number == 0:
                continue  # the first after a fill finds the browser still writing
            context.samples.add(case, "empty worker", "first_result_ms", "ms", floor)
            context.samples.add(case, "pywasm", "first_result_ms", "ms", answer["first"])
            context.samples.add(case, "pywasm", "open_ms", "ms", answer["open"])
            found.append(answer["ids"])
    (site / "blank.html").unlink()
    empty.unlink()
    truth = vectors.truth[1 : repeats + 1]
    series = context.samples.add(case, "pywasm", "recall@10", "", recall(found, truth))
    series.mean = True
