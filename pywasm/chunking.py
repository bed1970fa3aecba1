"""Documents to chunks that fit the encoder, cut along headings, paragraphs and sentences.

A chunk never exceeds `Limits.tokens` by the encoder's own count. A heading starts a new chunk
unless the one at hand is still small; where a chunk ends inside a section, the next one begins
with the last sentences of it (`overlap`), so that what stands at a cut is whole in one of them.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from pywasm.documents import Block, Document

TokenSpans = Callable[[Sequence[str]], list[list[tuple[int, int]]]]
_BATCH_CHARACTERS = 1 << 18  # of blocks tokenised in one call
# A sentence ends at ., !, ? before white space, at CJK full stops, and at a line's end.
_SENTENCE_END = re.compile(r"[.!?][\"')\]]*(?=\s)|[。!?]|\n")


@dataclass(frozen=True)
class Limits:
    """In tokens. `small`: a chunk below it goes on over a heading."""

    tokens: int
    overlap: int
    small: int

    @classmethod
    def of(cls, tokens: int, overlap: int | None = None) -> "Limits":
        overlap = tokens // 8 if overlap is None else min(overlap, tokens // 2)
        return cls(tokens, overlap, tokens // 4)


@dataclass(frozen=True, slots=True)
class Chunk:
    """`start` and `end` are offsets in characters in the document's text (documents.Block).

    `anchor` and `heading` are those of the nearest heading at or above the chunk's first own
    sentence.
    """

    text: str
    start: int
    end: int
    heading: str
    anchor: str


@dataclass(frozen=True, slots=True)
class _Piece:
    """A sentence, or the part of one that fits: never longer than a chunk."""

    text: str
    start: int
    tokens: int
    joint: str  # what stands between it and the piece before
    block: Block


def chunks(document: Document, limits: Limits, spans: TokenSpans) -> Iterator[Chunk]:
    """The document's chunks in order; holds one chunk and one batch of blocks at a time."""
    held: list[_Piece] = []
    held_tokens = 0
    fresh = 0  # pieces of `held` that are no overlap
    heading = Block("", 0)
    chunk_heading = heading

    for piece in _pieces(document.blocks, limits.tokens, spans):
        starts_section = piece.block.level > 0 and piece.joint != " "
        full = held_tokens + piece.tokens > limits.tokens
        if held and fresh and (full or (starts_section and held_tokens >= limits.small)):
            yield _chunk(held, chunk_heading)
            held = [] if starts_section else _overlap(held, limits, piece.tokens)
            held_tokens = sum(old.tokens for old in held)
            fresh = 0
        if starts_section:
            heading = piece.block
        if fresh == 0:
            chunk_heading = heading
        held.append(piece)
        held_tokens += piece.tokens
        fresh += 1
    if held and fresh:
        yield _chunk(held, chunk_heading)


def _chunk(pieces: list[_Piece], heading: Block) -> Chunk:
    text = pieces[0].text + "".join(piece.joint + piece.text for piece in pieces[1:])
    last = pieces[-1]
    return Chunk(text, pieces[0].start, last.start + len(last.text), heading.text, heading.anchor)


def _overlap(pieces: list[_Piece], limits: Limits, next_tokens: int) -> list[_Piece]:
    """The last pieces worth at most `overlap` tokens, with room left for the next piece."""
    room = min(limits.overlap, limits.tokens - next_tokens)
    kept: list[_Piece] = []
    for piece in reversed(pieces[1:]):
        if piece.tokens > room:
            break
        room -= piece.tokens
        kept.append(piece)
    return kept[::-1]


def _pieces(blocks: Iterable[Block], tokens: int, spans: TokenSpans) -> Iterator[_Piece]:
    for batch in _batches(blocks):
        for block, tokens_of in zip(batch, spans([b.text for b in batch]), strict=True):
            yield from _sentences(block, tokens_of, tokens)


def _batches(blocks: Iterable[Block]) -> Iterator[list[Block]]:
    batch: list[Block] = []
    size = 0
    for block in blocks:
        batch.append(block)
        size += len(block.text)
        if size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _sentences(block: Block, spans: list[tuple[int, int]], limit: int) -> Iterator[_Piece]:
    """A block as pieces of at most `limit` tokens: whole, by sentences, by tokens."""
    if not spans:
        return
    if len(spans) <= limit // 4 or (block.level and len(spans) <= limit):
        yield _Piece(block.text, block.start, len(spans), "\n\n", block)
        return
    ends = [match.end() for match in _SENTENCE_END.finditer(block.text)]
    first = 0
    joint = "\n\n"
    next_end = 0
    while first < len(spans):
        while next_end < len(ends) and ends[next_end] <= spans[first][0]:
            next_end += 1
        stop = ends[next_end] if next_end < len(ends) else len(block.text)
        last = first
        while last < len(spans) and last - first < limit and spans[last][1] <= stop:
            last += 1
        last = max(last, first + 1)
        begin = spans[first][0]
        end = spans[last][0] if last < len(spans) else len(block.text)
        text = block.text[begin:end].rstrip()
        if text:
            yield _Piece(text, block.start + begin, last - first, joint, block)
        gap = block.text[begin + len(text) : end]
        joint = "\n" if "\n" in gap else " " if gap else ""
        first = last
