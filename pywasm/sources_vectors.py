"""Vectors people already have: .npy, .npz and .parquet files, with documents or without."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pywasm.documents import F32, Document, Notes
from pywasm.errors import UserError
from pywasm.sources_table import Columns, TableSource

ARRAYS = (".npy", ".npz")


@dataclass(frozen=True)
class Vectors:
    """A matrix [rows, dim] read row by row, so that it may be larger than memory.

    `labels` names the rows where the file does, ascending: the id, and the row of the documents.
    """

    rows: int
    dim: int
    read: Callable[[], Iterator[F32]]
    labels: npt.NDArray[np.uint64] | None = None


class VectorSource:
    """Row i of the vectors, with row i of a table of documents where one is given.

    Without documents, a row's id is its number or label.
    """

    def __init__(
        self, file: Path, vectors: Vectors, documents: Path | None, columns: Columns
    ) -> None:
        self._file = file
        self._vectors = vectors
        self._table = (
            TableSource(documents, replace(columns, vector="none"), needs_text=False)
            if documents is not None
            else None
        )
        self.title = file.name.split(".")[0]
        self.total: int | None = vectors.rows
        self.dim: int | None = vectors.dim
        self.has_text = self._table is not None and self._table.has_text
        self.numeric_text = self._table is not None and self._table.numeric_text
        self.licences: list[tuple[str, str, str]] = []

    def documents(self, notes: Notes) -> Iterator[Document]:
        vectors = self._vectors.read()
        labels = self._vectors.labels
        if self._table is None:
            for row, vector in enumerate(vectors):
                name = str(row if labels is None else labels[row])
                yield Document(id=name, origin=f"{self._file}: row {row}", vector=vector)
            return
        rows = 0
        for number, document in enumerate(self._table.documents(notes)):
            if labels is not None and (rows == len(labels) or labels[rows] != number):
                continue  # a document whose vector was deleted from the index
            if rows == self._vectors.rows:
                raise UserError(
                    f"{document.origin}: more documents than the {rows:,} vectors of {self._file}"
                )
            document.vector = next(vectors)
            rows += 1
            yield document
        if rows < self._vectors.rows:
            raise UserError(
                f"{self._file}: {self._vectors.rows:,} vectors, but only {rows:,} documents"
            )


def array_vectors(file: Path) -> Vectors:
    """Of a .npy (left on disk) or an .npz (the array called 'vectors', or the only one)."""
    matrix = _read_array(file)
    if matrix.ndim != 2 or not np.issubdtype(matrix.dtype, np.floating):
        raise UserError(
            f"{file}: {matrix.dtype} of shape {matrix.shape}; expected floats of shape (rows, dim)"
        )
    if not matrix.size:
        raise UserError(f"{file}: no vectors in it (shape {matrix.shape})")
    return Vectors(len(matrix), matrix.shape[1], lambda: (row.astype(np.float32) for row in matrix))


def _read_array(file: Path) -> npt.NDArray[np.generic]:
    try:
        loaded = np.load(file, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded as arrays:
            names = list(arrays)
            if "vectors" not in names and len(names) != 1:
                raise UserError(
                    f"{file}: holds {', '.join(names)}; expected an array called 'vectors'"
                )
            array: npt.NDArray[np.generic] = arrays["vectors" if "vectors" in names else names[0]]
            return array
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{file}: not a readable array ({error})") from error


def parquet_vectors(file: Path, columns: Columns) -> Vectors:
    """The vector column of a .parquet, for documents that are in another file."""
    only = Columns(text="none", id="none", vector=columns.vector or "vector")
    table = TableSource(file, only)

    def read() -> Iterator[F32]:
        for document in table.documents(Notes()):
            assert document.vector is not None  # the table has a vector column
            yield document.vector

    return Vectors(table.total or 0, table.dim or 0, read)
