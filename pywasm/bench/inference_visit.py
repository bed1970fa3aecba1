"""Case first-visit-typed: a visitor who has never been here types a question, on a slow line."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import numpy as np

from .context import Bench
from .network import Line, Visit, literal
from .sites import build, served

CASE = "first-visit-typed"
QUESTIONS = (
    "How do I parse a date from a string?",
    "keep only the largest items of a list",
    "compress bytes with gzip",
    "make a temporary directory that is removed again",
    "run a function in another process",
)
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>first visit</title>
<link rel="icon" href="data:,">
{hints}
<script type="module">
import {{ open }} from "./pywasm/pywasm.js";
const visit = (globalThis.visit = {{}});
try {{
  const index = await open("./");
  visit.opened = performance.now();
  const onPartial = () => (visit.keyword ??= performance.now());
  const results = await index.search({question}, {{ k: 10, onPartial }});
  visit.semantic = performance.now();
  visit.epoch = performance.timeOrigin + visit.semantic;
  visit.keyword ??= visit.semantic;
  visit.mode = results.mode;
  visit.note = results.note;
  visit.hits = results.hits.length;
}} catch (error) {{
  visit.error = String(error);
}}
visit.done = true;
</script>
"""


def first_visit(context: Bench) -> None:
    """The documentation of Python's library as `pywasm build` makes it: int8 encoder, tuner, all
    options left alone. Cold caches, cold storage, throttled by the DevTools protocol.
    """
    context.step(f"{CASE}: building the site of Python's documentation")
    site = context.work / "python-docs"
    build(None, site, "--python-docs")
    line = Line()
    add = context.samples.add
    megabytes = []
    with served(site) as address, contextlib.closing(context.browser.rpc()) as rpc:
        repeats = 2 if context.quick else 10
        for number in range(repeats):
            context.step(f"{CASE}: visit {number + 1} of {repeats}")
            page = site / f"visit-{number}.html"
            question = literal(QUESTIONS[number % len(QUESTIONS)])
            page.write_text(_PAGE.format(hints=_hints(site), question=question))
            with Visit(rpc, line) as visit:
                visit.goto(f"{address}/{page.name}")
                found = _answered(visit, page)
                requests, received = visit.until(found["epoch"])
            page.unlink()
            add(CASE, "pywasm", "first_semantic_ms", "ms", found["semantic"])
            add(CASE, "pywasm", "first_keyword_ms", "ms", found["keyword"])
            add(CASE, "pywasm", "open_ms", "ms", found["opened"])
            series = add(CASE, "pywasm", "downloaded_mb", "MB", received / 1e6)
            series.note = "until the semantic result, headers included"
            add(CASE, "pywasm", "requests", "", requests)
            megabytes.append(received / 1e6)
    floor = 2 * line.latency_ms + 8e3 * float(np.median(megabytes)) / line.mbit
    context.samples.series_of(CASE, "first_semantic_ms").bound = floor


def _hints(site: Path) -> str:
    """What the page that every site carries tells the browser to fetch early."""
    page = (site / "index.html").read_text("utf-8")
    return "\n".join(re.findall(r'<link rel="(?:preload|modulepreload|prefetch)"[^>]*>', page))


def _answered(visit: Visit, page: Path) -> dict[str, Any]:
    found = visit.outcome(page.name, 120)
    if found["mode"] != "hybrid" or not found["hits"] or found.get("note"):
        raise RuntimeError(f"{page.name}: no semantic answer, but {found}")
    return found
