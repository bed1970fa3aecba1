"""Cases build-117k and bundle-search: what making and shipping an index costs."""

from __future__ import annotations

import gzip
import shutil
import time

from . import sites
from .context import Context
from .engines import Native

# A page that searches loads these; the service worker and the demo page are not part of it.
ENTRY = ("pywasm.js", "worker.js", "engine.wasm")


def build(context: Context) -> None:
    """`pywasm build` of the vectors alone, wall clock from start to written site, and hnswlib with
    one thread on the same vectors (its index in memory, not written).
    """
    case = "build-117k"
    vectors, _ = context.wordnet
    if context.quick:
        seconds = context.build_seconds[context.wordnet_site]
        series = context.samples.add(case, "pywasm", "build_s", "s", seconds)
        series.note = "--index clusters: no plans compared"
    else:
        source = sites.save(context.work / "sources" / "build", vectors.base, None)
        for number in range(2):
            context.step(f"{case}: pywasm build")
            site = context.work / f"build-{number}"
            seconds = sites.build(source, site)
            shutil.rmtree(site)
            series = context.samples.add(case, "pywasm", "build_s", "s", seconds)
            series.note = "the whole command: reading, comparing plans, calibrating, writing"
    if context.peers:
        context.step(f"{case}: hnswlib, one thread")
        started = time.perf_counter()
        Native(vectors.base, vectors.queries)
        context.samples.add(case, "hnswlib", "build_s", "s", time.perf_counter() - started)


def bundle(context: Context) -> None:
    """The search entry's JavaScript and Wasm, each compressed as a server would (gzip -9)."""
    folder = context.work / context.synthetic_site / "pywasm"
    total = 0
    parts = []
    for name in ENTRY:
        size = len(gzip.compress((folder / name).read_bytes(), 9))
        total += size
        parts.append(f"{name} {size / 1024:.1f}")
    series = context.samples.add("bundle-search", "pywasm", "gzip_kb", "KB", total / 1024)
    series.note = ", ".join(parts)
