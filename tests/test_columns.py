"""Metadata columns: types, codes, missing values."""

import numpy as np

from pywasm._abi import NO_CATEGORY
from pywasm.columns import MOST_CATEGORIES, Column, ColumnsBuilder, as_json, as_text
from pywasm.documents import Metadata, Notes


def build(rows: list[Metadata], numeric_text: bool = False) -> dict[str, Column]:
    builder = ColumnsBuilder(numeric_text)
    for row in rows:
        builder.add(row)
    return {column.info.name: column for column in builder.finish(Notes())}


def test_numbers_and_categories() -> None:
    found = build([{"n": 1.0, "c": "b"}, {"c": "a"}, {"n": 2.5, "c": "b"}])
    assert found["n"].info.type == "number"
    assert (found["n"].info.min, found["n"].info.max) == (1.0, 2.5)
    assert np.array_equal(found["n"].values, [1.0, np.nan, 2.5], equal_nan=True)
    assert found["c"].info.values == ["a", "b"]
    assert found["c"].values.tolist() == [1, 0, 1]


def test_a_column_of_both_is_a_category() -> None:
    found = build([{"m": 3.0}, {"m": "x"}, {}])
    assert found["m"].info.values == ["3", "x"]
    assert found["m"].values.tolist() == [0, 1, NO_CATEGORY]


def test_numbers_in_text_count_only_where_the_format_has_no_others() -> None:
    rows: list[Metadata] = [{"year": "1999", "zip": "01234"}, {"year": "2e3", "zip": "1"}]
    assert build(rows)["year"].info.type == "category"
    found = build(rows, numeric_text=True)
    assert found["year"].values.tolist() == [1999.0, 2000.0]
    assert found["zip"].info.values == ["01234", "1"]


def test_rows_of_a_document_share_its_values_and_dropped_rows_take_theirs_along() -> None:
    builder = ColumnsBuilder()
    builder.add({"c": "x"}, rows=2)
    builder.add({"c": "y"}, rows=1)
    builder.add({"c": "z"}, rows=1)
    keep = np.array([True, True, False, True])
    (column,) = builder.finish(Notes(), keep)
    assert column.info.values == ["x", "z"]
    assert column.values.tolist() == [0, 0, 1]


def test_too_many_values_are_no_filter() -> None:
    builder = ColumnsBuilder()
    for number in range(MOST_CATEGORIES + 1):
        builder.add({"c": f"v{number}"})
    notes = Notes()
    assert builder.finish(notes) == []
    assert "column 'c'" in notes.warnings[0]


def test_values_as_records_show_them() -> None:
    number = build([{"n": 1.0}])["n"].info
    category = build([{"c": "x"}])["c"].info
    assert as_json("2004", number) == 2004 and as_json(2.5, number) == 2.5
    assert as_json(3.0, category) == "3"
    assert as_json(3.0, None) == 3 and as_json("x", None) == "x"
    assert as_text(0.1) == "0.1"
