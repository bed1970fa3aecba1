"""Case cache-policy: which page-replacement policy fetches least, by the shipped engine on a trace.

No browser: the engine is the same module, and what is counted are pages, not times.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pywasm._abi import PAGE_BYTES
from pywasm.engine import Engine

from .context import Context

POLICIES = {"fifo": 0, "lru": 1, "sieve": 2}  # pw_set_policy, kernels_wasm/src/abi.h
CACHES = (0.5, 1.0, 2.0, 4.0, 8.0)  # MB of pages beside what is resident
# Questions repeat: their popularity falls as rank^-0.8, between what query logs of search engines
# show (0.6 to 1; Baeza-Yates et al., SIGIR 2007).
ZIPF = 0.8
RECALL = 0.95


def policies(context: Context) -> None:
    """Pages fetched a query, per policy and cache size, over one trace of repeating queries."""
    vectors, _ = context.wordnet
    head, source = open_site(context.work / context.wordnet_site)
    random = np.random.default_rng(11)
    weights = np.arange(1, len(vectors.queries) + 1) ** -ZIPF
    popular = random.permutation(len(vectors.queries))
    length = 1000 if context.quick else 4000
    trace = random.choice(popular, length, p=weights / weights.sum())
    for cache in CACHES[1:3] if context.quick else CACHES:
        for name, number in POLICIES.items():
            context.step(f"cache-policy: {name}, {cache:g} MB")
            engine = Engine.open(head, source)
            engine.set_budget(engine.info().resident_bytes + int(cache * 1e6))
            engine.set_policy(number)
            counts = []
            before = engine.info().pages_fetched
            for query in trace:
                engine.search_vector(vectors.queries[query], recall=RECALL)
                now = engine.info().pages_fetched
                counts.append(now - before)
                before = now
            # The first quarter fills the cache.
            series = context.samples.add(
                f"cache-policy-{cache:g}mb", name, "fetches", "pages/query", counts[length // 4 :]
            )
            series.mean = True


def open_site(site: Path) -> tuple[bytes, Callable[[Sequence[int]], list[bytes]]]:
    """The index head of a built site, and a source of its pages."""
    manifest = json.loads((site / "manifest.json").read_bytes())["manifest"]
    shards = [np.memmap(site / shard["file"], np.uint8, "r") for shard in manifest["shards"]]
    per_shard = manifest["pages_per_shard"]

    def pages(numbers: Sequence[int]) -> list[bytes]:
        found = []
        for number in numbers:
            at = number % per_shard * PAGE_BYTES
            found.append(shards[number // per_shard][at : at + PAGE_BYTES].tobytes())
        return found

    return base64.b64decode(manifest["head"]), pages
