"""Tables: .jsonl, .csv and .parquet, one document a row, read in batches."""

import csv
import gzip
import io
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow  # type: ignore[import-untyped]
import pyarrow.parquet  # type: ignore[import-untyped]

from pywasm.documents import Block, Document, Metadata, Notes
from pywasm.errors import UserError
from pywasm.plain_text import text_blocks
from pywasm.text_file import find_encoding

TABLES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
_BATCH_ROWS = 4096
_USUAL = {
    "text": ("text", "content", "body", "document", "passage"),
    "id": ("id", "_id", "doc_id", "key"),
    "url": ("url", "link", "href"),
    "title": ("title", "name", "headline"),
}


@dataclass(frozen=True)
class Columns:
    """The columns to use; '' takes a usual name where the table has it, 'none' takes none."""

    text: str = ""
    id: str = ""
    url: str = ""
    title: str = ""
    vector: str = ""


class TableSource:
    """Rows as documents. What is no text, id, url, title or vector is metadata.

    A row without an id column is named by the file and its row number, counted from 1.
    """

    def __init__(self, file: Path, columns: Columns, needs_text: bool = True) -> None:
        self._file = file
        self.numeric_text = _kind(file) in (".csv", ".tsv")
        self._names = column_names(file)
        self._columns = self._resolve(columns)
        self.title = file.name.split(".")[0]
        self.licences: list[tuple[str, str, str]] = []
        self.total = _count_rows(file)
        self.has_text = bool(self._columns.text)
        self.dim: int | None = None
        if self._columns.vector:
            first = next(iter(self.documents(Notes())), None)
            if first is None or first.vector is None:
                raise UserError(f"{file}: no rows, so no vectors in {self._columns.vector!r}")
            self.dim = len(first.vector)
        elif needs_text and not self.has_text:
            raise UserError(
                f"{file}: which column is the text? Name it with --text-column "
                f"(columns: {', '.join(self._names)})"
            )

    def documents(self, notes: Notes) -> Iterator[Document]:
        for number, row in enumerate(read_rows(self._file, notes), start=1):
            yield self._document(number, row)

    def _document(self, number: int, row: dict[str, Any]) -> Document:
        columns = self._columns
        origin = f"{self._file}: row {number}"
        used = {columns.text, columns.id, columns.url, columns.title, columns.vector}
        identity = _text(row.get(columns.id)) if columns.id else f"{self._file.stem}:{number}"
        if not identity:
            raise UserError(f"{origin}: column {columns.id!r} is empty; every row needs an id")
        text = _text(row.get(columns.text)) if columns.text else ""
        blocks: Iterator[Block] = text_blocks(io.StringIO(text)) if text else iter(())
        return Document(
            id=identity,
            origin=origin,
            title=_text(row.get(columns.title)),
            url=_text(row.get(columns.url)),
            blocks=blocks,
            metadata=to_metadata({key: row[key] for key in row if key not in used}),
            vector=_vector(origin, columns.vector, row.get(columns.vector))
            if columns.vector
            else None,
        )

    def _resolve(self, asked: Columns) -> Columns:
        chosen: dict[str, str] = {}
        for role in ("text", "id", "url", "title", "vector"):
            name = getattr(asked, role)
            if name and name != "none" and name not in self._names:
                raise UserError(
                    f"{self._file}: no column {name!r} for --{role}-column "
                    f"(columns: {', '.join(self._names)})"
                )
            if not name:
                name = next((usual for usual in _USUAL.get(role, ()) if usual in self._names), "")
            chosen[role] = "" if name == "none" else name
        return Columns(**chosen)


def column_names(file: Path) -> list[str]:
    """Of .jsonl those of the first 100 rows."""
    if _kind(file) == ".parquet":
        return list(_parquet(file).schema_arrow.names)
    names: dict[str, None] = {}
    for number, row in enumerate(read_rows(file, Notes())):
        if number == 100:
            break
        names.update(dict.fromkeys(row))
    return list(names)


def read_rows(file: Path, notes: Notes) -> Iterator[dict[str, Any]]:
    """Rows by column name, from any of the formats (.gz of the text ones too)."""
    match _kind(file):
        case ".parquet":
            for batch in _parquet(file).iter_batches(_BATCH_ROWS):
                yield from _batch_rows(batch)
        case ".csv":
            yield from _csv_rows(file, ",", notes)
        case ".tsv":
            yield from _csv_rows(file, "\t", notes)
        case _:
            yield from _json_rows(file, notes)


def _kind(file: Path) -> str:
    suffixes = [suffix.lower() for suffix in file.suffixes]
    return suffixes[-2] if suffixes[-1] == ".gz" and len(suffixes) > 1 else suffixes[-1]


def _open(file: Path, notes: Notes) -> io.TextIOWrapper:
    if file.suffix.lower() == ".gz":
        stream = gzip.GzipFile(file)
        return io.TextIOWrapper(stream, "utf-8", errors="replace", newline="")
    return file.open("r", encoding=find_encoding(file, notes), errors="replace", newline="")


def _json_rows(file: Path, notes: Notes) -> Iterator[dict[str, Any]]:
    with _open(file, notes) as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(
                    f"{file}: line {number}: not valid JSON ({error.msg}, column {error.colno})"
                ) from error
            if not isinstance(row, dict):
                raise UserError(f"{file}: line {number}: expected a JSON object on every line")
            yield row


def _csv_rows(file: Path, delimiter: str, notes: Notes) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    with _open(file, notes) as stream:
        reader = csv.reader(stream, delimiter=delimiter)
        names = next(reader, None)
        if names is None:
            raise UserError(f"{file}: empty; expected a line of column names")
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise UserError(f"{file}: two columns are called {twice!r}")
        try:
            for row in reader:
                if not row:
                    continue
                if len(row) != len(names):
                    raise UserError(
                        f"{file}: line {reader.line_num}: {len(row)} fields, "
                        f"expected {len(names)} as in the first line"
                    )
                yield dict(zip(names, row, strict=True))
        except csv.Error as error:
            raise UserError(f"{file}: line {reader.line_num}: {error}") from error


def _parquet(file: Path) -> pyarrow.parquet.ParquetFile:
    try:
        return pyarrow.parquet.ParquetFile(file)
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{file}: not a readable Parquet file ({reason})") from error


def _batch_rows(batch: pyarrow.RecordBatch) -> Iterator[dict[str, Any]]:
    """Vector columns become arrays at once: a list of Python floats a row would be slow."""
    columns: dict[str, list[Any]] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        columns[name] = _vectors_of(column) or column.to_pylist()
    for number in range(batch.num_rows):
        yield {name: values[number] for name, values in columns.items()}


def _vectors_of(column: pyarrow.Array) -> list[npt.NDArray[np.float32]] | None:
    kind = column.type
    lists = pyarrow.types.is_list(kind) or pyarrow.types.is_large_list(kind)
    lists = lists or pyarrow.types.is_fixed_size_list(kind)
    if not lists or not pyarrow.types.is_floating(kind.value_type) or column.null_count:
        return None
    flat = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    if pyarrow.types.is_fixed_size_list(kind):
        return list(flat.reshape(len(column), kind.list_size))
    ends = np.asarray(column.offsets)
    return np.split(flat, ends[1:-1] - ends[0])


def _count_rows(file: Path) -> int | None:
    return int(_parquet(file).metadata.num_rows) if _kind(file) == ".parquet" else None


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return value if isinstance(value, str) else str(value)


def _vector(origin: str, column: str, value: Any) -> npt.NDArray[np.float32]:
    if isinstance(value, str):  # a vector in a .csv
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            value = value.split()
    try:
        vector = np.asarray(value, np.float32)
    except (TypeError, ValueError):
        vector = np.empty((0, 0), np.float32)
    if vector.ndim != 1 or not len(vector):
        raise UserError(f"{origin}: column {column!r} is no list of numbers")
    return vector


def to_metadata(row: dict[str, Any]) -> Metadata:
    """Numbers stay numbers, everything else becomes text; missing values are left out."""
    metadata: Metadata = {}
    for name, value in row.items():
        match value:
            case None | "":
                continue
            case bool():
                metadata[name] = "true" if value else "false"
            case int() | float():
                if math.isfinite(value):
                    metadata[name] = float(value)
            case str():
                metadata[name] = value
            case list() | dict() | np.ndarray():
                as_list = value.tolist() if isinstance(value, np.ndarray) else value
                metadata[name] = json.dumps(as_list, ensure_ascii=False, default=str)
            case _:
                metadata[name] = str(value)
    return metadata
