"""The search engine (builder.wasm) from Python: open an index and search, change or read it.

The same bytes run in the visitor's browser; here they build indexes and check them. Building is in
engine_build.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pywasm import _abi
from pywasm._abi import PwDtype, PwKind, PwMetric, PwOperation, PwStatus, Section
from pywasm.engine_instance import EngineError, Instance
from pywasm.engine_messages import (
    ColumnSpec,
    Hit,
    Hits,
    IndexConfig,
    RowBatch,
    parse_hits,
    parse_rows,
    parse_strings,
    row_list,
    string_list,
)

__all__ = [
    "ColumnSpec",
    "Engine",
    "EngineError",
    "Hit",
    "Hits",
    "IndexConfig",
    "IndexInfo",
    "Record",
    "RowBatch",
    "Token",
]

# Page numbers, ascending -> their bytes, PAGE_BYTES each, in that order.
PageSource = Callable[[Sequence[int]], Sequence[bytes]]


@dataclass(frozen=True)
class Record:
    """What is stored of a row."""

    id: str
    text: str
    payload: bytes


@dataclass(frozen=True)
class Token:
    """A word as the engine cuts it: its place in the text's UTF-8 bytes and its folded form."""

    start: int
    end: int
    term: str


@dataclass(frozen=True)
class IndexInfo:
    """The engine's PwInfo; sizes in bytes. `sections`: first_page, pages, resident, present."""

    rows: int
    deleted: int
    delta_rows: int
    dim: int
    code_dim: int
    metric: PwMetric
    dtype: PwDtype
    kind: PwKind
    code_bits: int
    clusters: int
    m: int
    ef_construction: int
    columns: int
    total_pages: int
    cached_pages: int
    cache_slots: int
    resident_bytes: int
    delta_bytes: int
    budget: int
    pages_fetched: int
    pages_evicted: int
    sections: dict[Section, dict[str, int]]


def _no_pages(pages: Sequence[int]) -> Sequence[bytes]:
    raise LookupError(f"pages {list(pages)[:5]} are needed, but the index has no page source")


class Engine:
    """One open index. Not for several threads at once; open several engines instead."""

    def __init__(self, instance: Instance, source: PageSource) -> None:
        self.instance = instance
        self._source = source

    @classmethod
    def open(
        cls,
        head: bytes,
        source: PageSource,
        *,
        budget: int = 0,
        resident: Sequence[Section] = (Section.CENTROIDS, Section.CODES),
    ) -> Engine:
        """Open an index whose pages `source` brings.

        budget: bytes for resident sections, cached pages and inserted rows; 0: no bound.
        resident: sections to load whole, now. Raises EngineError (PW_CORRUPT, PW_NEWER_VERSION).
        """
        instance = Instance()
        with instance.given(head) as (address, size):
            instance.check("pw_open", address, size, budget)
        engine = cls(instance, source)
        for section in resident:
            engine.load(section)
        return engine

    @classmethod
    def create(cls, config: IndexConfig, *, budget: int = 0) -> Engine:
        """An empty index that lives by inserts."""
        instance = Instance()
        with instance.given(config.message()) as (address, size):
            instance.check("pw_create", address, size, budget)
        return cls(instance, _no_pages)

    # --- pages ---------------------------------------------------------------------------

    def load(self, section: Section) -> None:
        """Make a section resident: all its pages, one flat array in memory."""
        self.instance.check("pw_make_resident", section)
        place = self.info().sections[section]
        pages = range(place["first_page"], place["first_page"] + place["pages"])
        missing = [page for page in pages if not self.instance.call("pw_page_present", page)]
        for start in range(0, len(missing), 256):
            self.put_pages(missing[start : start + 256])

    def put_pages(self, pages: Sequence[int]) -> int:
        """Bring pages from the source into memory; gives how many there was room for.

        Raises EngineError (PW_CORRUPT) naming the page whose checksum does not match.
        """
        for index, (page, data) in enumerate(zip(pages, self._source(pages), strict=True)):
            if len(data) != _abi.PAGE_BYTES:
                raise EngineError(
                    PwStatus.PW_CORRUPT,
                    f"page {page}: the source gave {len(data)} bytes, expected {_abi.PAGE_BYTES}",
                )
            address = self.instance.call("pw_page_buffer", page)
            if address == 0:
                return index
            self.instance.write(address, data)
            self.instance.check("pw_page_commit", page)
        return len(pages)

    def set_budget(self, budget: int) -> None:
        """Change the byte budget; what no longer fits is evicted at once."""
        self.instance.check("pw_set_budget", budget)

    def set_policy(self, policy: int) -> None:
        """Page replacement: 0 FIFO, 1 LRU, 2 SIEVE."""
        self.instance.check("pw_set_policy", policy)

    def info(self) -> IndexInfo:
        """Sizes, parameters and counters."""
        raw = self.instance.array(self.instance.call("pw_info"), _abi.PW_INFO, 1)[0]
        names = _abi.PW_SECTION_INFO.names or ()
        fields: dict[str, Any] = {
            name: int(raw[name]) for name in _abi.PW_INFO.names or () if name != "sections"
        }
        fields |= {
            "metric": PwMetric(fields["metric"]),
            "dtype": PwDtype(fields["dtype"]),
            "kind": PwKind(fields["kind"]),
        }
        sections = {
            section: {name: int(raw["sections"][section][name]) for name in names}
            for section in Section
        }
        return IndexInfo(**fields, sections=sections)

    # --- operations ----------------------------------------------------------------------

    def begin(self, operation: PwOperation, message: bytes) -> int:
        """Start an operation; gives its handle. Most callers want `run`."""
        with self.instance.given(message) as (address, size):
            return self.instance.check("pw_begin", operation, address, size)

    def step(self, handle: int) -> list[int] | None:
        """Go on; None when it is done, else the pages it needs."""
        if self.instance.check("pw_step", handle) == PwStatus.PW_DONE:
            return None
        address = self.instance.call("pw_needed", handle)
        count = int(self.instance.array(address, "<u4", 1)[0])
        return [int(page) for page in self.instance.array(address + 4, "<u4", count)]

    def result(self, handle: int) -> bytes:
        """The result of an operation that is done."""
        found = self.instance.out("pw_result", handle)
        return found or b""

    def end(self, handle: int) -> None:
        """Give the handle back; aborts an operation that is running."""
        self.instance.call("pw_end", handle)

    def run(self, operation: PwOperation, message: bytes) -> bytes:
        """An operation from begin to result, with its pages brought from the source."""
        handle = self.begin(operation, message)
        try:
            while (needed := self.step(handle)) is not None:
                if self.put_pages(needed) == 0:
                    raise EngineError(PwStatus.PW_STATE, "no room for a page: all slots are in use")
            return self.result(handle)
        finally:
            self.end(handle)

    def search_vector(
        self,
        query: npt.NDArray[np.float32],
        k: int = 10,
        *,
        recall: float = 0.0,
        nprobe: int = 0,
        ef_search: int = 0,
        rerank: int = 0,
        max_pages: int = 0,
        exclude: int = _abi.NO_ROW,
        filter: bytes = b"",
    ) -> Hits:
        """The k rows nearest to query [dim]. `filter` is a program of u32 words (messages.h).

        Zeros leave nprobe, ef_search and rerank to the calibration for `recall` (0: 0.95).
        """
        head = np.zeros((), dtype=_abi.PW_VECTOR_SEARCH)
        head["k"], head["recall"], head["nprobe"], head["ef_search"] = k, recall, nprobe, ef_search
        head["rerank"], head["max_pages"], head["exclude"] = rerank, max_pages, exclude
        head["filter_bytes"] = len(filter)
        vector = np.ascontiguousarray(query, dtype="<f4").tobytes()
        return parse_hits(self.run(PwOperation.SEARCH_VECTOR, head.tobytes() + filter + vector))

    def search_text(
        self, text: str, k: int = 10, *, prefix: bool = False, filter: bytes = b""
    ) -> Hits:
        """The k rows best by BM25. prefix: the last word also matches longer ones."""
        data = text.encode("utf-8")
        head = np.zeros((), dtype=_abi.PW_TEXT_SEARCH)
        head["k"], head["flags"] = k, 1 if prefix else 0
        head["filter_bytes"], head["text_bytes"] = len(filter), len(data)
        message = head.tobytes() + filter + data + bytes(-len(data) % 4)
        return parse_hits(self.run(PwOperation.SEARCH_TEXT, message))

    def records(self, rows: Sequence[int]) -> list[Record]:
        """Id, text and payload of each row."""
        message = self.run(PwOperation.RECORDS, row_list(rows))
        ids, at = parse_strings(message, 0)
        texts, at = parse_strings(message, at)
        payloads, _ = parse_strings(message, at)
        return [
            Record(one.decode("utf-8", "replace"), text.decode("utf-8", "replace"), payload)
            for one, text, payload in zip(ids, texts, payloads, strict=True)
        ]

    def vectors(self, rows: Sequence[int]) -> npt.NDArray[np.float32]:
        """f32 [n, dim] in the space of the input (normalised for cosine, rounded by the dtype)."""
        message = self.run(PwOperation.VECTORS, row_list(rows))
        return np.frombuffer(message, "<f4").reshape(len(rows), -1)

    def rows_of_ids(self, ids: Sequence[str]) -> list[int | None]:
        """The row of each id; None: unknown or deleted."""
        return self._rows_or_none(PwOperation.ROWS_OF_IDS, string_list(ids))

    def insert(self, batch: RowBatch, *, replace: bool = False) -> list[int]:
        """Add rows; gives their numbers. An id that exists is PW_DUPLICATE unless `replace`."""
        message = np.array([int(replace), 0], dtype="<u4").tobytes() + batch.message()
        rows, _ = parse_rows(self.run(PwOperation.INSERT, message))
        return [int(row) for row in rows]

    def delete(self, ids: Sequence[str]) -> list[int | None]:
        """Delete by id; gives the row of each, None where there was none."""
        return self._rows_or_none(PwOperation.DELETE, string_list(ids))

    def filter_count(self, filter: bytes) -> int:
        """How many live rows pass."""
        return parse_rows(self.run(PwOperation.FILTER_COUNT, filter))[1]

    def live_rows(self, start: int = 0, limit: int = 1 << 20) -> npt.NDArray[np.uint32]:
        """Row numbers from `start` on that are not deleted, at most `limit`."""
        message = np.array([start, limit], dtype="<u4").tobytes()
        return parse_rows(self.run(PwOperation.LIVE_ROWS, message))[0]

    def column_values(self, column: int, rows: Sequence[int]) -> npt.NDArray[np.float64]:
        """f64 [n]: category codes (NO_CATEGORY: missing) or numbers (NaN: missing)."""
        message = np.array([column, 0], dtype="<u4").tobytes() + row_list(rows)
        return np.frombuffer(self.run(PwOperation.COLUMN_VALUES, message), "<f8")

    def _rows_or_none(self, operation: PwOperation, message: bytes) -> list[int | None]:
        rows, _ = parse_rows(self.run(operation, message))
        return [None if row == _abi.NO_ROW else int(row) for row in rows]


def tokenize(text: str, instance: Instance | None = None) -> list[Token]:
    """The words of `text` as keyword search sees them."""
    instance = instance or Instance()
    with instance.given(text.encode("utf-8")) as (address, size):
        message = instance.out("pw_tokenize", address, size)
    if message is None:
        raise instance.error(PwStatus.PW_BAD_ARGUMENT)
    count = int(np.frombuffer(message, "<u4", 1)[0])
    table = np.frombuffer(message, "<u4", 4 * count, 4).reshape(-1, 4)
    terms = 4 + 16 * count
    return [
        Token(int(start), int(end), message[terms + int(at) : terms + int(at + size)].decode())
        for start, end, at, size in table
    ]
