"""The engine through builder.wasm: the code that browsers run, driven from Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from pywasm._abi import PAGE_BYTES, PwDtype, PwKind, PwMetric, PwOperation, PwStatus, Section
from pywasm.engine import Engine, EngineError, IndexConfig, RowBatch
from pywasm.engine_build import IndexBuilder, default_clusters, training_sample

ROWS, DIM, QUERIES = 4000, 64, 50


def vectors(rows: int, seed: int) -> npt.NDArray[np.float32]:
    """f32 [rows, DIM] around 60 centres that are the same for every seed."""
    centres = np.random.default_rng(0).standard_normal((60, DIM))
    random = np.random.default_rng(seed)
    around = centres[random.integers(0, 60, rows)] + random.standard_normal((rows, DIM))
    return around.astype(np.float32)


@dataclass
class Built:
    """An index in memory; `order` gives the input row of each index row."""

    head: bytes
    pages: list[bytes]
    order: npt.NDArray[np.int64]

    def source(self, pages: Sequence[int]) -> list[bytes]:
        """Page bytes by number."""
        return [self.pages[page] for page in pages]


def build(base: npt.NDArray[np.float32], batch: int = 1000, **fields: object) -> Built:
    """Build an index of `base` with ids r0, r1, ..."""
    config = IndexConfig(
        **{"dim": DIM, "clusters": default_clusters(len(base)), "code_bits": 2} | fields  # type: ignore[arg-type]
    )
    finished: dict[tuple[Section, int], bytes] = {}
    builder = IndexBuilder(config, lambda kind, index, page: finished.update({(kind, index): page}))
    if len(base):
        builder.train(base[training_sample(len(base), config.clusters)])
    assigned = builder.assign(base)
    order = np.argsort(assigned, kind="stable")
    for start in range(0, len(base), batch):
        part = order[start : start + batch]
        builder.rows(
            RowBatch(
                len(part),
                vectors=base[part],
                clusters=assigned[part],
                ids=[f"r{row}" for row in part],
                texts=[f"text of row {row}" for row in part],
            )
        )
    head = builder.finish()
    return Built(head, [finished[key] for key in sorted(finished)], order)


@pytest.fixture(scope="module")
def base() -> npt.NDArray[np.float32]:
    return vectors(ROWS, 1)


@pytest.fixture(scope="module")
def queries() -> npt.NDArray[np.float32]:
    return vectors(QUERIES, 2)


@pytest.fixture(scope="module")
def built(base: npt.NDArray[np.float32]) -> Built:
    return build(base)


def recall(
    engine: Engine,
    built: Built,
    base: npt.NDArray[np.float32],
    queries: npt.NDArray[np.float32],
) -> float:
    """Share of the true ten nearest by cosine that a search finds."""
    unit = base / np.linalg.norm(base, axis=1, keepdims=True)
    truth = np.argsort(-queries @ unit.T, axis=1)[:, :10]
    found = [
        len(set(built.order[engine.search_vector(query, 10).rows]) & set(right))
        for query, right in zip(queries, truth, strict=True)
    ]
    return sum(found) / (10 * len(queries))


def test_recall_from_memory_and_from_pages(
    built: Built, base: npt.NDArray[np.float32], queries: npt.NDArray[np.float32]
) -> None:
    resident = Engine.open(built.head, built.source)
    lazy = Engine.open(built.head, built.source, resident=())
    tiny = Engine.open(built.head, built.source, resident=(), budget=1)
    assert recall(resident, built, base, queries) > 0.95
    for query in queries[:20]:
        expected = resident.search_vector(query, 10)
        assert lazy.search_vector(query, 10).hits == expected.hits
        assert tiny.search_vector(query, 10).hits == expected.hits
    assert 0 < lazy.info().pages_fetched < lazy.info().total_pages
    assert tiny.info().pages_evicted > 0
    assert tiny.info().cache_slots == 8


def test_same_input_gives_same_bytes(built: Built, base: npt.NDArray[np.float32]) -> None:
    again = build(base, batch=333)
    assert again.head == built.head
    assert again.pages == built.pages


@pytest.mark.parametrize("kind", [PwKind.FLAT, PwKind.SCAN, PwKind.CLUSTERS, PwKind.GRAPH])
@pytest.mark.parametrize("dtype", list(PwDtype))
def test_every_kind_finds_a_row_by_its_own_vector(kind: PwKind, dtype: PwDtype) -> None:
    some = vectors(600, 3)
    index = build(some, kind=kind, dtype=dtype, metric=PwMetric.L2, clusters=8)
    engine = Engine.open(index.head, index.source)
    for row in range(0, 600, 37):
        hit = engine.search_vector(some[row], 1).hits[0]
        assert index.order[hit.row] == row
        assert hit.exact
        assert abs(hit.score) < 0.02 * float(some[row] @ some[row])
    stored = engine.vectors([0, 5])
    assert np.allclose(stored, some[index.order[[0, 5]]], atol=0.05)


def test_a_damaged_page_is_named_and_not_used(built: Built) -> None:
    page = len(built.pages) - 1

    def source(pages: Sequence[int]) -> list[bytes]:
        found = built.source(pages)
        return [
            data[:100] + bytes([data[100] ^ 1]) + data[101:] if number == page else data
            for number, data in zip(pages, found, strict=True)
        ]

    engine = Engine.open(built.head, source, resident=())
    with pytest.raises(EngineError, match=f"page {page} ") as raised:
        engine.put_pages([page])
    assert raised.value.status == PwStatus.PW_CORRUPT
    with pytest.raises(EngineError, match="expected 16384"):
        Engine.open(built.head, lambda pages: [b"short"] * len(pages))


def test_a_damaged_head_is_refused(built: Built) -> None:
    for at in range(0, len(built.head), 97):
        damaged = bytearray(built.head)
        damaged[at] ^= 0x10
        with pytest.raises(EngineError):
            Engine.open(bytes(damaged), built.source)
    newer = bytearray(built.head)
    newer[4] = 9
    with pytest.raises(EngineError, match="version 9") as raised:
        Engine.open(bytes(newer), built.source)
    assert raised.value.status == PwStatus.PW_NEWER_VERSION


def test_operations_in_flight_do_not_mix(built: Built, queries: npt.NDArray[np.float32]) -> None:
    engine = Engine.open(built.head, built.source, resident=(), budget=1)
    alone = Engine.open(built.head, built.source)
    head = np.zeros(8, dtype="<u4")
    head[[0, 6]] = 10, 0xFFFFFFFF
    handles = {
        engine.begin(PwOperation.SEARCH_VECTOR, head.tobytes() + query.tobytes()): query
        for query in queries[:4]
    }
    wanted: dict[int, list[int]] = {handle: [] for handle in handles}
    while wanted:
        for handle in list(wanted):
            engine.put_pages(wanted[handle])
            needed = engine.step(handle)
            if needed is not None:
                wanted[handle] = needed
                continue
            del wanted[handle]
            found = np.frombuffer(engine.result(handle), "<u4")[8::4]
            assert list(found) == list(alone.search_vector(handles[handle], 10).rows)
            engine.end(handle)


def test_bad_queries_are_named(built: Built, queries: npt.NDArray[np.float32]) -> None:
    engine = Engine.open(built.head, built.source)
    with pytest.raises(EngineError, match="k is 0"):
        engine.search_vector(queries[0], 0)
    with pytest.raises(EngineError, match="dimension 63, the index has 64"):
        engine.search_vector(queries[0][:-1])
    bad = queries[0].copy()
    bad[3] = np.nan
    with pytest.raises(EngineError, match="component 3 is nan"):
        engine.search_vector(bad)
    with pytest.raises(EngineError, match="every component is zero"):
        engine.search_vector(np.zeros(DIM, np.float32))
    assert len(engine.search_vector(queries[0], ROWS + 1).hits) == ROWS


def test_bad_rows_stop_a_build() -> None:
    for bad, match in ((np.inf, "component 2"), (0.0, "every component is zero")):
        rows = vectors(5, 4)
        rows[3] = rows[3] if bad else 0
        if bad:
            rows[3, 2] = bad
        builder = IndexBuilder(IndexConfig(dim=DIM, kind=PwKind.FLAT), lambda *_: None)
        with pytest.raises(EngineError, match=f"row 3: .*{match}"):
            builder.rows(RowBatch(5, vectors=rows))
    with pytest.raises(EngineError, match="dimension 64, the index has 32"):
        IndexBuilder(IndexConfig(dim=32, kind=PwKind.FLAT), lambda *_: None).rows(
            RowBatch(5, vectors=vectors(5, 4))
        )


def test_an_empty_index_lives_by_inserts(queries: npt.NDArray[np.float32]) -> None:
    engine = Engine.create(IndexConfig(dim=DIM, kind=PwKind.SCAN))
    assert engine.search_vector(queries[0], 3).hits == []
    rows = vectors(100, 5)
    engine.insert(RowBatch(100, vectors=rows, ids=[f"n{i}" for i in range(100)]))
    hit = engine.search_vector(rows[42], 1).hits[0]
    assert hit.row == 42
    assert hit.score == pytest.approx(1, abs=0.01)
    engine.delete(["n42"])
    assert engine.search_vector(rows[42], 1).hits[0].row != 42


def test_budget_bounds_what_is_held(built: Built, queries: npt.NDArray[np.float32]) -> None:
    budget = 40 * PAGE_BYTES
    engine = Engine.open(built.head, built.source, resident=(), budget=budget)
    for query in queries:
        engine.search_vector(query, 10, nprobe=1000, rerank=500)
    info = engine.info()
    assert info.resident_bytes + info.cached_pages * PAGE_BYTES <= budget
    engine.set_budget(20 * PAGE_BYTES)
    assert engine.info().cached_pages < 20
