"""Blocks of .txt files, of any size."""

from collections.abc import Iterable, Iterator

from pywasm.documents import Block

_LONGEST = 1 << 16  # characters; a longer paragraph is given on in pieces, cut at white space


def text_blocks(lines: Iterable[str]) -> Iterator[Block]:
    """Paragraphs between blank lines, held one at a time."""
    held: list[str] = []
    length = 0
    start = offset = 0
    for line in lines:
        if not line.strip():
            yield from _paragraph(held, start)
            held, length = [], 0
            offset += len(line)
            start = offset
            continue
        held.append(line)
        length += len(line)
        offset += len(line)
        while length > _LONGEST:
            text = "".join(held)
            cut = max(text.rfind(" ", 1, _LONGEST), text.rfind("\n", 1, _LONGEST))
            cut = cut if cut > _LONGEST // 2 else _LONGEST
            yield from _paragraph([text[:cut]], start)
            held, start, length = [text[cut:]], start + cut, length - cut
    yield from _paragraph(held, start)


def _paragraph(pieces: list[str], start: int) -> Iterator[Block]:
    text = "".join(pieces)
    lead = len(text) - len(text.lstrip())
    text = text.strip()
    if text:
        yield Block(text, start + lead)
