"""Build an index with the engine: train on a sample, assign rows to clusters, stream rows in.

    builder = IndexBuilder(IndexConfig(dim=384, clusters=512), store)
    builder.train(sample)
    clusters = np.concatenate([builder.assign(part) for part in parts])
    for rows in order_of(clusters): builder.rows(RowBatch(...))
    head = builder.finish()

Same input, same bytes: nothing depends on time, threads or how rows are cut into batches.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from pywasm import _abi
from pywasm._abi import PwKind, PwStatus, Section
from pywasm.engine_instance import EngineError, Instance
from pywasm.engine_messages import IndexConfig, RowBatch

__all__ = ["IndexBuilder", "calibrate_head", "default_clusters", "training_sample"]

# Takes a finished page: its section, its number within the section, its bytes.
PageSink = Callable[[Section, int, bytes], None]

_TRAIN_ROWS = 4096  # handed over at a time
_ASSIGN_ROWS = 8192
_FEED_BYTES = 1 << 20
SAMPLE_ROWS_A_CLUSTER = 64


def default_clusters(rows: int) -> int:
    """Clusters for an index of this many rows: probing and scanning then cost about the same."""
    return max(1, min(65536, round(1.5 * math.sqrt(rows)), rows // 16))


def training_sample(rows: int, clusters: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """Row numbers to train on, ascending, without repetition."""
    count = min(rows, max(clusters * SAMPLE_ROWS_A_CLUSTER, 4096))
    return np.sort(np.random.default_rng(seed).choice(rows, count, replace=False))


class IndexBuilder:
    """One build. Pages go to `sink` as they are finished; the head comes last."""

    def __init__(self, config: IndexConfig, sink: PageSink) -> None:
        self.config = config
        self._sink = sink
        self._instance = Instance()
        self._trained = False
        self._spilled: list[IO[bytes]] = []
        with self._instance.given(config.message()) as (address, size):
            self._instance.check("pw_build_begin", address, size)

    def train(
        self,
        sample: npt.NDArray[np.floating[Any]],
        progress: Callable[[], None] | None = None,
    ) -> None:
        """Learn the clusters from sample [n, dim]; `progress` is called once an iteration."""
        for start in range(0, len(sample), _TRAIN_ROWS):
            part = np.ascontiguousarray(sample[start : start + _TRAIN_ROWS], dtype="<f4")
            self._check_dim(part)
            with self._instance.given(part) as (address, _):
                self._instance.check("pw_build_train", address, len(part))
        self._trained = True
        while self._instance.check("pw_build_train_step") == PwStatus.PW_NEED:
            if progress:
                progress()

    def assign(self, vectors: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint32]:
        """The cluster of each of vectors [n, dim]; rows must then come in ascending order of it."""
        found = np.zeros(len(vectors), dtype=np.uint32)
        for start in range(0, len(vectors), _ASSIGN_ROWS):
            part = np.ascontiguousarray(vectors[start : start + _ASSIGN_ROWS], dtype="<f4")
            self._check_dim(part)
            with (
                self._instance.given(part) as (address, _),
                self._instance.buffer(4 * len(part)) as out,
            ):
                self._instance.check("pw_build_assign", address, len(part), out)
                found[start : start + len(part)] = self._instance.array(out, "<u4", len(part))
        return found

    def rows(self, batch: RowBatch) -> None:
        """Append rows. Raises EngineError naming the row that is refused."""
        with self._instance.given(batch.message()) as (address, size):
            self._instance.check("pw_build_rows", address, size)
        self._drain()

    def links(self, message: bytes) -> None:
        """Neighbour lists of an imported graph, after the rows (hnswlib_import.py)."""
        with self._instance.given(message) as (address, size):
            self._instance.check("pw_build_links", address, size)

    def finish(self, progress: Callable[[], None] | None = None) -> bytes:
        """Write what is left; gives the head. `progress` is called once a step."""
        try:
            while self._instance.check("pw_build_finish") == PwStatus.PW_NEED:
                self._drain()
                self._feed_run()
                if progress:
                    progress()
            self._drain()
            head = self._instance.out("pw_build_head")
        finally:
            for file in self._spilled:
                file.close()
            self._spilled.clear()
        if head is None:
            raise EngineError(PwStatus.PW_STATE, "the build has no head")
        return head

    @property
    def memory_bytes(self) -> int:
        """The engine's memory, at its greatest."""
        return self._instance.memory_bytes

    def _check_dim(self, vectors: npt.NDArray[np.floating[Any]]) -> None:
        if vectors.ndim != 2 or vectors.shape[1] != self.config.dim:
            raise EngineError(
                PwStatus.PW_BAD_ARGUMENT,
                f"vectors of shape {vectors.shape}, expected (n, {self.config.dim})",
            )

    def _drain(self) -> None:
        with self._instance.buffer(8) as out:
            while True:
                address = self._instance.call("pw_build_take", out, out + 4)
                if address == 0:
                    break
                section, index = (int(value) for value in self._instance.array(out, "<u4", 2))
                page = self._instance.read(address, _abi.PAGE_BYTES)
                self._sink(Section(section), index, page)
        while (run := self._instance.out("pw_build_spill")) is not None:
            file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by finish()
            file.write(run)
            self._spilled.append(file)

    def _feed_run(self) -> None:
        with self._instance.buffer(8) as out:
            if not self._instance.call("pw_build_run_wanted", out, out + 4):
                return
            run, offset = (int(value) for value in self._instance.array(out, "<u4", 2))
        self._spilled[run].seek(offset)
        data = self._spilled[run].read(_FEED_BYTES)
        with self._instance.given(data) as (address, size):
            self._instance.check("pw_build_run_feed", address, size)


def calibrate_head(head: bytes, table: npt.NDArray[np.void]) -> bytes:
    """The head with the measured table (dtype PW_CALIBRATION, by ascending recall, then rank)."""
    instance = Instance()
    with (
        instance.given(head) as (head_at, head_bytes),
        instance.given(table.tobytes()) as (table_at, table_bytes),
    ):
        found = instance.out("pw_head_calibrate", head_at, head_bytes, table_at, table_bytes)
    if found is None:
        raise instance.error(PwStatus.PW_CORRUPT)
    return found


def kind_for(rows: int, clusters: int) -> PwKind:
    """Exact scan where it is small, clusters where there are rows enough to fill some."""
    if rows <= 2048:
        return PwKind.FLAT
    return PwKind.SCAN if clusters < 8 else PwKind.CLUSTERS
