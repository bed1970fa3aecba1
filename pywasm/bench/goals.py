"""What the suites are held to: each figure's "must" and "aim", some of them against a peer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from .result import Row

Field = Literal["median", "p99"]


@dataclasses.dataclass(frozen=True)
class Goal:
    """A bound on a figure of ours, or on its ratio to a figure of `against` (a peer's, or of
    another case). Smaller is better unless `more`. An aim of None: there is none.
    """

    case: str
    metric: str
    must: float
    aim: float | None
    field: Field = "median"
    against: tuple[str, str] | None = None  # (case, engine); ("", engine): of the same case
    aim_against: tuple[str, str] | None = None  # the aim is that figure itself
    more: bool = False
    engine: str = "pywasm"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A goal with what was measured. `value` is the figure or the ratio."""

    goal: Goal
    value: float
    must: bool
    aim: bool | None


_MEMORY = [
    goal
    for name in ("r95", "r99")
    for goal in (
        Goal(f"memory-50k-{name}", "latency_ms", 1.5, 1.0, against=("", "hnswlib")),
        Goal(f"memory-50k-{name}", "latency_ms", 0.5, 0.3, against=("", "hnswlib-wasm")),
    )
]
_VISIT = "wordnet-first-visit"
_SEARCH: tuple[Goal, ...] = (
    *_MEMORY,
    Goal("wordnet-budget10-opfs", "latency_ms", 2.0, 1.0, "p99"),
    Goal("wordnet-budget10-idb", "latency_ms", 6.0, 3.5, "p99"),
    Goal("wordnet-resident", "memory_mb", 18.0, 9.0),
    Goal("wordnet-reopen", "first_result_ms", 50.0, 20.0),
    Goal(_VISIT, "first_result_ms", 2000.0, 1400.0),
    Goal(_VISIT, "downloaded_mb", 8.0, 7.0),
    Goal(_VISIT, "requests", 20.0, 12.0),
    Goal(_VISIT, "first_keyword_ms", 600.0, 300.0),
    Goal("insert-50k", "inserts_per_s", 2000.0, None, aim_against=("", "hnswlib"), more=True),
    *(
        Goal(f"filter-{share}", "latency_ms", 3.0, None, against=("filter-none", "pywasm"))
        for share in ("0.1", "1", "10", "50")
    ),
    Goal("bundle-search", "gzip_kb", 80.0, 60.0),
    Goal("build-117k", "build_s", 60.0, None, aim_against=("", "hnswlib")),
)
_WEIGHTS_MB = 90.0  # of MiniLM in f32
_OPEN, _TUNE, _TYPED = "minilm-open", "minilm-tune", "first-visit-typed"
_INFERENCE: tuple[Goal, ...] = (
    *(
        Goal(f"gemm-{shape}", "peak_share", 0.9, 0.97, more=True, engine=engine)
        for shape in ("128x384x384", "128x1536x384", "512x512x512")
        for engine in ("pywasm-relaxed", "pywasm-simd")
    ),
    *(
        Goal(f"minilm-{case}", "latency_ms", must, aim, against=("", peer))
        for case, peer, must, aim in (
            ("f32-1x128-t1", "onnxruntime-web", 0.6, 0.5),
            ("f32-1x128-t1", "litert", 0.95, 0.8),
            ("f32-8x128-t1", "onnxruntime-web", 0.55, 0.48),
            ("int8-1x128-t1", "onnxruntime-web", 0.75, 0.65),
            ("f32-1x128-t1", "onnxruntime", 2.0, 1.75),
        )
    ),
    # Two threads against one: 1.6 times as fast, as a ratio of times.
    *(
        Goal(
            f"minilm-{case}-t2",
            "latency_ms",
            1 / 1.6,
            1 / 1.85,
            against=(f"minilm-{case}-t1", "pywasm"),
        )
        for case in ("f32-1x128", "f32-8x128", "int8-1x128", "int8-8x128")
    ),
    Goal(_OPEN, "first_embedding_ms", 250.0, 120.0),
    Goal(_OPEN, "peak_mb", 2 * _WEIGHTS_MB, 1.3 * _WEIGHTS_MB),
    Goal(_TUNE, "tune_s", 10.0, 3.0),
    Goal(_TUNE, "tuned_vs_best", 1.03, None),
    # No kernel slower than the default's beyond noise.
    Goal(_TUNE, "tuned_vs_default", 1.02, None),
    Goal("bundle-runtime", "gzip_kb", 150.0, 100.0),
    Goal(_TYPED, "first_semantic_ms", 7000.0, 5000.0),
    Goal(_TYPED, "first_keyword_ms", 600.0, None),
)
_PREFILL, _DECODE = "smollm2-prefill500", "smollm2-decode"
_WEB_INT8 = "onnxruntime-web-int8"
_ANSWERS: tuple[Goal, ...] = (
    Goal(f"{_PREFILL}-t1", "tokens_per_s", 220.0, 300.0, more=True),
    Goal(f"{_PREFILL}-t1", "tokens_per_s", 220.0, None, aim_against=("", _WEB_INT8), more=True),
    Goal(f"{_PREFILL}-t1", "tokens_per_s", 10.0, None, against=("", "wllama"), more=True),
    Goal(f"{_DECODE}-t1", "tokens_per_s", 60.0, 100.0, more=True),
    *(
        Goal(f"{_DECODE}-t1", "tokens_per_s", 1.0, None, against=("", peer), more=True)
        for peer in ("wllama", "wllama-q8", _WEB_INT8, "onnxruntime-web-q4")
    ),
    Goal(f"{_DECODE}-t1", "bound_share", 0.45, 0.75, more=True),
    *(
        Goal(f"{case}-t2", "tokens_per_s", must, None, against=(f"{case}-t1", "pywasm"), more=True)
        for case, must in ((_PREFILL, 1.6), (_DECODE, 1.3))
    ),
    Goal("rag-exact", "ttft_ms", 1.25, 1.1, against=("rag-last32", "pywasm")),
    Goal("rag-reload", "ttft_ms", 1.6, 1.25, against=("rag-last32", "pywasm")),
    Goal("rag1-shipped", "ttft_ms", 1 / 4, 1 / 5, against=("", "pywasm-none")),
    Goal("rag1-shipped-network", "ttft_ms", 1.0, None, against=("", "pywasm-none")),
    Goal("chat-resume-2000", "resume_ms", 150.0, 50.0),
    # Of the weights once, the KV budget and 40 MB.
    Goal("answer-memory", "peak_share", 1.0, None),
    Goal("trace-500", "hit_rate", 1.06, 1.3, against=("", "lru"), more=True, engine="pgdsf"),
    Goal("answer-page", "longest_task_ms", 50.0, 16.0),
)
GOALS: tuple[Goal, ...] = (*_SEARCH, *_INFERENCE, *_ANSWERS)
RECALL = 0.95
RECALLS = {"memory-50k-r99": 0.99}
# Cases that promise no recall, by the beginnings of their names.
_NO_RECALL = (
    *("build", "bundle", "insert", _VISIT, "gemm", "minilm", _TYPED),
    *("smollm2", "rag", "chat", "answer", "trace"),
)


def judge(rows: Sequence[Row], goals: Sequence[Goal] = GOALS) -> list[Verdict]:
    """A verdict on every goal whose figures were measured. A fast answer that misses the recall
    the case asks for fails.
    """
    figures = {(row.case, row.engine, row.metric): row for row in rows}

    def figure(case: str, engine: str, goal: Goal) -> float | None:
        row = figures.get((case or goal.case, engine, goal.metric))
        return None if row is None else float(getattr(row, goal.field))

    verdicts = []
    for goal in goals:
        value = figure("", goal.engine, goal)
        if value is None:
            continue
        if goal.against is not None:
            other = figure(*goal.against, goal)
            if other is None:
                continue
            value /= other
        aim = goal.aim if goal.aim_against is None else figure(*goal.aim_against, goal)
        exact = _recall_reached(figures, goal.case)
        verdicts.append(
            Verdict(
                goal,
                value,
                exact and _holds(value, goal.must, goal.more),
                None if aim is None else exact and _holds(value, aim, goal.more),
            )
        )
    return verdicts


def _holds(value: float, bound: float, more: bool) -> bool:
    return value >= bound if more else value <= bound


def _recall_reached(figures: dict[tuple[str, str, str], Row], case: str) -> bool:
    if case.startswith(_NO_RECALL):
        return True
    row = figures.get((case, "pywasm", "recall@10"))
    # Means of a thousand queries in tenths: a thousandth is less than their noise.
    return row is not None and row.median >= RECALLS.get(case, RECALL) - 0.001
