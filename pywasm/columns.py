"""Metadata columns: what a value is, and the codes of categories, found while rows stream by."""

import math
import re
from array import array
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pywasm._abi import NO_CATEGORY
from pywasm.documents import Metadata, Notes
from pywasm.manifest import ColumnInfo

MOST_CATEGORIES = 20_000  # more distinct values identify rows instead of grouping them
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Column:
    """One finished column: u32[rows] codes of `info.values`, or f64[rows] (NaN: missing)."""

    info: ColumnInfo
    values: npt.NDArray[np.uint32] | npt.NDArray[np.float64]


class ColumnsBuilder:
    """Collects columns row by row; 12 bytes a value.

    A column is a number where every value is one (with `numeric_text` also text that reads as one,
    for formats that know only text), else a category. `numeric_text` as '007' never reads as 7.
    """

    def __init__(self, numeric_text: bool = False) -> None:
        self._numeric_text = numeric_text
        self._rows = 0
        self._columns: dict[str, _Collected] = {}

    def add(self, metadata: Metadata, rows: int = 1) -> None:
        """The values of one document, for each of its `rows` chunks."""
        for name, value in metadata.items():
            column = self._columns.get(name)
            if column is None:
                column = self._columns[name] = _Collected(self._numeric_text)
            column.pad(self._rows)
            column.add(value, rows)
        self._rows += rows

    def finish(self, notes: Notes, keep: npt.NDArray[np.bool_] | None = None) -> list[Column]:
        """Columns by name, of the rows of `keep` (all). Drops those that no filter can use."""
        finished = []
        for name in sorted(self._columns):
            collected = self._columns[name]
            collected.pad(self._rows)
            column = collected.finish(name, keep)
            if column is None:
                notes.warn(
                    f"column {name!r}: more than {MOST_CATEGORIES:,} distinct values; it is shown "
                    "with results, but can't be filtered by"
                )
            else:
                finished.append(column)
        return finished


class _Collected:
    def __init__(self, numeric_text: bool) -> None:
        self._numeric_text = numeric_text
        self._numbers = array("d")
        self._codes = array("I")
        self._dictionary: dict[str, int] = {}
        self._all_numbers = True
        self._too_many = False

    def pad(self, rows: int) -> None:
        """Missing values up to row `rows`."""
        missing = rows - len(self._codes)
        self._numbers.extend([math.nan] * missing)
        self._codes.extend([NO_CATEGORY] * missing)

    def add(self, value: str | float, rows: int) -> None:
        number = self._number(value)
        if number is None:
            self._all_numbers = False
            number = math.nan
        self._numbers.extend([number] * rows)
        self._codes.extend([self._code(as_text(value))] * rows)

    def finish(self, name: str, keep: npt.NDArray[np.bool_] | None) -> Column | None:
        chosen: slice | npt.NDArray[np.bool_] = slice(None) if keep is None else keep
        if self._all_numbers:
            numbers = np.array(self._numbers, np.float64)[chosen]
            present = numbers[~np.isnan(numbers)]
            low, high = (present.min(), present.max()) if len(present) else (0.0, 0.0)
            ends = {"min": float(low), "max": float(high)}
            return Column(ColumnInfo(name=name, type="number", values=None, **ends), numbers)
        if self._too_many:
            return None
        codes = np.array(self._codes, np.uint32)[chosen]
        texts = list(self._dictionary)
        present_codes = np.unique(codes[codes != NO_CATEGORY])
        values = sorted(texts[code] for code in present_codes)
        place = {text: number for number, text in enumerate(values)}
        renumbered = np.full(len(texts) + 1, NO_CATEGORY, np.uint32)
        for code in present_codes:
            renumbered[code] = place[texts[code]]
        codes = renumbered[np.minimum(codes, len(texts))]
        info = ColumnInfo(name=name, type="category", values=values, min=None, max=None)
        return Column(info, codes)

    def _number(self, value: str | float) -> float | None:
        if isinstance(value, str):
            if not (self._numeric_text and _NUMBER.fullmatch(value)):
                return None
            value = float(value)
        return value if math.isfinite(value) else None

    def _code(self, text: str) -> int:
        code = self._dictionary.get(text)
        if code is None:
            if len(self._dictionary) >= MOST_CATEGORIES:
                self._too_many = True
                return NO_CATEGORY
            code = self._dictionary[text] = len(self._dictionary)
        return code


def as_text(value: str | float) -> str:
    """A value as a category shows it: 3.0 is '3'."""
    if isinstance(value, str):
        return value
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


def as_json(value: str | float, column: ColumnInfo | None) -> str | int | float:
    """A value as a record's metadata holds it: of the type of its column."""
    if column is not None and column.type == "number":
        number = float(value)
        return int(number) if number.is_integer() and abs(number) < 2**53 else number
    if column is None and not isinstance(value, str):
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    return as_text(value)
