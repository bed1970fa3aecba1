"""Vectors people already have: .npy and .npz files, and hnswlib indexes, with documents or without."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pywasm.documents import Document, Notes
from pywasm.errors import UserError
from pywasm.sources_table import Columns, TableSource

ARRAYS = (".npy", ".npz")


class VectorSource:
    """Row i of a matrix [rows, dim], with row i of a table of documents where one is given.

    Without documents, a row's id is its number (or its label, for an imported index).
    """

    def __init__(
        self,
        file: Path,
        vectors: npt.NDArray[np.floating],
        documents: Path | None,
        columns: Columns,
        labels: npt.NDArray[np.uint64] | None = None,
    ) -> None:
        self._file = file
        self._vectors = vectors
        self._labels = labels
        self._table = TableSource(documents, columns) if documents is not None else None
        self.title = file.name.split(".")[0]
        self.total: int | None = len(vectors)
        self.dim: int | None = vectors.shape[1]
        self.has_text = self._table is not None and self._table.has_text
        self.licences: list[tuple[str, str, str]] = []

    def documents(self, notes: Notes) -> Iterator[Document]:
        if self._table is None:
            for row, vector in enumerate(self._vectors):
                name = str(row if self._labels is None else self._labels[row])
                yield Document(id=name, origin=f"{self._file}: row {row}", vector=vector)
            return
        rows = 0
        for document in self._table.documents(notes):
            if rows == len(self._vectors):
                raise UserError(
                    f"{document.origin}: more documents than the {rows:,} vectors of {self._file}"
                )
            row = rows if self._labels is None else int(self._labels[rows])
            if row >= len(self._vectors):
                raise UserError(f"{self._file}: label {row} has no document of that row")
            document.vector = self._vectors[rows]
            rows += 1
            yield document
        if rows < len(self._vectors):
            raise UserError(
                f"{self._file}: {len(self._vectors):,} vectors, but only {rows:,} documents"
            )


def read_vectors(file: Path) -> npt.NDArray[np.floating]:
    """A matrix [rows, dim], left on disk where it is a .npy. In an .npz the array called
    'vectors', or the only one."""
    try:
        if file.suffix.lower() == ".npy":
            vectors = np.load(file, mmap_mode="r", allow_pickle=False)
        else:
            with np.load(file, allow_pickle=False) as arrays:
                names = list(arrays)
                if "vectors" not in names and len(names) != 1:
                    raise UserError(
                        f"{file}: holds {', '.join(names)}; expected an array called 'vectors'"
                    )
                vectors = arrays["vectors" if "vectors" in names else names[0]]
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{file}: not a readable array ({error})") from error
    if vectors.ndim != 2 or not np.issubdtype(vectors.dtype, np.floating):
        raise UserError(
            f"{file}: {vectors.dtype} of shape {vectors.shape}; expected floats of shape (rows, dim)"
        )
    if not vectors.size:
        raise UserError(f"{file}: no vectors in it (shape {vectors.shape})")
    return vectors
