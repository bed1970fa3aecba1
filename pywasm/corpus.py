"""A source to rows: read, cut into chunks, put on disk with their metadata and vectors."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import xxhash

from pywasm.chunking import Chunk, Limits, chunks
from pywasm.columns import Column, ColumnsBuilder
from pywasm.documents import F32, Document, Notes, Source
from pywasm.encoder import Encoder
from pywasm.errors import UserError
from pywasm.progress import Reporter
from pywasm.spool import Spool, SpooledRow

OnDuplicate = Literal["error", "first", "last"]
_TITLE_TOKENS = 24  # of a title, before each chunk for the encoder
_SLACK_TOKENS = 2  # a text counts a token more or less than the sum of its sentences
DEFAULT_CHUNK_TOKENS = 200


@dataclass
class Corpus:
    """What is to be indexed: rows `keep` of the spool; row keep[i] has columns' values [i].

    `vectors` is f32[len(spool), dim] where the source brings them, else None.
    """

    spool: Spool
    keep: npt.NDArray[np.int64]
    columns: list[Column]
    documents: int
    vectors: np.memmap[tuple[int, int], np.dtype[np.float32]] | None

    def select(self, good: npt.NDArray[np.bool_]) -> None:
        """Leaves only the rows of `keep` that are `good`."""
        self.keep = self.keep[good]
        self.columns = [Column(column.info, column.values[good]) for column in self.columns]


def chunk_limits(encoder: Encoder, tokens: int | None, overlap: int | None) -> Limits:
    """What fits the encoder beside prefix, title and special tokens."""
    prefix = encoder.count_tokens(encoder.config.document_prefix)
    reserved = encoder.special_tokens + prefix + _TITLE_TOKENS + _SLACK_TOKENS
    fits = encoder.config.max_tokens - reserved
    if tokens is not None and not 16 <= tokens <= fits:
        raise UserError(
            f"--chunk-tokens {tokens}: expected 16 to {fits} ({encoder.name} takes "
            f"{encoder.config.max_tokens} tokens, {reserved} are for title and prefix)"
        )
    return Limits.of(min(DEFAULT_CHUNK_TOKENS, fits) if tokens is None else tokens, overlap)


def read_corpus(
    source: Source,
    encoder: Encoder | None,
    limits: Limits | None,
    work: Path,
    on_duplicate: OnDuplicate,
    notes: Notes,
    reporter: Reporter,
) -> Corpus:
    """Reads the whole source once. Raises UserError for duplicate ids and wrong dimensions."""
    reader = _Reader(source, encoder, limits, work, notes)
    try:
        with reporter.stage("reading documents", source.total) as stage:
            for document in source.documents(notes):
                reader.add(document)
                stage.advance()
        return reader.finish(on_duplicate)
    except BaseException:
        reader.close()
        raise


class _Reader:
    def __init__(
        self,
        source: Source,
        encoder: Encoder | None,
        limits: Limits | None,
        work: Path,
        notes: Notes,
    ) -> None:
        self._source = source
        self._encoder = encoder
        self._limits = limits
        self._notes = notes
        self._spool = Spool(work / "rows")
        self._columns = ColumnsBuilder(source.numeric_text)
        self._document_ids = array("Q")
        self._row_ids = array("Q")
        self._vectors_file = work / "vectors"
        self._vectors_out = self._vectors_file.open("wb") if source.dim is not None else None

    def add(self, document: Document) -> None:
        number = len(self._document_ids)
        rows = 0
        for row in self._rows(document):
            self._spool.add(row, number)
            self._row_ids.append(_hash(row.id))
            rows += 1
        if not rows:
            self._notes.count("empty documents")
            return
        self._columns.add(document.metadata, rows)
        self._document_ids.append(_hash(document.id))

    def close(self) -> None:
        self._spool.close()
        if self._vectors_out is not None:
            self._vectors_out.close()

    def finish(self, on_duplicate: OnDuplicate) -> Corpus:
        self._spool.freeze()
        document_of_row = self._spool.documents()
        ids = np.array(self._document_ids, np.uint64)
        kept_documents = self._unique(ids, on_duplicate)
        keep = kept_documents[document_of_row] if len(ids) else np.empty(0, np.bool_)
        self._check_row_ids(np.array(self._row_ids, np.uint64)[keep], np.flatnonzero(keep))
        vectors = None
        if self._vectors_out is not None:
            self._vectors_out.close()
            if len(self._spool):
                shape = (len(self._spool), self._source.dim or 0)
                vectors = np.memmap(self._vectors_file, np.float32, "r+", shape=shape)
        return Corpus(
            spool=self._spool,
            keep=np.flatnonzero(keep),
            columns=self._columns.finish(self._notes, keep),
            documents=int(kept_documents.sum()),
            vectors=vectors,
        )

    def _rows(self, document: Document) -> Iterator[SpooledRow]:
        if document.vector is not None:
            self._take_vector(document)
            text = "\n\n".join(block.text for block in document.blocks)
            yield _row(document, document.id, Chunk(text, 0, len(text), "", ""), "")
            return
        if self._encoder is None or self._limits is None:
            raise UserError(f"{document.origin}: brings no vector, and there is no encoder")
        context = self._context(document.title)
        held: Chunk | None = None  # the first chunk's id depends on whether there is a second
        number = 0
        for chunk in chunks(document, self._limits, self._encoder.token_spans):
            if held is not None:
                number += 1
                yield _row(document, f"{document.id}#{number}", held, context)
            held = chunk
        if held is not None:
            name = f"{document.id}#{number + 1}" if number else document.id
            yield _row(document, name, held, context)

    def _take_vector(self, document: Document) -> None:
        vector = document.vector
        assert vector is not None and self._vectors_out is not None
        if len(vector) != self._source.dim:
            raise UserError(
                f"{document.origin}: a vector of {len(vector)} numbers, expected "
                f"{self._source.dim} as in the first row"
            )
        self._vectors_out.write(np.ascontiguousarray(vector, np.float32).tobytes())

    def _context(self, title: str) -> str:
        assert self._encoder is not None
        spans = self._encoder.token_spans([title])[0]
        return title if len(spans) <= _TITLE_TOKENS else title[: spans[_TITLE_TOKENS - 1][1]]

    def _unique(
        self, ids: npt.NDArray[np.uint64], on_duplicate: OnDuplicate
    ) -> npt.NDArray[np.bool_]:
        """Which documents to keep: the first or last of those with the same id."""
        direction = -1 if on_duplicate == "last" else 1
        _, places = np.unique(ids[::direction], return_index=True)
        kept = np.zeros(len(ids), np.bool_)
        kept[::direction][places] = True
        dropped = len(ids) - int(kept.sum())
        if dropped and on_duplicate == "error":
            second = int(np.flatnonzero(~kept)[0])
            first = int(np.flatnonzero(ids == ids[second])[0])
            name, places_of = self._name_and_origins(first, second)
            raise UserError(
                f"id {name!r} occurs twice: {places_of[0]} and {places_of[1]}; give every document "
                "an id of its own, or choose with --on-duplicate first|last"
            )
        self._notes.count("duplicate documents", dropped)
        return kept

    def _name_and_origins(self, *numbers: int) -> tuple[str, list[str]]:
        """By reading the source again: origins of all documents are not held."""
        names: list[str] = []
        wanted = [self._first_row(number).document for number in numbers]
        for document in self._source.documents(Notes()):
            if document.id in wanted:
                names.append(document.origin)
        return wanted[0], names

    def _first_row(self, document: int) -> SpooledRow:
        return self._spool[int(np.searchsorted(self._spool.documents(), document))]

    def _check_row_ids(self, ids: npt.NDArray[np.uint64], rows: npt.NDArray[np.int64]) -> None:
        order = np.argsort(ids, kind="stable")
        same = np.flatnonzero(ids[order][1:] == ids[order][:-1])
        if len(same):
            one, other = (self._spool[int(rows[order[same[0] + i]])] for i in (0, 1))
            raise UserError(
                f"documents {one.document!r} and {other.document!r} both give a passage the id "
                f"{one.id!r}; rename one of them"
            )


def _row(document: Document, name: str, chunk: Chunk, context: str) -> SpooledRow:
    return SpooledRow(
        id=name,
        title=document.title or chunk.heading,
        url=document.url,
        anchor=chunk.anchor,
        document=document.id,
        start=chunk.start,
        text=chunk.text,
        context="" if chunk.text.startswith(context) else context,
        metadata=document.metadata,
    )


def _hash(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"))


def check_vectors(vectors: F32, needs_length: bool) -> tuple[npt.NDArray[np.bool_], str]:
    """Which rows are good, and what is wrong with the first bad one.

    Bad: NaN or infinity, or of length zero where the metric divides by it.
    """
    finite = np.asarray(np.isfinite(vectors).all(axis=1), np.bool_)
    good = finite & vectors.any(axis=1) if needs_length else finite
    bad = np.flatnonzero(~good)
    if not len(bad):
        return good, ""
    what = "length zero, which has no direction (cosine)" if finite[bad[0]] else "NaN or infinity"
    return good, what


def rows_of(vectors: F32, rows: npt.NDArray[np.int64]) -> F32:
    """f32[len(rows), dim] out of a memmap, in memory."""
    return np.ascontiguousarray(vectors[rows], np.float32)
