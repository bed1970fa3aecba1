"""hnswlib, native, one thread: the speed to compare with (Malkov and Yashunin, 2016)."""

from __future__ import annotations

import time
from collections.abc import Sequence

import hnswlib  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from .data import Floats

M = 16
EF_CONSTRUCTION = 100


class Hnswlib:
    """An index over unit vectors by inner product, built by one thread."""

    def __init__(self, dim: int, rows: int) -> None:
        self._index = hnswlib.Index("ip", dim)
        self._index.init_index(rows, M=M, ef_construction=EF_CONSTRUCTION, random_seed=100)
        self._index.set_num_threads(1)

    def insert(self, vectors: Floats, batch: int = 1000) -> list[float]:
        """Add all rows; returns the rows per second of each batch."""
        rates = []
        for start in range(0, len(vectors), batch):
            part = vectors[start : start + batch]
            labels = np.arange(start, start + len(part))
            started = time.perf_counter()
            self._index.add_items(part, labels, num_threads=1)
            rates.append(len(part) / (time.perf_counter() - started))
        return rates

    def run(
        self, queries: Floats, ef: int, first: int, count: int, k: int = 10
    ) -> tuple[list[float], list[list[int]]]:
        """Search one query at a time; (milliseconds each, ids each). What the Python call costs
        (about 2 us) is part of it.
        """
        self._index.set_ef(max(ef, k))
        search = self._index.knn_query
        times: list[float] = []
        found: list[NDArray[np.uint64]] = []
        for number in range(first, first + count):
            query = queries[number % len(queries)]
            started = time.perf_counter_ns()
            labels, _ = search(query, k, num_threads=1)
            times.append((time.perf_counter_ns() - started) / 1e6)
            found.append(labels[0])
        return times, [labels.tolist() for labels in found]


EFS: Sequence[int] = (10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64, 80, 96, 128, 160, 200, 256, 400)
