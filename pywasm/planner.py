"""Choosing a plan by measuring: kinds, code bits and vector types on a sample, then the whole."""

import math
from dataclasses import dataclass, replace

import numpy as np

from pywasm.calibrate import Calibration, calibrate
from pywasm.corpus import Corpus
from pywasm.engine import Engine
from pywasm.engine_build import calibrate_head
from pywasm.index_build import BuiltIndex, IndexInput, build_index
from pywasm.page_files import section_pages
from pywasm.plan import FLAT_ROWS, SEED, TRIAL_ROWS, Dtype, Kind, Metric, Plan, with_kind
from pywasm.progress import Reporter

_MOST_RERANK = 100  # candidates for the usual recall; more of them call for more bits
_LEAST_RECALL = 0.985  # at the greatest effort; less calls for finer vectors
_SCAN_ROWS = 8_192  # up to here the scan of all codes takes less than finding clusters saves
_ENGINE_BYTES = 2 << 30  # of memory while measuring
# What a visitor loads and holds counts as time: a megabyte as 10 microseconds of every search.
_NS_BYTE = 0.01


@dataclass(frozen=True)
class PlanRequest:
    """What the person fixed; 'auto' and None are to be chosen."""

    kind: Kind | str = "auto"
    metric: Metric = "cosine"
    dtype: Dtype | str = "auto"
    code_bits: int | None = None
    clusters: int | None = None
    m: int = 16
    ef_construction: int = 100


def plan_and_build(given: IndexInput, request: PlanRequest, reporter: Reporter) -> BuiltIndex:
    """The finished, calibrated index of the best plan. Equal input gives an equal choice."""
    return _Planner(given, request, reporter).run()


class _Planner:
    def __init__(self, given: IndexInput, request: PlanRequest, reporter: Reporter) -> None:
        self._given = given
        self._request = request
        self._reporter = reporter
        self._trials: list[dict[str, object]] = []
        self._built: dict[tuple[Plan, int], tuple[BuiltIndex, Calibration]] = {}
        self._sample = _sample(given)

    def run(self) -> BuiltIndex:
        plan = self._finer(self._kind(self._first_plan()))
        built, calibration = self._measure(self._given, self._sized(plan, self._given.rows))
        built.trials = self._trials
        usual = calibration.usual()
        if built.plan.kind == "flat":
            built.recall = None
        else:
            built.recall = usual.recall if usual else calibration.most
        return built

    def _first_plan(self) -> Plan:
        request = self._request
        kind: Kind = "scan"
        if request.kind == "auto":
            if self._given.rows <= FLAT_ROWS:
                kind = "flat"
            elif self._given.graph is not None:
                kind = "graph"
        else:
            kind = request.kind  # type: ignore[assignment]  # the command line's own list
        dtype: Dtype = "f16" if kind == "flat" else "i8"
        if request.dtype != "auto":
            dtype = request.dtype  # type: ignore[assignment]  # the command line's own list
        return Plan(
            kind=kind,
            metric=request.metric,
            dtype=dtype,
            code_bits=request.code_bits or 1,
            clusters=1,
            m=request.m,
            ef_construction=request.ef_construction,
        )

    def _kind(self, plan: Plan) -> Plan:
        """Scan, clusters or graph by what a search costs on the sample, scaled to all rows."""
        rows = self._given.rows
        fixed = self._request.kind != "auto" or self._given.graph is not None
        if fixed or rows <= _SCAN_ROWS:
            return plan
        growth = rows / self._sample.rows
        factors: dict[Kind, float] = {
            "scan": growth,
            "clusters": growth**0.5,
            "graph": 1 + math.log(growth) / math.log(self._sample.rows),
        }
        costs: dict[Kind, float] = {}
        for kind, factor in factors.items():
            trial = self._sized(replace(plan, kind=kind), self._sample.rows)
            if kind == "graph" and _least_graph_ns(given=self._given, plan=trial) > min(
                costs.values()
            ):
                continue
            built, calibration = self._measure(self._sample, trial)
            usual = calibration.usual()
            costs[kind] = math.inf
            if usual:
                search = usual.cost_ns(trial) + usual.candidates_ns(trial) * (factor - 1)
                held = built.memory()["resident_bytes"] * growth
                costs[kind] = search + held * _NS_BYTE
            self._tell(trial, calibration, costs[kind])
        return replace(plan, kind=min(costs, key=lambda kind: costs[kind]))

    def _finer(self, plan: Plan) -> Plan:
        """More bits, then finer vectors, as long as recall needs them and they are free."""
        if plan.kind == "flat":
            return plan
        while True:
            trial = self._sized(plan, self._sample.rows)
            _, calibration = self._measure(self._sample, trial)
            usual = calibration.usual()
            costly = usual is None or usual.effort.rerank > _MOST_RERANK
            if (
                self._request.dtype == "auto"
                and plan.dtype == "i8"
                and calibration.most < (_LEAST_RECALL)
            ):
                self._tell(trial, calibration, None)
                plan = replace(plan, dtype="f16")
            elif self._request.code_bits is None and costly and plan.code_bits < 4:
                self._tell(trial, calibration, None)
                plan = replace(plan, code_bits=plan.code_bits * 2)
            else:
                return plan

    def _sized(self, plan: Plan, rows: int) -> Plan:
        if plan.kind == "clusters" and self._request.clusters and rows == self._given.rows:
            return replace(plan, clusters=min(self._request.clusters, rows))
        return with_kind(plan, plan.kind, rows)

    def _measure(self, given: IndexInput, plan: Plan) -> tuple[BuiltIndex, Calibration]:
        key = (plan, given.rows)
        done = self._built.get(key)
        if done is None:
            folder = given.work / f"index-{len(self._built)}"
            built = build_index(given, plan, folder, self._reporter)
            engine = Engine.open(built.head, section_pages(built.sections), budget=_ENGINE_BYTES)
            calibration = calibrate(given, built, engine, self._reporter)
            if calibration.lines:
                built.head = calibrate_head(built.head, calibration.table())
            done = self._built[key] = (built, calibration)
        return done

    def _tell(self, plan: Plan, calibration: Calibration, cost: float | None) -> None:
        usual = calibration.usual()
        self._trials.append(
            {
                "kind": plan.kind,
                "dtype": plan.dtype,
                "code_bits": plan.code_bits,
                "rerank": usual.effort.rerank if usual else None,
                "most_recall": round(calibration.most, 4),
                "cost_us": None if cost is None or math.isinf(cost) else round(cost / 1000, 1),
            }
        )


def _sample(given: IndexInput) -> IndexInput:
    """At most TRIAL_ROWS rows, without what a trial does not need."""
    if given.rows <= TRIAL_ROWS:
        return given
    chosen = np.random.default_rng(SEED + 2).choice(given.rows, TRIAL_ROWS, replace=False)
    chosen.sort()
    corpus = Corpus(given.corpus.spool, given.corpus.keep[chosen], [], 0, given.corpus.vectors)
    return replace(given, corpus=corpus, keyword=False, graph=None)


def _least_graph_ns(given: IndexInput, plan: Plan) -> float:
    """What a graph of all rows costs by its size alone: codes, and 3 bytes a link."""
    codes = given.vectors.shape[1] * plan.code_bits // 8 + 4
    return float(given.rows * (codes + 2 * plan.m * 3) * _NS_BYTE)
