"""What every source yields: documents made of blocks, each with its place."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

Metadata = dict[str, str | float]
F32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Block:
    """A heading (level 1 to 6) or a paragraph (level 0).

    `start` is its offset in characters in the document's text as the source reads it (the file for
    plain text, Markdown and reStructuredText; the extracted text for HTML). `anchor` is the
    fragment of a heading's link, without '#', or empty.
    """

    text: str
    start: int
    level: int = 0
    anchor: str = ""


@dataclass(slots=True)
class Document:
    """One document. `blocks` may be read once, and lazily: a document can be large.

    `origin` says where it came from, for errors: a file, or a file and a row. `vector` is given
    where the source brings its own, f32[dim].
    """

    id: str
    origin: str
    title: str = ""
    url: str = ""
    blocks: Iterable[Block] = ()
    metadata: Metadata = field(default_factory=dict)
    vector: F32 | None = None


class Notes:
    """What a build should tell at its end: warnings by their words, and counts."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.counts: dict[str, int] = {}

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def count(self, name: str, by: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + by


class Source(Protocol):
    """A stream of documents, the same each time it is read from unchanged input.

    `total` is about how many there are (None: unknown), `dim` the dimension of the vectors it
    brings (None: texts to be embedded), `has_text` whether there is anything for keyword search,
    `numeric_text` whether its format knows only text, so that numbers come as such.
    `licences` are (what, licence, url) of the material itself, where known.
    """

    title: str
    total: int | None
    dim: int | None
    has_text: bool
    numeric_text: bool
    licences: list[tuple[str, str, str]]

    def documents(self, notes: Notes) -> Iterator[Document]: ...


class Anchors:
    """Heading anchors as GitHub and most generators make them, numbered where they repeat."""

    def __init__(self) -> None:
        self._used: dict[str, int] = {}

    def of(self, heading: str) -> str:
        """'What's new?' -> 'whats-new', the second time 'whats-new-1'."""
        text = unicodedata.normalize("NFC", heading).strip().lower()
        slug = re.sub(r"\s", "-", re.sub(r"[^\w\- ]", "", text))
        seen = self._used.get(slug)
        self._used[slug] = 0 if seen is None else seen + 1
        return slug if seen is None else f"{slug}-{seen + 1}"


def paragraphs(text: str, start: int = 0) -> Iterator[Block]:
    """The paragraphs of a text: stretches between blank lines."""
    for match in re.finditer(r"\S(?:.|\n(?!\s*\n))*", text):
        stretch = match.group().rstrip()
        if stretch:
            yield Block(stretch, start + match.start())
