"""Inserts, replacements, deletes and filters through the Wasm engine, against numpy."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from pywasm import _abi
from pywasm._abi import PwColumnType, PwDtype, PwFilter, PwKind, PwMetric, PwStatus
from pywasm.engine import ColumnSpec, Engine, EngineError, IndexConfig, RowBatch
from pywasm.engine_build import IndexBuilder

DIM = 32
COLUMNS = (
    ColumnSpec("module", PwColumnType.CATEGORY),
    ColumnSpec("year", PwColumnType.NUMBER),
)


def config(kind: PwKind, dtype: PwDtype = PwDtype.F32) -> IndexConfig:
    return IndexConfig(
        dim=DIM, metric=PwMetric.COSINE, dtype=dtype, kind=kind, code_bits=1, columns=COLUMNS
    )


def vectors(count: int, seed: int) -> npt.NDArray[np.float32]:
    drawn = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn


def batch(drawn: npt.NDArray[np.float32], ids: Sequence[str]) -> RowBatch:
    """Rows whose module is their place modulo 3 and whose year is 2000 + place modulo 10."""
    places = np.arange(len(ids))
    return RowBatch(
        len(ids),
        vectors=drawn,
        ids=ids,
        texts=[f"the text of {one}" for one in ids],
        payloads=[f'{{"id":"{one}"}}'.encode() for one in ids],
        columns=[(places % 3).astype(np.uint32), 2000.0 + places % 10],
    )


def built(
    kind: PwKind, count: int, dtype: PwDtype = PwDtype.F32
) -> tuple[Engine, npt.NDArray[np.float32]]:
    """An index of `count` rows "base 0", "base 1", ... and its vectors, in row order."""
    pages: dict[tuple[int, int], bytes] = {}

    def keep(section: int, index: int, data: bytes) -> None:
        pages[section, index] = data

    drawn = vectors(count, 1)
    builder = IndexBuilder(config(kind, dtype), keep)
    builder.train(drawn)
    rows = batch(drawn, [f"base {i}" for i in range(count)])
    rows.clusters = np.zeros(count, dtype=np.uint32)
    builder.rows(rows)
    head = builder.finish()
    in_order = [pages[key] for key in sorted(pages)]
    return Engine.open(head, lambda wanted: [in_order[page] for page in wanted]), drawn


def module_is(code: int) -> bytes:
    return struct.pack("<3I", PwFilter.EQUAL, 0, code)


def year_from(low: float) -> bytes:
    return struct.pack("<3I2d", PwFilter.RANGE, 1, 1, low, 0.0)


def nearest(engine: Engine, query: npt.NDArray[np.float32], filter: bytes = b"") -> list[int]:
    hits = engine.search_vector(query, 10, rerank=2000, filter=filter).hits
    return [hit.row for hit in hits]


@pytest.mark.parametrize("kind", [PwKind.FLAT, PwKind.SCAN])
def test_random_updates_agree_with_brute_force(kind: PwKind) -> None:
    engine, drawn = built(kind, 500)
    rng = np.random.default_rng(3)
    everything = drawn
    ids = [f"base {i}" for i in range(500)]
    live = dict(zip(ids, range(500), strict=True))
    modules = [i % 3 for i in range(500)]
    for step in range(12):
        count = int(rng.integers(1, 80))
        old = [str(one) for one in rng.choice(sorted(live), size=count // 3, replace=False)]
        new = old + [f"step {step} row {i}" for i in range(count - len(old))]
        more = vectors(count, 100 + step)
        rows = engine.insert(batch(more, new), replace=True)
        assert rows == list(range(len(everything), len(everything) + count))
        everything = np.concatenate([everything, more])
        modules += [i % 3 for i in range(count)]
        live |= dict(zip(new, rows, strict=True))
        gone = [str(one) for one in rng.choice(sorted(live), size=5, replace=False)]
        assert engine.delete([*gone, "nobody"]) == [*(live.pop(one) for one in gone), None]

        query = vectors(1, 1000 + step)[0]
        alive = np.array(sorted(live.values()))
        for filter, keep in (
            (b"", np.ones(len(alive), bool)),
            (module_is(1), np.array([modules[row] == 1 for row in alive])),
        ):
            among = alive[keep]
            expected = among[np.argsort(-(everything[among] @ query), kind="stable")[:10]]
            assert nearest(engine, query, filter) == list(expected)
            if filter:
                assert engine.filter_count(filter) == len(among)
        assert list(engine.live_rows()) == list(alive)
        assert np.abs(engine.vectors(alive.tolist()) - everything[alive]).max() < 1e-6
        assert engine.rows_of_ids(list(live)) == list(live.values())
        assert [one.id for one in engine.records(list(live.values()))] == list(live)
    assert engine.info().deleted == engine.info().rows - len(live)


def test_a_refused_batch_changes_nothing() -> None:
    engine, _ = built(PwKind.SCAN, 50)
    engine.insert(batch(vectors(2, 9), ["a", "b"]))
    before = engine.info()
    good = vectors(3, 10)
    not_finite, zero = good.copy(), good.copy()
    not_finite[2, 7] = np.nan
    zero[1] = 0
    for rows, status, says in (
        (batch(good, ["x", "y", "x"]), PwStatus.PW_DUPLICATE, '"x"'),
        (batch(good, ["x", "b", "y"]), PwStatus.PW_DUPLICATE, '"b"'),
        (batch(good, ["x", "base 7", "y"]), PwStatus.PW_DUPLICATE, '"base 7"'),
        (batch(good, ["x", "", "y"]), PwStatus.PW_BAD_ARGUMENT, "row 1"),
        (batch(not_finite, ["x", "y", "z"]), PwStatus.PW_BAD_ARGUMENT, "component 7"),
        (batch(zero, ["x", "y", "z"]), PwStatus.PW_BAD_ARGUMENT, "zero"),
    ):
        with pytest.raises(EngineError, match=says) as caught:
            engine.insert(rows)
        assert caught.value.status == status
    assert engine.rows_of_ids(["x", "y", "z"]) == [None, None, None]
    after = engine.info()
    assert (after.rows, after.deleted, after.delta_bytes) == (
        before.rows,
        before.deleted,
        before.delta_bytes,
    )


def test_filters_name_the_column_that_is_wrong() -> None:
    engine, _ = built(PwKind.FLAT, 20)
    for program, says in (
        (struct.pack("<3I", PwFilter.EQUAL, 2, 0), "column 2 of 2"),
        (struct.pack("<3I", PwFilter.EQUAL, 1, 0), '"year" holds numbers'),
        (struct.pack("<3I2d", PwFilter.RANGE, 0, 1, 0, 0), '"module" holds categories'),
    ):
        with pytest.raises(EngineError, match=says):
            engine.search_vector(vectors(1, 1)[0], filter=program)
        with pytest.raises(EngineError, match=says):
            engine.filter_count(program)
    both = module_is(2) + year_from(2005) + struct.pack("<I", PwFilter.AND)
    assert engine.filter_count(both) == sum(i % 3 == 2 and i % 10 >= 5 for i in range(20))


@pytest.mark.parametrize("dtype", list(PwDtype))
@pytest.mark.parametrize("kind", [PwKind.FLAT, PwKind.SCAN, PwKind.GRAPH])
def test_an_inserted_row_scores_as_a_built_one(kind: PwKind, dtype: PwDtype) -> None:
    engine, drawn = built(kind, 80, dtype)
    engine.insert(batch(drawn, [f"again {i}" for i in range(80)]))
    for row in range(0, 80, 7):
        hits = engine.search_vector(drawn[row], 160, ef_search=200, rerank=200).hits
        scores = {hit.row: hit.score for hit in hits if hit.exact}
        assert len(scores) == 160
        assert all(abs(scores[one] - scores[80 + one]) < 1e-6 for one in range(80))
        # int8 keeps the length of a row, so what it loses of a score is of second order.
        assert abs(scores[row] - 1) < (1e-6 if dtype == PwDtype.F32 else 1e-4)


def test_an_index_that_lives_by_inserts() -> None:
    engine = Engine.create(config(PwKind.SCAN, PwDtype.I8), budget=8 << 20)
    drawn = vectors(3000, 4)
    for start in range(0, 3000, 500):
        part = slice(start, start + 500)
        engine.insert(batch(drawn[part], [f"row {i}" for i in range(3000)][part]))
    query = vectors(1, 5)[0]
    expected = set(np.argsort(-(drawn @ query))[:10].tolist())
    assert len(expected & set(nearest(engine, query))) >= 9
    values = engine.column_values(0, range(3000))
    assert [int(value) for value in values[:4]] == [0, 1, 2, 0]
    info = engine.info()
    assert info.delta_rows == 3000
    # A row is 36 bytes of vector, 8 of code, 12 of columns, 43 of strings and 24 of their places,
    # and 16 to 48 of the map from ids; the rest is what chunks still have room for.
    assert info.delta_bytes / 3000 < 210
    # The first keyword search makes the inverted index: five postings of 12 bytes a row, one new
    # term of 24 and its place, in arrays that double.
    assert [hit.row for hit in engine.search_text("row 77", 1).hits] == [77]
    assert 90 < (engine.info().delta_bytes - info.delta_bytes) / 3000 < 150
    assert engine.delete(["row 77"]) == [77]
    assert 77 not in [hit.row for hit in engine.search_text("row 77", 10).hits]
    assert _abi.NO_ROW not in engine.live_rows()
