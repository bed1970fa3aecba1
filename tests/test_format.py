"""The promise to sites that were built before: the bytes of format version 1 stay readable.

tests/data/format-v1 holds one small index of every kind as it was built when the format was fixed,
and what searches of it answer. Today's engine must open those bytes and answer the same, today's
build must make the same bytes, and a reader written from docs/format.md must agree with both.

A change of the bytes that old engines still read (a better choice of codes, say) is made with
`PYWASM_REGENERATE=1 pytest tests/test_format.py`, which writes the files anew and fails, so that
it can't pass unseen. A change that they can't read needs a new version and files of its own.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pywasm._abi import NO_CATEGORY, PAGE_BYTES, PwColumnType, PwDtype, PwFilter, PwKind, PwMetric
from pywasm.engine import ColumnSpec, Engine, IndexConfig, RowBatch
from pywasm.engine_build import IndexBuilder
from tests.format_reader import FormatError, Reader

DATA = Path(__file__).with_name("data") / "format-v1"
ROWS, QUERIES = 70, 4
COLUMNS = (
    ColumnSpec("module", PwColumnType.CATEGORY),
    ColumnSpec("year", PwColumnType.NUMBER),  # all f32
    ColumnSpec("größe", PwColumnType.NUMBER),  # not all f32
)
# dim 20 and 48 are no powers of two: all steps of the rotation count.
CONFIGS = {
    "flat-cosine-f32": IndexConfig(20, PwMetric.COSINE, PwDtype.F32, PwKind.FLAT),
    "scan-l2-f16": IndexConfig(16, PwMetric.L2, PwDtype.F16, PwKind.SCAN, 3, seed=2**40 + 7),
    "clusters-cosine-i8": IndexConfig(48, PwMetric.COSINE, PwDtype.I8, PwKind.CLUSTERS, 1, 4),
    "graph-ip-i8": IndexConfig(
        20, PwMetric.INNER_PRODUCT, PwDtype.I8, PwKind.GRAPH, 2, m=4, ef_construction=40
    ),
}
TEXTS = (
    "The quick brown fox's don'ts: tempfile.TemporaryDirectory",
    "Der schnelle Fuchs überquert die Straße",
    "Быстрая лиса прыгает через ленивую собаку",
    "東京都の天気は晴れです",
    "สวัสดีชาวโลก",
    "الثعلب البني السريع",
    "빠른 갈색 여우가 뛴다",
    "version 3.11.2 of 1,000 URLs in HTTPServer",
    "γρήγορη καφέ αλεπού naïve café",
    "שועל חום מהיר קופץ",
)
WORDS = ("fox", "лиса", "東京", "여우", "temporary directory", "cafe", "3.11.2", "absent")
FILTERS = {
    "module is 1": struct.pack("<3I", PwFilter.EQUAL, 0, 1),
    "year from 2005": struct.pack("<3I2d", PwFilter.RANGE, 1, 1, 2005.0, 0.0),
    "has größe": struct.pack("<2I", PwFilter.PRESENT, 2),
}


def drawn(name: str, count: int, dim: int) -> npt.NDArray[np.float32]:
    """Numbers that no library can change: f32 [count, dim], multiples of 1/32."""
    raw = hashlib.shake_256(name.encode()).digest(count * dim)
    return np.frombuffer(raw, np.int8).reshape(count, dim).astype(np.float32) / np.float32(32)


def batch(vectors: npt.NDArray[np.float32], clusters: npt.NDArray[np.uint32]) -> RowBatch:
    """Rows of everything; record 33 is longer than a page."""
    places = np.arange(len(vectors))
    modules = (places % 3).astype(np.uint32)
    years = 2000.0 + places % 12
    modules[::10], years[::9] = NO_CATEGORY, np.nan
    sizes = np.where(places % 4 == 0, np.nan, places / 10)
    return RowBatch(
        len(vectors),
        vectors=vectors,
        clusters=clusters,
        ids=[f"row {i}" if i % 5 else f"строка {i}" for i in places],
        texts=[f"{TEXTS[i % 10]} {i} " + "long " * (5000 * (i == 33)) for i in places],
        payloads=[json.dumps({"title": f"Row {i}"}) for i in places],
        columns=[modules, years, sizes],
    )


def build(name: str) -> tuple[bytes, bytes]:
    """Head and pages of the index as today's engine builds it."""
    config = IndexConfig(**{**vars(CONFIGS[name]), "columns": COLUMNS})
    finished: dict[tuple[int, int], bytes] = {}
    builder = IndexBuilder(config, lambda kind, index, page: finished.update({(kind, index): page}))
    vectors = drawn(name, ROWS, config.dim)
    builder.train(vectors)
    clusters = builder.assign(vectors)
    order = np.argsort(clusters, kind="stable")
    builder.rows(batch(vectors[order], clusters[order]))
    head = builder.finish()
    return head, b"".join(finished[key] for key in sorted(finished))


def opened(head: bytes, pages: bytes) -> Engine:
    def source(wanted: Sequence[int]) -> list[bytes]:
        return [pages[page * PAGE_BYTES : (page + 1) * PAGE_BYTES] for page in wanted]

    return Engine.open(head, source)


def queries(name: str) -> npt.NDArray[np.float32]:
    return drawn(f"queries of {name}", QUERIES, CONFIGS[name].dim)


def answers(name: str, head: bytes, pages: bytes) -> dict[str, Any]:
    """What the engine says about an index, as JSON."""
    engine = opened(head, pages)

    def hits(found: Any) -> list[list[float]]:
        return [[hit.row, hit.score] for hit in found.hits]

    effort: dict[str, Any] = {"nprobe": 4, "ef_search": ROWS, "rerank": ROWS}
    records = engine.records([0, 33, ROWS - 1])
    return {
        "vector": [hits(engine.search_vector(query, 5, **effort)) for query in queries(name)],
        "text": {word: hits(engine.search_text(word, 5)) for word in WORDS},
        "filters": {says: engine.filter_count(program) for says, program in FILTERS.items()},
        "records": [[one.id, len(one.text), one.payload.decode()] for one in records],
        "rows": engine.rows_of_ids(["row 1", "строка 5", "row 69", "nobody"]),
        "columns": [
            [None if value != value else value for value in engine.column_values(column, range(12))]
            for column in range(len(COLUMNS))
        ],
    }


def regenerate(name: str) -> None:
    DATA.mkdir(parents=True, exist_ok=True)
    head, pages = build(name)
    stored = struct.pack("<I", len(head)) + head + pages
    (DATA / f"{name}.bin.xz").write_bytes(lzma.compress(stored, preset=9 | lzma.PRESET_EXTREME))
    found = json.dumps(answers(name, head, pages), ensure_ascii=False, indent=1)
    (DATA / f"{name}.json").write_text(found + "\n", "utf-8")


@pytest.fixture(scope="module", params=CONFIGS)
def name(request: pytest.FixtureRequest) -> str:
    found = str(request.param)
    if os.environ.get("PYWASM_REGENERATE") == "1":
        regenerate(found)
        pytest.fail(f"{found}: the stored bytes were written anew; review them, run again without")
    return found


@pytest.fixture(scope="module")
def stored(name: str) -> tuple[bytes, bytes]:
    """Head and pages."""
    data = lzma.decompress((DATA / f"{name}.bin.xz").read_bytes())
    (size,) = struct.unpack_from("<I", data)
    return data[4 : 4 + size], data[4 + size :]


@pytest.fixture(scope="module")
def reader(stored: tuple[bytes, bytes]) -> Reader:
    return Reader(*stored)


def test_stored_bytes_still_answer(name: str, stored: tuple[bytes, bytes]) -> None:
    expected = json.loads((DATA / f"{name}.json").read_text("utf-8"))
    found = json.loads(json.dumps(answers(name, *stored)))
    for kind in ("vector", "text"):  # the last bits of a score may change, not its place
        for one, right in zip(pairs(found.pop(kind)), pairs(expected.pop(kind)), strict=True):
            assert one == pytest.approx(right, rel=1e-5)
    assert found == expected


def pairs(lists: Any) -> list[list[float]]:
    """All hits of several searches in one list: [number of the search, row, score]."""
    searches = lists.values() if isinstance(lists, dict) else lists
    return [[number, *hit] for number, hits in enumerate(searches) for hit in hits]


def test_a_build_makes_the_stored_bytes(name: str, stored: tuple[bytes, bytes]) -> None:
    head, pages = build(name)
    assert len(pages) == len(stored[1])
    for start in range(0, len(pages), PAGE_BYTES):
        page = slice(start, start + PAGE_BYTES)
        assert pages[page] == stored[1][page], f"{name}: page {start // PAGE_BYTES}"
    assert head == stored[0]


def test_the_document_suffices_for_vectors(
    name: str, stored: tuple[bytes, bytes], reader: Reader
) -> None:
    engine = opened(*stored)
    for query in queries(name):
        expected = reader.scores(query.astype(float))
        hits = engine.search_vector(query, ROWS, nprobe=4, ef_search=ROWS, rerank=ROWS).hits
        assert sorted(hit.row for hit in hits) == list(range(ROWS))
        found = np.array([hit.score for hit in sorted(hits, key=lambda hit: hit.row)])
        # The engine rounds the query to 16 bits where rows are int8.
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-4 * np.abs(expected).max())
        if CONFIGS[name].kind != PwKind.FLAT:
            guessed = reader.estimates(query.astype(float))
            # About the cosine between a vector and its code of 1, 2 or 3 bits: 0.80, 0.94, 0.98.
            least = {1: 0.7, 2: 0.9, 3: 0.96}[CONFIGS[name].code_bits]
            assert np.corrcoef(guessed, expected)[0, 1] > least
    if CONFIGS[name].metric == PwMetric.COSINE:
        assert np.linalg.norm(reader.vectors(), axis=1) == pytest.approx(np.ones(ROWS), abs=1e-6)


def test_the_document_suffices_for_rows(
    name: str, stored: tuple[bytes, bytes], reader: Reader
) -> None:
    engine = opened(*stored)
    for row, record in enumerate(engine.records(range(ROWS))):
        assert reader.record(row) == (record.id, record.text, record.payload)
        assert reader.row_of_id(record.id) == row
    assert reader.row_of_id("nobody") is None
    for number, column in enumerate(reader.columns()):
        values = engine.column_values(number, range(ROWS))
        assert column.name == COLUMNS[number].name
        expected = np.where(values == NO_CATEGORY, -1, values)
        assert np.array_equal(column.values.astype(float), expected, equal_nan=True)
    postings = reader.terms()
    for word in ("fox", "лиса", "東京", "temporarydirectory", "3.11.2", "long", "absent"):
        found = engine.search_text(word, ROWS).rows
        assert postings.get(word, []) == sorted(found)


def test_every_page_and_the_head_are_covered_by_a_checksum(stored: tuple[bytes, bytes]) -> None:
    head, pages = stored
    for at in (*range(0, len(pages), PAGE_BYTES), len(pages) - 1):
        damaged = bytearray(pages)
        damaged[at] ^= 1
        with pytest.raises(FormatError, match="checksum"):
            Reader(head, bytes(damaged))
    for at in range(16, len(head), 31):
        broken = bytearray(head)
        broken[at] ^= 1
        with pytest.raises(FormatError, match="checksum"):
            Reader(bytes(broken), pages)
