"""Rows on disk while a site is built: written once in order, read in any order.

A row is JSON: [id, title, url, anchor, document, start, text, context, metadata]. Of each row only
an offset and its document's number are held in memory.
"""

import json
import mmap
from array import array
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pywasm.documents import Metadata


@dataclass(frozen=True, slots=True)
class SpooledRow:
    """`context` is what stands before the text for the encoder only; `start` is the chunk's offset
    in its document."""

    id: str
    title: str
    url: str
    anchor: str
    document: str
    start: int
    text: str
    context: str
    metadata: Metadata

    def embedded_text(self) -> str:
        return f"{self.context}\n{self.text}" if self.context else self.text


class Spool:
    """Append with `add`, then `freeze`, then read."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._out = file.open("wb", buffering=1 << 20)
        self._offsets = array("Q", [0])
        self._documents = array("I")
        self._data: mmap.mmap | bytes = b""

    def add(self, row: SpooledRow, document: int) -> None:
        """`document` numbers the row's document, ascending."""
        data = json.dumps(astuple(row), ensure_ascii=False).encode("utf-8", "replace")
        self._out.write(data)
        self._offsets.append(self._offsets[-1] + len(data))
        self._documents.append(document)

    def freeze(self) -> None:
        self._out.close()
        if self._offsets[-1]:
            with self._file.open("rb") as stream:
                self._data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)

    def close(self) -> None:
        self._out.close()
        if isinstance(self._data, mmap.mmap):
            self._data.close()

    def __len__(self) -> int:
        return len(self._documents)

    def __getitem__(self, row: int) -> SpooledRow:
        return SpooledRow(*json.loads(self._data[self._offsets[row] : self._offsets[row + 1]]))

    def documents(self) -> npt.NDArray[np.uint32]:
        """u32[rows]: the number of each row's document."""
        return np.array(self._documents, np.uint32)
