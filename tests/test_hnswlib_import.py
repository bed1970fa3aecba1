"""hnswlib's index files, made by hnswlib itself: read, damaged, and built into an index of ours."""

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from pywasm._abi import PwDtype, PwKind, Section
from pywasm.engine import Engine
from pywasm.engine_build import IndexBuilder
from pywasm.engine_messages import IndexConfig, RowBatch
from pywasm.errors import UserError
from pywasm.hnswlib_import import HEADER, HnswlibIndex, link_messages, read_hnswlib

hnswlib = pytest.importorskip("hnswlib")

ROWS, DIM, M = 1500, 24, 6


@pytest.fixture(scope="module")
def vectors() -> npt.NDArray[np.float32]:
    random = np.random.default_rng(3)
    centres = random.standard_normal((20, DIM))
    rows = centres[random.integers(0, 20, ROWS)] + 0.7 * random.standard_normal((ROWS, DIM))
    unit: npt.NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(
        "f4"
    )
    return unit


@pytest.fixture(scope="module")
def index_file(vectors: npt.NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels 10,000 and up; every seventh is marked as deleted."""
    index = hnswlib.Index("ip", DIM)
    index.init_index(2 * ROWS, M=M, ef_construction=80, random_seed=5)
    index.add_items(vectors, np.arange(ROWS) + 10_000, num_threads=1)
    for row in range(0, ROWS, 7):
        index.mark_deleted(row + 10_000)
    file = tmp_path_factory.mktemp("hnswlib") / "index.bin"
    index.save_index(str(file))
    return file


@pytest.fixture(scope="module")
def index(index_file: Path) -> HnswlibIndex:
    return read_hnswlib(index_file)


def test_reads_what_hnswlib_wrote(index: HnswlibIndex, vectors: npt.NDArray[np.float32]) -> None:
    assert (index.dim, index.m, index.ef_construction) == (DIM, M, 80)
    np.testing.assert_array_equal(index.vectors, vectors[index.labels - 10_000])
    np.testing.assert_array_equal(index.deleted, (index.labels - 10_000) % 7 == 0)
    heights = np.diff(index.first_list)
    assert heights.min() == 1
    assert heights.max() == heights[index.entry] > 2
    assert index.links.max() < ROWS
    near = np.argsort(-(vectors @ vectors[0]))[1:50]
    own = int(np.flatnonzero(index.labels == 10_000)[0])
    linked = index.labels[index.levels(own)[0]] - 10_000
    assert 1 <= len(linked) <= 2 * M
    assert set(linked.tolist()) & set(near.tolist())


def test_empty_index(tmp_path: Path) -> None:
    index = hnswlib.Index("l2", 8)
    index.init_index(10)
    index.save_index(str(tmp_path / "empty.bin"))
    empty = read_hnswlib(tmp_path / "empty.bin", 8)
    assert (len(empty.labels), empty.entry, empty.vectors.shape) == (0, -1, (0, 8))
    assert list(link_messages(empty, np.empty(0, np.int64))) == []


def test_other_dimension(index_file: Path) -> None:
    with pytest.raises(UserError, match=r"index\.bin: vectors of 24 dimensions, expected 25"):
        read_hnswlib(index_file, 25)


def test_not_a_file(tmp_path: Path) -> None:
    (tmp_path / "nothing").write_bytes(b"")
    for name in ("absent", "nothing"):
        with pytest.raises(UserError, match="not a readable hnswlib index"):
            read_hnswlib(tmp_path / name)


STRIDE = 4 + 8 * M + 4 * DIM + 8
UPPER = HEADER.size + ROWS * STRIDE


@pytest.mark.parametrize(
    ("offset", "value", "said"),
    [
        (0, b"\1", "offsetLevel0 1 at byte 0, expected 0"),
        (8, struct.pack("<Q", 1), r"1500 elements at byte 16, expected at most max_elements, 1"),
        (24, struct.pack("<Q", 4), "size_data_per_element 4 at byte 24"),
        (32, struct.pack("<Q", 2**60), "label_offset .* at byte 32, expected a multiple of 4"),
        (40, struct.pack("<Q", 0), "offsetData 0 at byte 40, expected 52"),
        (48, struct.pack("<i", 77), "maxlevel 77 at byte 48, expected 0 to 31"),
        (52, struct.pack("<I", ROWS), "enterpoint_node 1500 at byte 52, expected below 1500"),
        (56, struct.pack("<Q", 7), "maxM 7, M 6 at byte 56"),
        (64, struct.pack("<Q", 7), "maxM0 7 at byte 64, expected 12, twice M"),
        (80, struct.pack("<d", float("nan")), "mult nan at byte 80"),
        (88, struct.pack("<Q", 0), "ef_construction 0 at byte 88"),
        (HEADER.size + STRIDE, struct.pack("<H", 13), "13 links of element 1 at byte"),
        (HEADER.size + STRIDE + 4, struct.pack("<I", ROWS), "a link of element 1 past the last"),
        (
            HEADER.size + 2 * STRIDE - 8,
            struct.pack("<Q", 10_000),
            "label 10000 for the second time",
        ),
        (UPPER, struct.pack("<I", 5), "5 bytes of upper links of element 0 at byte"),
    ],
)
def test_damage_is_named(
    index_file: Path, tmp_path: Path, offset: int, value: bytes, said: str
) -> None:
    data = bytearray(index_file.read_bytes())
    data[offset : offset + len(value)] = value
    damaged = tmp_path / "damaged.bin"
    damaged.write_bytes(data)
    with pytest.raises(UserError, match=rf"damaged\.bin: not an hnswlib index: .*{said}"):
        read_hnswlib(damaged)


@pytest.mark.parametrize("cut", [1, 100, UPPER - HEADER.size, 10**9])
def test_truncated(index_file: Path, tmp_path: Path, cut: int) -> None:
    data = index_file.read_bytes()
    short = tmp_path / "short.bin"
    short.write_bytes(data[: max(1, len(data) - cut)])
    with pytest.raises(UserError, match=r"short\.bin: not an hnswlib index: .* at byte"):
        read_hnswlib(short)


def test_more_bytes_than_elements(index_file: Path, tmp_path: Path) -> None:
    (tmp_path / "long.bin").write_bytes(index_file.read_bytes() + b"more")
    with pytest.raises(UserError, match="4 more bytes at byte"):
        read_hnswlib(tmp_path / "long.bin")


def build(index: HnswlibIndex, links: bool) -> tuple[Engine, npt.NDArray[np.int64]]:
    """An index of ours over the elements that are not deleted, and the element of each row."""
    elements = np.flatnonzero(~index.deleted)
    pages: dict[tuple[Section, int], bytes] = {}
    config = IndexConfig(
        dim=DIM, dtype=PwDtype.F32, kind=PwKind.GRAPH, code_bits=4, m=index.m, keyword=False
    )
    builder = IndexBuilder(config, lambda section, at, page: pages.update({(section, at): page}))
    rows = np.ascontiguousarray(index.vectors[elements])
    builder.train(rows)
    builder.rows(RowBatch(len(rows), rows))
    if links:
        row_of = np.full(len(index.labels), -1)
        row_of[elements] = np.arange(len(elements))
        for message in link_messages(index, row_of, batch=100):
            builder.links(message)
    head = builder.finish()
    ordered = [pages[key] for key in sorted(pages)]
    return Engine.open(head, lambda wanted: [ordered[page] for page in wanted]), elements


def test_the_graph_is_taken_over(index: HnswlibIndex, vectors: npt.NDArray[np.float32]) -> None:
    taken, elements = build(index, links=True)
    anew, _ = build(index, links=False)
    queries = np.random.default_rng(9).standard_normal((40, DIM)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    exact = np.argsort(-(queries @ index.vectors[elements].T), axis=1)[:, :10]
    recall = {}
    for name, engine in (("taken", taken), ("anew", anew)):
        hits = [
            [hit.row for hit in engine.search_vector(query, 10, ef_search=80, rerank=80).hits]
            for query in queries
        ]
        recall[name] = np.mean(
            [len(set(a) & set(b.tolist())) / 10 for a, b in zip(hits, exact, strict=True)]
        )
    assert recall["taken"] >= 0.95
    assert recall["taken"] >= recall["anew"] - 0.03
    # The lists are hnswlib's, not made anew: the two builds' GRAPH pages differ.
    places = [engine.info().sections[Section.GRAPH]["first_page"] for engine in (taken, anew)]
    assert places[0] == places[1]
    assert taken._source([places[0]]) != anew._source([places[1]])
