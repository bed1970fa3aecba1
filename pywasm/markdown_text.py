"""Blocks of Markdown: headings with their anchors, and paragraphs without the markup."""

import re
from collections.abc import Iterable, Iterator

from markdown_it import MarkdownIt
from markdown_it.token import Token

from pywasm.documents import Anchors, Block

_STRETCH = 1 << 18  # characters; longer files are parsed in stretches that end before a heading
_FENCE = re.compile(r" {0,3}(```+|~~~+)")
_ATX = re.compile(r" {0,3}#{1,6}\s")
_EXPLICIT_ID = re.compile(r"\s*\{#([\w\-.:]+)\}\s*$")
_FRONT_MATTER = re.compile(r"---\n(.*?)\n---\n", re.S)

_parser = MarkdownIt("commonmark").enable("table")


def markdown_blocks(lines: Iterable[str]) -> Iterator[Block]:
    """Of a file of any size; what front matter holds is skipped."""
    anchors = Anchors()
    for text, start in _stretches(lines):
        if start == 0 and (front := _FRONT_MATTER.match(text)):
            blank = re.sub(r"[^\n]", " ", front.group())
            text = blank + text[front.end() :]
        yield from _blocks(text, start, anchors)


def _stretches(lines: Iterable[str]) -> Iterator[tuple[str, int]]:
    held: list[str] = []
    length = start = 0
    fence = ""
    for line in lines:
        if match := _FENCE.match(line):
            mark = match.group(1)
            if not fence:
                fence = mark
            elif mark.startswith(fence):
                fence = ""
        breaks = (not fence and _ATX.match(line) is not None) or length > 4 * _STRETCH
        if length > _STRETCH and breaks:
            yield "".join(held), start
            held, start, length = [], start + length, 0
        held.append(line)
        length += len(line)
    yield "".join(held), start


def _blocks(text: str, start: int, anchors: Anchors) -> Iterator[Block]:
    line_starts = [0]
    for line in text.splitlines(keepends=True):
        line_starts.append(line_starts[-1] + len(line))
    tokens = _parser.parse(text)
    level = 0
    at = start
    cells: list[str] = []
    for token in tokens:
        if token.map and token.block:
            at = start + line_starts[min(token.map[0], len(line_starts) - 1)]
        if token.type == "heading_open":
            level = int(token.tag[1])
        elif token.type == "heading_close":
            level = 0
        elif token.type == "tr_open":
            cells = []
        elif token.type == "tr_close":
            if any(cells):
                yield Block(" | ".join(cells), at)
            cells = []
        elif token.type in ("fence", "code_block"):
            if token.content.strip():
                yield Block(token.content.rstrip(), at)
        elif token.type == "inline":
            words = _plain(token.children or [])
            if level:
                explicit = _EXPLICIT_ID.search(words)
                words = _EXPLICIT_ID.sub("", words)
                anchor = explicit.group(1) if explicit else anchors.of(words)
                if words:
                    yield Block(words, at, level, anchor)
            elif token.level > 2 and _in_table(token):
                cells.append(words)
            elif words:
                yield Block(words, at)


def _in_table(token: Token) -> bool:
    # markdown-it gives cells no map of their own lines beyond the row; they sit at level 4.
    return token.level >= 4 and token.map is not None and token.map[1] - token.map[0] <= 1


def _plain(children: list[Token]) -> str:
    """The words of inline markup: link texts, image descriptions, code."""
    words: list[str] = []
    for child in children:
        if child.type in ("softbreak", "hardbreak"):
            words.append("\n")
        elif child.type == "image":
            words.append(_plain(child.children or []))
        elif child.type != "html_inline":
            words.append(child.content)
    return "".join(words).strip()
