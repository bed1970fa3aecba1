"""Embeddings made before, by what was embedded, so that a build makes only what is new.

A folder per encoder holds segments, one for each build that made embeddings. A segment is a file
of records: 16 bytes XXH3-128 of the text (with its prefix), dim x f32, u32 checksum of the two.
Records are only appended; a torn or damaged one fails its checksum and counts as absent, so a
build that was killed goes on where it was.
"""

import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
import xxhash

F32 = npt.NDArray[np.float32]


class EmbedCache:
    """The cache of one encoder; `dim` is the length of its embeddings. Use as a context manager."""

    def __init__(self, folder: Path, dim: int) -> None:
        self._folder = folder
        self._dim = dim
        self._record = np.dtype([("key", "<u8", 2), ("vector", "<f4", dim), ("check", "<u4")])
        folder.mkdir(parents=True, exist_ok=True)
        self._segments = [self._map(file) for file in sorted(folder.glob("*.embeddings"))]
        self._file = folder / f"{uuid.uuid4().hex}.embeddings"
        self._out = self._file.open("ab", buffering=0)
        heads = [np.ascontiguousarray(segment["key"][:, 0]) for segment in self._segments]
        first = np.concatenate(heads) if heads else np.empty(0, np.uint64)
        self._order = np.argsort(first, kind="stable")
        self._sorted = first[self._order]
        self._starts = np.cumsum([0, *(len(segment) for segment in self._segments)])

    def __enter__(self) -> "EmbedCache":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._out.close()
        if self._file.stat().st_size == 0:
            self._file.unlink()

    def find(self, texts: Sequence[str]) -> tuple[F32, npt.NDArray[np.bool_]]:
        """(f32[len(texts), dim], which rows are known). Rows not known are zero."""
        vectors = np.zeros((len(texts), self._dim), np.float32)
        known = np.zeros(len(texts), np.bool_)
        keys = _keys(texts)
        places = np.searchsorted(self._sorted, keys[:, 0])
        for row, place in enumerate(places):
            while place < len(self._sorted) and self._sorted[place] == keys[row, 0]:
                record = self._at(int(self._order[place]))
                if (record["key"] == keys[row]).all() and record["check"] == _check(record):
                    vectors[row] = record["vector"]
                    known[row] = True
                    break
                place += 1
        return vectors, known

    def add(self, texts: Sequence[str], vectors: F32) -> None:
        """Keeps embeddings for the builds to come (not for `find` of this one)."""
        records = np.zeros(len(texts), self._record)
        records["key"] = _keys(texts)
        records["vector"] = vectors
        for record in records:
            record["check"] = _check(record)
        self._out.write(records.tobytes())

    def flush(self) -> None:
        """Makes what was added survive a power cut."""
        os.fsync(self._out.fileno())

    def _map(self, file: Path) -> npt.NDArray[np.void]:
        count = file.stat().st_size // self._record.itemsize  # the rest is a torn record
        if not count:
            return np.empty(0, self._record)
        return np.memmap(file, self._record, "r", shape=(count,))

    def _at(self, row: int) -> np.void:
        segment = int(np.searchsorted(self._starts, row, side="right")) - 1
        record: np.void = self._segments[segment][row - self._starts[segment]]
        return record


def _keys(texts: Sequence[str]) -> npt.NDArray[np.uint64]:
    encoded = (text.encode("utf-8", "surrogatepass") for text in texts)
    digests = b"".join(xxhash.xxh3_128_digest(text) for text in encoded)
    return np.frombuffer(digests, "<u8").reshape(-1, 2)


def _check(record: np.void) -> int:
    return xxhash.xxh32_intdigest(record.tobytes()[:-4])
