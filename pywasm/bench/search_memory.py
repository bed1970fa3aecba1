"""Cases memory-50k-r95/-r99 and insert-50k: everything in memory, ours beside the peers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .browsers import Page
from .context import Context
from .core import Subject, interleave
from .engines import Engine, InPage, Native, Setting, choose
from .statistics import recall

TARGETS = {"r95": 0.95, "r99": 0.99}
ALL_IN_MEMORY = 2_000_000_000  # bytes: a budget that bounds nothing here
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

    ours = _ours(context, page, context.synthetic_site, "pywasm", queries)
    fine = _ours(context, page, context.synthetic_fine_site, "pywasm-f16", queries)
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
    for engine in [*engines, fine]:
        context.step(f"{engine.name}: finding settings")
        surveys[engine.name] = engine.survey(vectors.truth, ENOUGH)

    for name, target in TARGETS.items():
        case = f"memory-{context.size}-{name}"
        context.step(f"{case}: measuring {len(engines)} engines in turns")
        chosen = {engine.name: choose(surveys[engine.name], target) for engine in engines}
        site, mine = context.synthetic_site, ours
        if chosen["pywasm"].recall < target:
            site, mine = context.synthetic_fine_site, fine
            chosen["pywasm"] = choose(surveys["pywasm-f16"], target)
        taking_part: list[Engine] = [mine, *engines[1:]]
        _measure(context, case, taking_part, chosen)
        _measure_round_trip(context, case, page, site, chosen["pywasm"])
        for engine in taking_part:
            setting = chosen[name_of(engine)]
            _, found = engine.run(setting.parameter, 0, len(vectors.truth), ids=True)
            series = samples.add(
                case, name_of(engine), "recall@10", "", recall(found, vectors.truth)
            )
            series.parameter = str(setting) + (", vectors f16" if engine is fine else "")
            series.mean = True
            if setting.recall < target:
                series.note = f"reaches no {target}"
    page.close()


def name_of(engine: Engine) -> str:
    """What results call it: ours is one engine, whichever of its indexes is asked."""
    return "pywasm" if engine.name.startswith("pywasm") else engine.name


def _ours(context: Context, page: Page, site: str, host: str, queries: str) -> InPage:
    """A site of ours in a worker, all of it in memory before anything is measured."""
    engine = InPage(page, host, OURS)
    options = context.open_options(
        site, thread="inline", storage="memory", memory=ALL_IN_MEMORY, fill=False
    )
    engine.start("pywasm", options, queries, context.synthetic.base.shape[1])
    for _ in range(3):  # what a first answer only estimates is fetched by the next
        engine.run({"recall": RECALLS[-1]}, 0, len(context.synthetic.queries))
    return engine


def _measure(
    context: Context, case: str, engines: Sequence[Engine], chosen: dict[str, Setting]
) -> None:
    samples = context.samples
    total = len(context.synthetic.queries)
    slow = {name for name, setting in chosen.items() if setting.median_ms > 3}
    tails: dict[str, list[float]] = {name_of(engine): [] for engine in engines}

    def subject(engine: Engine) -> Subject:
        setting = chosen[name_of(engine)]
        chunk = 8 if name_of(engine) in slow else CHUNK
        coarse = setting.median_ms < COARSE

        def sample(number: int) -> list[float]:
            first = number * chunk % total
            times, _ = engine.run(setting.parameter, first, chunk)
            if number > 0:
                tails[name_of(engine)] += times
            if coarse:
                times, _ = engine.run(setting.parameter, first, chunk, batch=BATCH)
            return times

        return Subject(name_of(engine), sample)

    def keep(name: str, values: Sequence[float]) -> None:
        series = samples.add(case, name, "latency_ms", "ms", values)
        series.parameter = str(chosen[name])
        series.tail = tails[name]

    rounds = 12 if context.quick else 60
    interleave([subject(engine) for engine in engines], rounds, keep)


def _measure_round_trip(
    context: Context, case: str, page: Page, site: str, setting: Setting
) -> None:
    """The same searches as a page makes them: from its main thread, the engine in its worker."""
    engine = InPage(page, "pywasm", OURS, host=f"page:{case}")
    options = context.open_options(site, storage="memory", memory=ALL_IN_MEMORY, fill=False)
    dim = context.synthetic.base.shape[1]
    engine.start("pywasm", options, context.url("synthetic/queries.f32"), dim)
    for _ in range(2):
        engine.run(setting.parameter, 0, len(context.synthetic.queries))
    times, _ = engine.run(setting.parameter, 0, len(context.synthetic.queries))
    series = context.samples.add(case, "pywasm", "roundtrip_ms", "ms", times)
    series.parameter = str(setting)
    engine.ask("close")


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
