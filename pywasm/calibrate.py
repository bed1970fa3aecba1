"""How much effort a recall takes, measured against brute force on queries sampled from the rows.

The table goes into the index head; a search then looks up its effort by wished recall and by how
rare the rows are that pass its filter (messages.h, PwCalibration). Two curves are measured, recall
by clusters visited (or by the graph's beam) and recall by candidates re-ranked; the cheapest pair
on them is then confirmed by searching with it, and its candidates are brought down to as few as do.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import numpy.typing as npt

from pywasm._abi import PW_CALIBRATION
from pywasm.brute_force import exact_neighbours, recall
from pywasm.documents import F32
from pywasm.engine import Engine
from pywasm.index_build import BuiltIndex, IndexInput
from pywasm.plan import SEED, Plan
from pywasm.progress import Reporter

TARGETS = (0.9, 0.95, 0.96, 0.98, 0.99, 0.995)
USUAL = 0.95  # what a search takes that says nothing
K = 10
_QUERIES = (200, 400)  # at least, at most; one of so many rows between them:
_ROWS_A_QUERY = 250
_CURVE_QUERIES = 100  # of them, for the curves, which only say what is worth confirming
_DEEP_QUERIES = 50  # of them, for the ranks of rare filters
_TRIES = 8  # pairs searched with for a target
_NOTHING = 0.0005  # of recall: the curve is flat
_MARGIN = 0.003  # on the curves
_ERRORS = 1.28  # by so many standard errors the sample must be above a promise: nine in ten hold
_RERANKS = (10, 15, 20, 25, 30, 40, 50, 70, 100, 140, 200, 300, 400)
_BEAMS = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
_RANKS = (100, 1000, 10000)
_FINENESS = 10  # the number of candidates is found to one in so many
_BATCH_ROWS = 8192

# Nanoseconds, one thread, of the browser's engine; only their proportions matter here. The vector
# of a candidate is mostly on a page that is not in memory, and two or three candidates share one:
# reading a page takes 10 us from OPFS, 50 from IndexedDB, a distance 0.25.
_NS_CODE = 4.0
_NS_ROW_CODE = 11.0
_NS_CENTROID = 30.0
_NS_HOP = 120.0
_NS_CANDIDATE = 5000.0


@dataclass(frozen=True)
class Effort:
    nprobe: int = 0
    ef_search: int = 0
    rerank: int = 10


@dataclass(frozen=True)
class Measured:
    """Of one effort: recall@10 with the standard error of the sample's mean, and what a search
    does on average (the engine's counters)."""

    effort: Effort
    recall: float
    error: float
    counters: dict[str, float]

    def promises(self, target: float) -> bool:
        """A sample's recall is a guess of what other queries will get, so it must be above."""
        return self.recall >= target + _ERRORS * self.error

    def cost_ns(self, plan: Plan) -> float:
        """A deterministic stand-in for time, so that equal input makes an equal choice."""
        return self.candidates_ns(plan) + self.effort.rerank * _NS_CANDIDATE

    def candidates_ns(self, plan: Plan) -> float:
        """The part before re-ranking: what grows with the number of rows."""
        centroids = plan.clusters if plan.kind == "clusters" else 0
        code = _NS_ROW_CODE if plan.kind == "graph" else _NS_CODE
        return (
            centroids * _NS_CENTROID
            + self.counters["codes"] * code
            + self.counters["hops"] * _NS_HOP
        )


@dataclass
class Calibration:
    """`best[target]` is the cheapest effort found for it; targets out of reach are not there."""

    best: dict[float, Measured] = field(default_factory=dict)
    most: float = 1.0  # recall at the greatest effort
    lines: list[tuple[float, int, int, int, int]] = field(default_factory=list)

    def table(self) -> npt.NDArray[np.void]:
        return np.array(sorted(self.lines), PW_CALIBRATION)

    def usual(self) -> Measured | None:
        return self.best.get(USUAL)


def calibrate(
    given: IndexInput, built: BuiltIndex, engine: Engine, reporter: Reporter
) -> Calibration:
    """Measures an index that was just built. Kind flat needs none: it is exact."""
    if built.plan.kind == "flat" or given.rows <= K + 1:
        return Calibration()
    with reporter.stage("measuring recall", None) as stage:
        return _Calibrator(given, built, engine, stage.advance).run()


class _Calibrator:
    def __init__(
        self, given: IndexInput, built: BuiltIndex, engine: Engine, advance: Callable[[], None]
    ) -> None:
        self._given = given
        self._built = built
        self._plan = built.plan
        self._order = built.order
        self._engine = engine
        self._advance = advance
        random = np.random.default_rng(SEED + 1)
        least, most = _QUERIES
        count = min(max(least, given.rows // _ROWS_A_QUERY), most, given.rows)
        self._queries = random.choice(given.rows, count, replace=False)
        self._vectors = self._rows(self._queries)
        self._truth = self._nearest(count, K)

    def _nearest(self, queries: int, k: int) -> npt.NDArray[np.int64]:
        """The exact k nearest of the first queries, but for themselves."""
        rows = self._given.rows
        return exact_neighbours(
            self._vectors[:queries],
            (
                self._rows(np.arange(first, min(first + _BATCH_ROWS, rows)))
                for first in range(0, rows, _BATCH_ROWS)
            ),
            min(k, rows - 1),
            self._plan.metric,
            exclude=self._queries[:queries],
            on_rows=lambda _: self._advance(),
        )

    def _rows(self, rows: npt.NDArray[np.int64]) -> F32:
        """Vectors by the index's row numbers."""
        return np.asarray(
            self._given.vectors[self._given.corpus.keep[self._order[rows]]], np.float32
        )

    def run(self) -> Calibration:
        result = Calibration()
        widths = self._widths()
        reranks = [min(rerank, self._given.rows) for rerank in _RERANKS]
        greatest = self._effort(widths[-1], reranks[-1])
        everything = self._measure(greatest, _CURVE_QUERIES)
        by_width = self._curve(
            [self._effort(width, reranks[-1]) for width in widths[:-1]], everything
        )
        by_rerank = self._curve(
            [self._effort(widths[-1], rerank) for rerank in reranks[:-1]], everything
        )
        result.most = self._measure(greatest).recall
        reached = [target for target in TARGETS if result.most >= target + _MARGIN]
        dearer: list[Measured] = []
        for target in reversed(reached):  # what reaches more may also be what costs least
            dearer.append(self._cheapest(target, by_width, by_rerank))
            result.best[target] = min(dearer, key=lambda one: one.cost_ns(self._plan))
        result.best = dict(sorted(result.best.items()))
        if len(reached) < len(TARGETS):  # the best there is, by what it really gives
            top = round(result.most - _MARGIN, 4)
            if not reached or top > reached[-1] + 0.001:
                result.best[top] = self._cheapest(top - _MARGIN, by_width, by_rerank)
        coverage = self._coverage()
        for target, measured in result.best.items():
            result.lines += self._lines(target, measured, coverage)
        return result

    def _curve(self, efforts: list[Effort], everything: Measured) -> list[Measured]:
        """Of ascending efforts, up to where more of it gains nothing; `everything` is the last."""
        curve: list[Measured] = []
        for effort in efforts:
            curve.append(self._measure(effort, _CURVE_QUERIES))
            if curve[-1].recall >= everything.recall - _NOTHING:
                break
        return [*curve, everything]

    def _widths(self) -> list[int]:
        """Of the search: clusters visited, or beam; the last one is (nearly) everything."""
        if self._plan.kind == "graph":
            return list(_BEAMS)
        if self._plan.kind == "scan":
            return [1]
        widths = {1, self._plan.clusters}
        width = 2.0
        while width < self._plan.clusters:
            widths.add(round(width))
            width *= 1.5
        return sorted(widths)

    def _effort(self, width: int, rerank: int) -> Effort:
        if self._plan.kind == "graph":
            return Effort(ef_search=width, rerank=min(rerank, max(width, K)))
        return Effort(nprobe=width, rerank=rerank)

    def _measure(self, effort: Effort, queries: int | None = None) -> Measured:
        """By searching for the first `queries` of the sample."""
        self._advance()
        shares = []
        totals: dict[str, float] = {}
        for row, vector, truth in zip(
            self._queries[:queries], self._vectors, self._truth, strict=False
        ):
            hits = self._engine.search_vector(
                vector,
                K,
                nprobe=effort.nprobe,
                ef_search=effort.ef_search,
                rerank=effort.rerank,
                exclude=int(row),
            )
            shares.append(recall([hits.rows], truth[None, :K]))
            for name, value in hits.counters.items():
                totals[name] = totals.get(name, 0) + value
        means = {name: total / len(shares) for name, total in totals.items()}
        error = float(np.std(shares)) / len(shares) ** 0.5
        return Measured(effort, float(np.mean(shares)), error, means)

    def _cheapest(
        self, target: float, by_width: list[Measured], by_rerank: list[Measured]
    ) -> Measured:
        """The first pair, cheapest first, that promises the target when searched with."""
        most = by_width[-1].recall
        pairs = []
        for wide, deep in product(by_width, by_rerank):
            # The two losses are nearly independent.
            expected = wide.recall * deep.recall / most if most else 0.0
            if expected >= target:
                effort = self._effort(_width(wide.effort), deep.effort.rerank)
                guess = Measured(effort, expected, 0.0, wide.counters)
                pairs.append((guess.cost_ns(self._plan), effort))
        pairs.sort(key=lambda pair: (pair[0], pair[1].rerank))
        for _, effort in pairs[:_TRIES]:
            measured = self._measure(effort)
            if measured.promises(target):
                return self._shallower(measured, target)
        return by_width[-1]

    def _shallower(self, enough: Measured, target: float) -> Measured:
        """The same width with as few candidates as still promise the target, by bisection."""
        few = max((deep for deep in _RERANKS if deep < enough.effort.rerank), default=K)
        while enough.effort.rerank - few > 1 + few // _FINENESS:
            middle = (enough.effort.rerank + few) // 2
            measured = self._measure(self._effort(_width(enough.effort), middle))
            if measured.promises(target):
                enough = measured
            else:
                few = middle
        return enough

    def _coverage(self) -> dict[int, npt.NDArray[np.float64]]:
        """By rank r: [w - 1] is the share of the r nearest in the w clusters visited first.

        A filter that is independent of the query picks its hits evenly among those. Clusters are
        visited in the order in which the engine does, by their centroids.
        """
        ranks = [rank for rank in _RANKS if rank * 4 <= self._given.rows]
        if self._plan.kind != "clusters" or not ranks:
            return {}
        truth = self._nearest(_DEEP_QUERIES, ranks[-1])
        queries = self._vectors[: len(truth)]
        visited = exact_neighbours(
            _unit(queries) if self._plan.metric == "cosine" else queries,
            iter([self._centroids()]),
            self._plan.clusters,
            "l2" if self._plan.metric == "l2" else "ip",
        )
        place = np.argsort(visited, axis=1)  # of each cluster in the order of visits
        clusters = self._built.clusters
        shares: dict[int, npt.NDArray[np.float64]] = {}
        for rank in ranks:
            places = np.take_along_axis(place, clusters[truth[:, :rank]].astype(np.int64), axis=1)
            counts = np.bincount(places.ravel(), minlength=self._plan.clusters)
            shares[rank] = np.cumsum(counts) / counts.sum()
        return shares

    def _centroids(self) -> F32:
        """f32[clusters, dim]: the mean of each cluster's rows, which come one after another."""
        sums = np.zeros((self._plan.clusters, self._vectors.shape[1]))
        for first in range(0, self._given.rows, _BATCH_ROWS):
            rows = np.arange(first, min(first + _BATCH_ROWS, self._given.rows))
            vectors = self._rows(rows)
            if self._plan.metric == "cosine":
                vectors = _unit(vectors)
            present, starts = np.unique(self._built.clusters[rows], return_index=True)
            sums[present] += np.add.reduceat(vectors, starts, axis=0, dtype=np.float64)
        counts = np.bincount(self._built.clusters, minlength=self._plan.clusters)
        return np.asarray(sums / np.maximum(counts, 1)[:, None], np.float32)

    def _lines(
        self, target: float, measured: Measured, coverage: dict[int, npt.NDArray[np.float64]]
    ) -> list[tuple[float, int, int, int, int]]:
        effort = measured.effort
        lines = [(target, K, effort.nprobe, effort.ef_search, effort.rerank)]
        if self._plan.kind == "graph":
            return lines
        # The engine also counts candidates that share a page with better ones (rerank.h). Those
        # that pass a filter share few, so that all that counted must be found one by one.
        rerank = max(effort.rerank, math.ceil(measured.counters["distances"]))
        most = max(self._given.rows, 2 * K + 1)
        if self._plan.kind == "scan":  # as many codes whatever the filter
            return [*lines, (target, 2 * K, 1, 0, rerank), (target, most, 1, 0, rerank)]
        least = effort.nprobe
        for rank, shares in coverage.items():
            enough = int(np.searchsorted(shares, min(target + _MARGIN, 1.0))) + 1
            wider = max(least, min(enough, self._plan.clusters))
            if len(lines) == 1:
                part = K / (rank - K)
                lines.append((target, 2 * K, math.ceil(least + part * (wider - least)), 0, rerank))
            least = wider
            lines.append((target, rank, least, 0, rerank))
        return lines


def _width(effort: Effort) -> int:
    return effort.nprobe or effort.ef_search


def _unit(vectors: F32) -> F32:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-30), np.float32)
