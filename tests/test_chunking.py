"""Chunks fit, overlap, know their heading, and lose no word."""

import re
import tracemalloc
from collections.abc import Iterator, Sequence
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from pywasm.chunking import Chunk, Limits, chunks
from pywasm.documents import Block, Document
from pywasm.encoder import Encoder
from pywasm.plain_text import text_blocks

LIMITS = Limits(tokens=20, overlap=5, small=5)


def words(texts: Sequence[str]) -> list[list[tuple[int, int]]]:
    """A tokenizer for tests: a token is a word."""
    return [[match.span() for match in re.finditer(r"\S+", text)] for text in texts]


def cut(blocks: list[Block], limits: Limits = LIMITS) -> list[Chunk]:
    return list(chunks(Document(id="d", origin="test", blocks=blocks), limits, words))


def test_a_heading_starts_a_chunk_and_gives_its_anchor() -> None:
    found = cut(
        [
            Block("One", 0, 1, "one"),
            Block("a b c d e f g", 5),
            Block("Two", 20, 2, "two"),
            Block("h i j", 25),
        ]
    )
    assert [(chunk.text, chunk.anchor) for chunk in found] == [
        ("One\n\na b c d e f g", "one"),
        ("Two\n\nh i j", "two"),
    ]
    assert [(chunk.start, chunk.end) for chunk in found] == [(0, 18), (20, 30)]


def test_small_sections_share_a_chunk_under_the_first_heading() -> None:
    found = cut([Block("One", 0, 1, "one"), Block("Two", 5, 2, "two"), Block("a b", 10)])
    assert [(chunk.text, chunk.anchor) for chunk in found] == [("One\n\nTwo\n\na b", "one")]


def test_a_long_paragraph_is_cut_at_sentences_and_overlaps() -> None:
    text = "One two three four five. " * 8
    found = cut([Block(text.strip(), 100)])
    assert [len(chunk.text.split()) for chunk in found] == [20, 20, 10]
    for before, after in pairwise(found):
        assert before.text.endswith("One two three four five.")
        assert after.text.startswith("One two three four five.")
        assert after.start < before.end  # the overlap lies in both
    assert all(text[c.start - 100 : c.end - 100] == c.text for c in found)


def test_a_sentence_longer_than_a_chunk_is_cut_by_tokens() -> None:
    text = " ".join(f"w{i}" for i in range(50))
    found = cut([Block(text, 0)])
    assert [len(chunk.text.split()) for chunk in found] == [20, 20, 10]


def test_an_empty_document_has_no_chunk() -> None:
    assert cut([]) == []
    assert cut([Block("   ", 0)]) == []


paragraph = st.lists(st.sampled_from(["ab", "cd.", "ef", "gh!", "ij"]), min_size=1, max_size=70)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(paragraph, st.sampled_from([0, 0, 0, 1, 2])), max_size=8))
def test_nothing_is_lost_and_nothing_is_too_long(paragraphs: list[tuple[list[str], int]]) -> None:
    blocks = []
    start = 0
    for number, (found, level) in enumerate(paragraphs):
        text = " ".join(f"{word}{number}x{i}" for i, word in enumerate(found))
        blocks.append(Block(text, start, level, f"h{number}" if level else ""))
        start += len(text) + 2
    made = cut(blocks)
    assert all(len(chunk.text.split()) <= LIMITS.tokens for chunk in made)
    seen: dict[str, None] = {}
    for chunk in made:
        seen.update(dict.fromkeys(chunk.text.split()))
    assert list(seen) == [word for block in blocks for word in block.text.split()]
    assert [chunk.start for chunk in made] == sorted(chunk.start for chunk in made)


def test_the_encoders_own_tokens_are_counted(encoder: Encoder) -> None:
    text = "Internationalization of antidisestablishmentarianism. " * 40
    document = Document(id="d", origin="test", blocks=[Block(text, 0)])
    found = list(chunks(document, Limits.of(64), encoder.token_spans))
    assert len(found) > 5
    assert all(encoder.count_tokens(chunk.text) <= 64 for chunk in found)


def test_a_document_of_100_megabytes_is_never_held() -> None:
    line = "Sentence of some twelve words that goes on for a while longer. " * 16 + "\n"
    count = 100_000_000 // len(line)

    def lines() -> Iterator[str]:
        for number in range(count):
            yield line
            if number % 7 == 6:
                yield "\n"

    def coarse(texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """A token every 512 characters: what is tested is who holds what."""
        return [[(i, min(i + 512, len(t))) for i in range(0, len(t), 512)] for t in texts]

    document = Document(id="d", origin="test", blocks=text_blocks(lines()))
    tracemalloc.start()
    last = total = 0
    for chunk in chunks(document, Limits.of(64), coarse):
        total += 1
        last = chunk.end
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total > 2500
    assert last > 99_000_000
    assert peak < 20_000_000
