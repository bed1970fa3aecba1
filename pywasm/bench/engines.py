"""Engines as the suites see them: set to a parameter, asked for samples."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .browsers import Page
from .data import Floats
from .statistics import recall

K = 10


@dataclasses.dataclass(frozen=True)
class Setting:
    """A choice of an engine's parameter, with what it gave on all queries."""

    parameter: dict[str, Any]
    recall: float
    median_ms: float

    def __str__(self) -> str:
        """For the table: "ef=40"."""
        parts = [
            f"{name}={value:g}" if isinstance(value, int | float) else f"{name}={value}"
            for name, value in self.parameter.items()
            if name != "filter"
        ]
        return " ".join(parts) or "none"


class Engine(abc.ABC):
    """One engine holding one index."""

    name: str
    settings: Sequence[dict[str, Any]]  # every parameter worth trying, coarse first

    @abc.abstractmethod
    def run(
        self, parameter: dict[str, Any], first: int, count: int, batch: int = 1, ids: bool = False
    ) -> tuple[list[float], list[list[int]]]:
        """Search queries [first, first + count), one at a time: (ms each, ids each if asked for).
        batch > 1: means of so many searches, for clocks too coarse for one.
        """

    def survey(self, truth: NDArray[np.int32], enough: float) -> list[Setting]:
        """Recall and speed at each setting over all queries; stops at the first that is beyond
        `enough`, as later ones only cost more.
        """
        tried = []
        for parameter in self.settings:
            self.run(parameter, 0, min(len(truth), 200))
            times, found = self.run(parameter, 0, len(truth), ids=True)
            reached = float(np.mean(recall(found, truth)))
            tried.append(Setting(parameter, reached, float(np.median(times))))
            if reached >= enough:
                break
        return tried


def choose(tried: Sequence[Setting], target: float) -> Setting:
    """The fastest setting that reaches the recall; the most exact one where none does."""
    enough = [setting for setting in tried if setting.recall >= target]
    if enough:
        return min(enough, key=lambda setting: setting.median_ms)
    return max(tried, key=lambda setting: setting.recall)


class InPage(Engine):
    """An engine of pages/engines/ in a worker of its own, or, named "page:...", on the page."""

    def __init__(
        self, page: Page, name: str, settings: Sequence[dict[str, Any]], host: str | None = None
    ) -> None:
        self.name = name
        self.settings = settings
        self.page = page
        self._host = host or name

    def call(self, method: str, argument: Any, timeout: float = 120.0) -> Any:
        """A method of pages/host.js."""
        message = {"host": self._host, "method": method, "argument": argument}
        return self.page.evaluate("(message) => bench.call(message)", message, timeout)

    def start(
        self,
        engine: str,
        options: dict[str, Any],
        queries: str,
        dim: int,
        vectors: str | None = None,
        timeout: float = 1800.0,
    ) -> dict[str, Any]:
        """Build or open the index; `queries` and `vectors` are addresses of raw f32."""
        start: dict[str, Any] = {"engine": engine, "options": options, "dim": dim}
        if vectors is not None:
            start["vectors"] = vectors
        answer: dict[str, Any] = self.call("start", start, timeout)
        self.call("queries", {"url": queries, "dim": dim, "k": K})
        return answer

    def run(
        self, parameter: dict[str, Any], first: int, count: int, batch: int = 1, ids: bool = False
    ) -> tuple[list[float], list[list[int]]]:
        argument = {"parameter": parameter, "from": first, "count": count, "batch": batch}
        answer = self.call("run", {**argument, "ids": ids}, 600.0)
        return answer["times"], answer.get("ids") or []

    def ask(self, method: str, argument: Any = None) -> Any:
        """A further method of the adapter."""
        return self.call("call", {"method": method, "argument": argument})

    def stop(self) -> None:
        """End its worker and with it all its memory."""
        self.page.evaluate("(host) => bench.stop(host)", self._host)


class Native(Engine):
    """hnswlib in this process."""

    name = "hnswlib"

    def __init__(self, vectors: Floats, queries: Floats) -> None:
        from .native import EFS, Hnswlib

        self.settings = [{"ef": ef} for ef in EFS]
        self._queries = queries
        self._index = Hnswlib(vectors.shape[1], len(vectors))
        self.insert_rates = self._index.insert(vectors)

    def run(
        self, parameter: dict[str, Any], first: int, count: int, batch: int = 1, ids: bool = False
    ) -> tuple[list[float], list[list[int]]]:
        times, found = self._index.run(self._queries, parameter["ef"], first, count, K)
        if batch > 1:
            times = np.asarray(times).reshape(-1, batch).mean(axis=1).tolist()
        return times, found if ids else []
