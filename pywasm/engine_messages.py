"""The engine's messages (kernels_wasm/src/messages.h) as bytes, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from pywasm import _abi
from pywasm._abi import PwBatchFlag, PwColumnType, PwDtype, PwKind, PwMetric

Text = str | bytes


def _bytes(text: Text) -> bytes:
    return text.encode("utf-8") if isinstance(text, str) else text


def _padded(data: bytes, multiple: int = 4) -> bytes:
    return data + bytes(-len(data) % multiple)


def strings(texts: Sequence[Text]) -> bytes:
    """u32 offsets[n + 1], then the UTF-8 bytes, padded to 4."""
    encoded = [_bytes(text) for text in texts]
    offsets = np.zeros(len(encoded) + 1, dtype="<u4")
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    return offsets.tobytes() + _padded(b"".join(encoded))


def string_list(texts: Sequence[Text]) -> bytes:
    """PwStrings: the message of Delete and RowsOfIds."""
    body = strings(texts)
    total = sum(len(_bytes(text)) for text in texts)
    return np.array([len(texts), total], dtype="<u4").tobytes() + body


def parse_strings(message: bytes, offset: int) -> tuple[list[bytes], int]:
    """Read one PwStrings; gives the strings and the offset after it."""
    count, total = (int(value) for value in np.frombuffer(message, "<u4", 2, offset))
    bounds = np.frombuffer(message, "<u4", count + 1, offset + 8)
    start = offset + 8 + 4 * (count + 1)
    found = [message[start + int(low) : start + int(high)] for low, high in pairwise(bounds)]
    return found, start + total + (-total % 4)


def row_list(rows: Sequence[int] | npt.NDArray[np.integer[Any]]) -> bytes:
    """PwRows."""
    numbers = np.asarray(rows, dtype="<u4")
    return np.array([len(numbers), len(numbers)], dtype="<u4").tobytes() + numbers.tobytes()


def parse_rows(message: bytes) -> tuple[npt.NDArray[np.uint32], int]:
    """A PwRows: the row numbers and `total`."""
    count, total = (int(value) for value in np.frombuffer(message, "<u4", 2))
    return np.frombuffer(message, "<u4", count, 8), total


@dataclass(frozen=True)
class ColumnSpec:
    """A metadata column: its name, and whether it holds category codes or numbers."""

    name: str
    type: PwColumnType


@dataclass(frozen=True)
class IndexConfig:
    """What an index is (PwConfig). `clusters` counts for kind CLUSTERS only; 1 to 8 `code_bits`."""

    dim: int
    metric: PwMetric = PwMetric.COSINE
    dtype: PwDtype = PwDtype.I8
    kind: PwKind = PwKind.CLUSTERS
    code_bits: int = 1
    clusters: int = 1
    m: int = 16
    ef_construction: int = 100
    seed: int = 0
    rows: int = 0
    lexicon_budget: int = 0
    columns: Sequence[ColumnSpec] = field(default_factory=tuple)
    keyword: bool = True

    def message(self) -> bytes:
        """The bytes for pw_build_begin and pw_create."""
        fixed = np.zeros((), dtype=_abi.PW_CONFIG)
        for name in ("dim", "metric", "dtype", "kind", "code_bits", "clusters", "m"):
            fixed[name] = getattr(self, name)
        fixed["ef_construction"] = self.ef_construction
        fixed["seed_low"], fixed["seed_high"] = self.seed & 0xFFFFFFFF, self.seed >> 32 & 0xFFFFFFFF
        fixed["rows"], fixed["lexicon_budget"] = self.rows, self.lexicon_budget
        fixed["columns"], fixed["flags"] = len(self.columns), 0 if self.keyword else 1
        parts = [fixed.tobytes()]
        for column in self.columns:
            encoded = column.name.encode("utf-8")
            parts.append(np.array([column.type, len(encoded)], dtype="<u4").tobytes())
            parts.append(_padded(encoded))
        return b"".join(parts)


@dataclass
class RowBatch:
    """Rows with everything known of them; what is None is left out.

    vectors: f32 [n, dim]. ids, texts, payloads: n strings. clusters: u32 [n], ascending. columns:
    one array a column in the index's order, u32 category codes (NO_CATEGORY: missing) or f64
    numbers (NaN: missing).
    """

    count: int
    vectors: npt.NDArray[np.float32] | None = None
    ids: Sequence[Text] | None = None
    texts: Sequence[Text] | None = None
    payloads: Sequence[Text] | None = None
    clusters: npt.NDArray[np.uint32] | None = None
    columns: Sequence[npt.NDArray[Any]] | None = None

    def message(self) -> bytes:
        """PwRowBatch and what follows it. ValueError names a field whose length disagrees."""
        parts: list[bytes] = []
        flags = 0
        dim = 0
        if self.vectors is not None:
            vectors = np.ascontiguousarray(self.vectors, dtype="<f4")
            if vectors.ndim != 2 or len(vectors) != self.count:
                raise ValueError(f"vectors of shape {vectors.shape}, expected ({self.count}, dim)")
            flags |= PwBatchFlag.BATCH_VECTORS
            dim = vectors.shape[1]
            parts.append(vectors.tobytes())
        for flag, name, texts in (
            (PwBatchFlag.BATCH_IDS, "ids", self.ids),
            (PwBatchFlag.BATCH_TEXTS, "texts", self.texts),
            (PwBatchFlag.BATCH_PAYLOADS, "payloads", self.payloads),
        ):
            if texts is None:
                continue
            if len(texts) != self.count:
                raise ValueError(f"{len(texts)} {name}, expected {self.count}")
            flags |= flag
            parts.append(strings(texts))
        if self.clusters is not None:
            if len(self.clusters) != self.count:
                raise ValueError(f"{len(self.clusters)} clusters, expected {self.count}")
            flags |= PwBatchFlag.BATCH_CLUSTERS
            parts.append(np.ascontiguousarray(self.clusters, dtype="<u4").tobytes())
        if self.columns is not None:
            flags |= PwBatchFlag.BATCH_COLUMNS
            at = _abi.PW_ROW_BATCH.itemsize + sum(len(part) for part in parts)
            for index, column in enumerate(self.columns):
                if len(column) != self.count:
                    raise ValueError(f"column {index}: {len(column)} values, expected {self.count}")
                number = np.asarray(column).dtype.kind == "f"
                values = np.ascontiguousarray(column, dtype="<f8" if number else "<u4").tobytes()
                padding = bytes(-at % 8)
                parts += [padding, values]
                at += len(padding) + len(values)
        head = np.array([self.count, dim, flags, len(self.columns or ())], dtype="<u4")
        return head.tobytes() + b"".join(parts)


@dataclass(frozen=True)
class Hit:
    """A row and its score: cosine, inner product or BM25 (greater is better) or squared L2."""

    row: int
    score: float
    exact: bool


@dataclass(frozen=True)
class Hits:
    """What a search found, best first, and its counters. `passing` is None without a filter."""

    hits: list[Hit]
    passing: int | None
    counters: dict[str, int]

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """The row numbers, best first."""
        return np.array([hit.row for hit in self.hits], dtype=np.int64)


def parse_hits(message: bytes) -> Hits:
    """A PwHits."""
    head = np.frombuffer(message, _abi.PW_HITS, 1)[0]
    found = np.frombuffer(message, _abi.PW_HIT, int(head["count"]), _abi.PW_HITS.itemsize)
    passing = int(head["passing"])
    names = ("hops", "codes", "distances", "pages_hit", "pages_missed", "clusters")
    return Hits(
        [Hit(int(hit["row"]), float(hit["score"]), bool(hit["flags"] & 1)) for hit in found],
        None if passing == _abi.NO_ROW else passing,
        {name: int(head[name]) for name in names},
    )
