"""Cases filter-0.1 to filter-50: a share of the rows passes; beside the same without a filter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import data
from .context import Context
from .core import Subject, interleave
from .engines import InPage, Setting, choose
from .search_memory import ALL_IN_MEMORY, OURS, RECALLS
from .statistics import recall

SHARES = {"0.1": 1, "1": 10, "10": 100, "50": 500}  # per cent: buckets of 1,000
TARGET = 0.95
CHUNK = 40


def filters(context: Context) -> None:
    """All shares and the unfiltered search in turns, each at its own fastest setting."""
    vectors = context.synthetic
    site = context.filter_site
    page = context.browser.new_page()
    page.goto(f"{context.server.url}/bench/")
    options = context.open_options(
        site, thread="inline", storage="memory", memory=ALL_IN_MEMORY, fill=False
    )
    engine = InPage(page, "filter", OURS)
    engine.start("pywasm", options, context.url("synthetic/queries.f32"), vectors.base.shape[1])
    for _ in range(3):
        engine.run({"recall": RECALLS[-1]}, 0, len(vectors.queries))

    chosen: dict[str, Setting] = {}
    for name, passing in {"none": 1000, **SHARES}.items():
        case = f"filter-{name}"
        context.step(f"{case}: finding settings")
        condition: dict[str, Any] = (
            {} if name == "none" else {"filter": {"bucket": {"lt": passing}}}
        )
        passes = context.buckets < passing
        wanted = min(10, int(passes.sum()))
        truth = data.nearest(vectors.base, vectors.queries, wanted, passes)
        engine.settings = [{**setting, **condition} for setting in OURS]
        chosen[case] = choose(engine.survey(truth, TARGET), TARGET)
        _, found = engine.run(chosen[case].parameter, 0, len(truth), ids=True)
        series = context.samples.add(case, "pywasm", "recall@10", "", recall(found, truth))
        series.mean = True
        series.parameter = str(chosen[case])

    def subject(case: str) -> Subject:
        def sample(number: int) -> list[float]:
            first = number * CHUNK % len(vectors.queries)
            return engine.run(chosen[case].parameter, first, CHUNK)[0]

        return Subject(case, sample)

    def keep(case: str, values: Sequence[float]) -> None:
        series = context.samples.add(case, "pywasm", "latency_ms", "ms", values)
        series.parameter = str(chosen[case])

    context.step("filters: measuring in turns")
    interleave([subject(case) for case in chosen], 10 if context.quick else 30, keep)
    page.close()
