"""Case wordnet-first-visit: a visitor who has never been here, on a 50 Mbit/s line."""

from __future__ import annotations

import base64
import contextlib

import numpy as np

from .context import Context
from .network import Line, Visit, literal
from .sites import served
from .statistics import recall

# As small as a page can be that searches at once, with the hints of the page that every site
# carries (web/demo/index.html); the vector is part of it, as the suggested
# questions' vectors are part of the demo page's manifest.
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>first visit</title>
<link rel="icon" href="data:,">
<link rel="preload" href="manifest.json" as="fetch" crossorigin>
<link rel="modulepreload" href="pywasm/pywasm.js">
<link rel="preload" href="pywasm/engine.wasm" as="fetch" type="application/wasm" crossorigin>
<script type="module">
import {{ open }} from "./pywasm/pywasm.js";
const bytes = Uint8Array.from(atob({vector}), (c) => c.charCodeAt(0));
const vector = new Float32Array(bytes.buffer);
const visit = (globalThis.visit = {{}});
const now = () => performance.timeOrigin + performance.now();
try {{
  const index = await open("./", {{ fill: false }});
  visit.opened = performance.now();
  const words = index.search({text}, {{ mode: "keyword", k: 10 }}).then(({{ hits }}) => {{
    visit.keyword = performance.now();
    visit.keywordHits = hits.length;
  }});
  const near = index.search(vector, {{ k: 10 }}).then(({{ hits }}) => {{
    visit.vector = performance.now();
    visit.vectorEpoch = now();
    visit.ids = hits.map(({{ id }}) => Number(id));
    visit.exact = hits.filter(({{ exact }}) => exact).length;
  }});
  await Promise.all([words, near]);
  visit.done = true;
}} catch (error) {{
  visit.error = String(error);
  visit.done = true;
}}
</script>
"""
QUESTIONS = ("musical instrument", "small dog", "fear of heights", "to cut with a knife", "planet")


def first_visit(context: Context) -> None:
    """Cold caches, cold storage, throttled by the DevTools protocol, workers included."""
    case = "wordnet-first-visit"
    vectors, _ = context.wordnet
    site = context.work / context.wordnet_text_site
    repeats = 3 if context.quick else 15
    line = Line()
    add = context.samples.add
    found = []
    with served(site) as address, contextlib.closing(context.browser.rpc()) as rpc:
        for number in range(repeats):
            context.step(f"{case}: visit {number + 1} of {repeats}")
            query = np.ascontiguousarray(vectors.queries[number], np.float32).tobytes()
            page = site / f"visit-{number}.html"
            page.write_text(
                PAGE.format(
                    vector=literal(base64.b64encode(query).decode()),
                    text=literal(QUESTIONS[number % len(QUESTIONS)]),
                )
            )
            with Visit(rpc, line) as visit:
                visit.goto(f"{address}/{page.name}")
                done = visit.outcome(page.name, 60)
                requests, received = visit.until(done["vectorEpoch"])
            page.unlink()
            add(case, "pywasm", "first_result_ms", "ms", done["vector"])
            add(case, "pywasm", "first_keyword_ms", "ms", done["keyword"])
            add(case, "pywasm", "open_ms", "ms", done["opened"])
            series = add(case, "pywasm", "downloaded_mb", "MB", received / 1e6)
            series.note = "until the first vector result, headers included"
            add(case, "pywasm", "requests", "", requests)
            add(case, "pywasm", "exact_hits", "of 10", done["exact"])
            found.append(done["ids"])
    floor = (
        line.latency_ms * 2
        + 8e3 * np.median(context.samples.series_of(case, "downloaded_mb").values) / line.mbit
    )
    context.samples.series_of(case, "first_result_ms").bound = float(floor)
    series = add(case, "pywasm", "recall@10", "", recall(found, vectors.truth[:repeats]))
    series.mean = True
