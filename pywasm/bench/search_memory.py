"""Cases memory-50k-r95/-r99 and insert-50k: everything in memory, ours beside the peers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .context import Context
from .core import Subject, interleave
from .engines import Engine, InPage, Native, Setting, choose
from .statistics import recall

TARGETS = {"r95": 0.95, "r99": 0.99}
ENOUGH = 0.995  # a setting beyond this ends the search for settings

EFS: list[dict[str, Any]] = [
    {"ef": ef} for ef in (10, 14, 20, 28, 40, 56, 80, 112, 160, 224, 320, 448)
]
RECALLS = (0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.993, 0.996, 0.999)
OURS: list[dict[str, Any]] = [{"recall": target} for target in RECALLS]
EDGEVEC_EFS = (40, 96)  # an index each
PEERS: dict[str, list[dict[str, Any]]] = {
    "hnswlib-wasm": EFS,
    "mememo": EFS,
    "edgevec": [{"ef": ef} for ef in EDGEVEC_EFS],
    "voy": [{}],
    "brute-js": [{}],
}
PEER_OPTIONS = {"m": 16, "efConstruction": 100, "efSearch": list(EDGEVEC_EFS)}

# Clock steps of 5 us are a tenth of a fast search: the median then comes of means of BATCH.
BATCH = 8
COARSE = 0.2  # ms
CHUNK = 48  # searches of one engine before the next takes its turn


def memory(context: Context) -> None:
    """Open or build every engine, find its settings, then measure all in turns."""
    samples = context.samples
    inserting = f"insert-{context.size}"
    vectors = context.synthetic
    dim = vectors.base.shape[1]
    page = context.browser.new_page()
    page.goto(f"{context.server.url}/bench/")
    queries, base = context.url("synthetic/queries.f32"), context.url("synthetic/base.f32")

    site = context.synthetic_site
    ours = InPage(page, "pywasm", OURS)
    resident = context.open_options(site, thread="inline", storage="memory")
    ours.start("pywasm", resident, queries, dim)
    engines: list[Engine] = [ours]
    if context.peers:
        context.step("hnswlib: building, one thread")
        native = Native(vectors.base, vectors.queries)
        samples.add(inserting, "hnswlib", "inserts_per_s", "1/s", native.insert_rates)
        engines.append(native)
        for name, settings in PEERS.items():
            context.step(f"{name}: building in the browser")
            peer = InPage(page, name, settings)
            answer = peer.start(name, PEER_OPTIONS, queries, dim, base)
            if name == "hnswlib-wasm":
                samples.add(inserting, name, "inserts_per_s", "1/s", answer["rates"])
            engines.append(peer)

    surveys = {}
    for engine in engines:
        context.step(f"{engine.name}: finding settings")
        surveys[engine.name] = engine.survey(vectors.truth, ENOUGH)
    round_trip = InPage(page, "pywasm", OURS, host="page:round-trip")
    public = context.open_options(site, storage="memory")
    round_trip.start("pywasm", public, queries, dim)

    for name, target in TARGETS.items():
        case = f"memory-{context.size}-{name}"
        context.step(f"{case}: measuring {len(engines)} engines in turns")
        chosen = {engine.name: choose(surveys[engine.name], target) for engine in engines}
        _measure(context, case, engines, chosen)
        _measure_round_trip(context, case, round_trip, chosen["pywasm"])
        for engine in engines:
            setting = chosen[engine.name]
            _, found = engine.run(setting.parameter, 0, len(vectors.truth), ids=True)
            series = samples.add(case, engine.name, "recall@10", "", recall(found, vectors.truth))
            series.parameter = str(setting)
            series.mean = True
            if setting.recall < target:
                series.note = f"reaches no {target}"
    page.close()


def _measure(
    context: Context, case: str, engines: Sequence[Engine], chosen: dict[str, Setting]
) -> None:
    samples = context.samples
    total = len(context.synthetic.queries)
    slow = {name for name, setting in chosen.items() if setting.median_ms > 3}
    tails: dict[str, list[float]] = {engine.name: [] for engine in engines}

    def subject(engine: Engine) -> Subject:
        setting = chosen[engine.name]
        chunk = 8 if engine.name in slow else CHUNK
        coarse = setting.median_ms < COARSE

        def sample(number: int) -> list[float]:
            first = number * chunk % total
            times, _ = engine.run(setting.parameter, first, chunk)
            if number > 0:
                tails[engine.name] += times
            if coarse:
                times, _ = engine.run(setting.parameter, first, chunk, batch=BATCH)
            return times

        return Subject(engine.name, sample)

    def keep(name: str, values: Sequence[float]) -> None:
        series = samples.add(case, name, "latency_ms", "ms", values)
        series.parameter = str(chosen[name])
        series.tail = tails[name]

    rounds = 12 if context.quick else 60
    interleave([subject(engine) for engine in engines], rounds, keep)


def _measure_round_trip(context: Context, case: str, engine: InPage, setting: Setting) -> None:
    """The same searches as a page makes them: from its main thread, the engine in its worker."""
    engine.run(setting.parameter, 0, 200)
    times, _ = engine.run(setting.parameter, 0, 400 if context.quick else 1000)
    series = context.samples.add(case, "pywasm", "roundtrip_ms", "ms", times)
    series.parameter = str(setting)


def insert(context: Context) -> None:
    """Our inserts in the browser: an empty index, batches of 1,000 rows of the same vectors."""
    inserting, add = f"insert-{context.size}", context.samples.add
    context.step(f"{inserting}: ours")
    page = context.browser.new_page()
    page.goto(f"{context.server.url}/bench/")
    engine = InPage(page, "pywasm-insert", OURS)
    options = {"module": context.open_options(context.synthetic_site)["module"], "batch": 1000}
    answer = engine.start(
        "pywasm-insert",
        options,
        context.url("synthetic/queries.f32"),
        context.synthetic.base.shape[1],
        context.url("synthetic/base.f32"),
    )
    series = add(inserting, "pywasm", "inserts_per_s", "1/s", answer["rates"])
    series.note = "index kept in memory"
    truth = context.synthetic.truth
    tried = engine.survey(truth, 0.95)
    series = add(inserting, "pywasm", "recall@10", "", tried[-1].recall)
    series.parameter = str(tried[-1])
    times, _ = engine.run(tried[-1].parameter, 0, len(truth))
    add(inserting, "pywasm", "latency_ms", "ms", times)
    durable = engine.ask("durable", {"rows": 5000 if context.quick else 20_000})
    series = add(inserting, "pywasm", "durable_inserts_per_s", "1/s", durable)
    series.note = "logged to IndexedDB"
    page.close()


def bound_ms(bytes_touched: float) -> float:
    """The least time in ms to read so many bytes of memory once, at this machine's bandwidth."""
    return bytes_touched / bandwidth() * 1e3


def bandwidth() -> float:
    """Bytes per second that one thread reads from memory: the best of five sums over 256 MB."""
    import time

    values = np.ones(1 << 25, np.float64)
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        values.sum()
        best = min(best, time.perf_counter() - started)
    return values.nbytes / best
