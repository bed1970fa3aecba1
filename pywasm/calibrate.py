"""How much effort a recall takes, measured against brute force on queries sampled from the rows.

The table goes into the index head; a search then looks up its effort by wished recall and by how
rare the rows are that pass its filter (messages.h, PwCalibration). Two curves are measured, recall
by clusters visited (or by the graph's beam) and recall by candidates re-ranked; the cheapest pair
on them is then confirmed by searching with it.
"""

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

TARGETS = (0.9, 0.95, 0.98, 0.99)
USUAL = 0.95  # what a search takes that says nothing
K = 10
_QUERIES = 200
_TRIES = 8  # pairs searched with for a target
_NOTHING = 0.0005  # of recall: the curve is flat
_MARGIN = 0.003  # a sample of 2,000 neighbours is not the whole
_RERANKS = (10, 15, 20, 30, 40, 50, 70, 100, 140, 200, 300, 400)
_BEAMS = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
_RANKS = (100, 1000, 10000)
_BATCH_ROWS = 8192

# Nanoseconds, one thread, of the browser's engine; only their proportions matter here. A candidate
# to re-rank may cost a page read, so it weighs more than its distance alone.
_NS_CODE = 4.0
_NS_ROW_CODE = 11.0
_NS_CENTROID = 30.0
_NS_HOP = 120.0
_NS_CANDIDATE = 500.0


@dataclass(frozen=True)
class Effort:
    nprobe: int = 0
    ef_search: int = 0
    rerank: int = 10


@dataclass(frozen=True)
class Measured:
    """Of one effort: recall@10, and what a search does on average (the engine's counters)."""

    effort: Effort
    recall: float
    counters: dict[str, float]

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
        self._plan = built.plan
        self._order = built.order
        self._engine = engine
        self._advance = advance
        random = np.random.default_rng(SEED + 1)
        count = min(_QUERIES, given.rows)
        self._queries = np.sort(random.choice(given.rows, count, replace=False))
        self._vectors = self._rows(self._queries)
        ranks = [
            rank for rank in _RANKS if rank * 4 <= given.rows and self._plan.kind == "clusters"
        ]
        self._ranks = ranks
        self._truth = exact_neighbours(
            self._vectors,
            (
                self._rows(np.arange(first, min(first + _BATCH_ROWS, given.rows)))
                for first in range(0, given.rows, _BATCH_ROWS)
            ),
            min(max([K, *ranks]), given.rows - 1),
            self._plan.metric,
            exclude=self._queries,
            on_rows=lambda _: advance(),
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
        everything = self._measure(self._effort(widths[-1], reranks[-1]))
        by_width = self._curve(
            [self._effort(width, reranks[-1]) for width in widths[:-1]], everything
        )
        by_rerank = self._curve(
            [self._effort(widths[-1], rerank) for rerank in reranks[:-1]], everything
        )
        result.most = everything.recall
        reached = [target for target in TARGETS if result.most >= target + _MARGIN]
        for target in reached:
            result.best[target] = self._cheapest(target, by_width, by_rerank)
        if len(reached) < len(TARGETS):  # the best there is, by what it really gives
            top = round(result.most - _MARGIN, 4)
            if not reached or top > reached[-1] + 0.001:
                result.best[top] = self._cheapest(top - _MARGIN, by_width, by_rerank)
        coverage = {rank: self._coverage(rank, widths) for rank in self._ranks}
        for target, measured in result.best.items():
            result.lines += self._lines(target, measured, coverage, widths)
        return result

    def _curve(self, efforts: list[Effort], everything: Measured) -> list[Measured]:
        """Of ascending efforts, up to where more of it gains nothing; `everything` is the last."""
        curve: list[Measured] = []
        for effort in efforts:
            curve.append(self._measure(effort))
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

    def _measure(self, effort: Effort) -> Measured:
        self._advance()
        found = []
        totals: dict[str, float] = {}
        for row, vector in zip(self._queries, self._vectors, strict=True):
            hits = self._engine.search_vector(
                vector,
                K,
                nprobe=effort.nprobe,
                ef_search=effort.ef_search,
                rerank=effort.rerank,
                exclude=int(row),
            )
            found.append(hits.rows)
            for name, value in hits.counters.items():
                totals[name] = totals.get(name, 0) + value
        means = {name: total / len(self._queries) for name, total in totals.items()}
        return Measured(effort, recall(found, self._truth[:, :K]), means)

    def _cheapest(
        self, target: float, by_width: list[Measured], by_rerank: list[Measured]
    ) -> Measured:
        """The first pair, cheapest first, that reaches the target when searched with."""
        most = by_width[-1].recall
        pairs = []
        for wide, deep in product(by_width, by_rerank):
            # The two losses are nearly independent.
            expected = wide.recall * deep.recall / most if most else 0.0
            if expected >= target + _MARGIN:
                effort = self._effort(
                    wide.effort.nprobe or wide.effort.ef_search, deep.effort.rerank
                )
                guess = Measured(effort, expected, wide.counters)
                pairs.append((guess.cost_ns(self._plan), effort))
        pairs.sort(key=lambda pair: (pair[0], pair[1].rerank))
        for _, effort in pairs[:_TRIES]:
            measured = self._measure(effort)
            if measured.recall >= target + _MARGIN:
                return measured
        return by_width[-1]

    def _coverage(self, rank: int, widths: list[int]) -> list[float]:
        """By width, the share of the `rank` nearest that lie in the clusters visited.

        A filter that is independent of the query picks its hits evenly among those.
        """
        truth = self._truth[:, :rank]
        shares: list[float] = []
        for width in widths:
            self._advance()
            if shares and shares[-1] > max(TARGETS) + _MARGIN:
                shares.append(1.0)
                continue
            found = [
                self._engine.search_vector(
                    vector, rank, nprobe=width, rerank=2 * rank, exclude=int(row)
                ).rows
                for row, vector in zip(self._queries[:50], self._vectors[:50], strict=True)
            ]
            shares.append(recall(found, truth[:50]))
        return shares

    def _lines(
        self, target: float, measured: Measured, coverage: dict[int, list[float]], widths: list[int]
    ) -> list[tuple[float, int, int, int, int]]:
        effort = measured.effort
        line = (target, K, effort.nprobe, effort.ef_search, effort.rerank)
        if self._plan.kind == "scan":  # as many codes and candidates whatever the filter
            return [line, (target, max(self._given.rows, K + 1), 1, 0, effort.rerank)]
        lines = [line]
        least = effort.nprobe
        for rank, shares in coverage.items():
            enough = [w for w, share in zip(widths, shares, strict=True) if share >= target]
            least = max(least, enough[0] if enough else widths[-1])
            lines.append((target, rank, least, 0, effort.rerank))
        return lines
