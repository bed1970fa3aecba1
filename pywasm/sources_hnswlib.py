"""hnswlib's index files as a source: its vectors, and its graph to be taken over as it is."""

from pathlib import Path

import numpy as np

from pywasm.errors import UserError
from pywasm.hnswlib_import import HnswlibIndex, read_hnswlib
from pywasm.sources_table import Columns
from pywasm.sources_vectors import Vectors, VectorSource

HNSWLIB = (".bin", ".hnsw")


class HnswlibSource(VectorSource):
    """Elements that are not deleted, by label. With documents, label i is document i.

    `elements[i]` is the element of `graph` that the i-th document comes from.
    """

    def __init__(
        self, file: Path, dim: int | None, documents: Path | None, columns: Columns
    ) -> None:
        self.graph: HnswlibIndex = read_hnswlib(file, dim)
        alive = np.flatnonzero(~self.graph.deleted)
        if not len(alive):
            raise UserError(f"{file}: no elements in it")
        self.elements = alive[np.argsort(self.graph.labels[alive], kind="stable")]
        graph, elements = self.graph, self.elements
        vectors = Vectors(
            rows=len(elements),
            dim=graph.dim,
            read=lambda: (np.array(graph.vectors[element], np.float32) for element in elements),
            labels=graph.labels[elements],
        )
        super().__init__(file, vectors, documents, columns)
