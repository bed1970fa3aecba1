"""Blocks of reStructuredText, by its line structure: titles, directives, paragraphs."""

import re
from collections.abc import Iterable, Iterator

from pywasm.documents import Block

_ADORNMENT = re.compile(r"([=\-`:'\"~^_*+#<>.])\1+\s*$")
_LABEL = re.compile(r"\.\. _([^:`]+):\s*$")
_DIRECTIVE = re.compile(r"(\s*)\.\. ([\w\-:.]+)::\s*(.*)$")
_COMMENT = re.compile(r"(\s*)\.\.(\s|$)")
_FIELD = re.compile(r"\s*:[\w\- ]+:(\s|$)")
_ROLE = re.compile(r":[\w:\-+.]+:`([^`]+)`")
_LITERAL = re.compile(r"``([^`]+)``")
_LINK = re.compile(r"`([^`<]+?)\s*(?:<[^>]*>)?`_{1,2}")
_INTERPRETED = re.compile(r"`([^`]+)`")
_EMPHASIS = re.compile(r"(?<!\w)\*{1,2}([^*\s](?:[^*]*[^*\s])?)\*{1,2}(?!\w)")
_SKIPPED = {
    "toctree",
    "index",
    "image",
    "figure",
    "contents",
    "raw",
    "include",
    "only",
    "highlight",
    "testsetup",
    "currentmodule",
    "module",
    "sectionauthor",
    "moduleauthor",
}


def rst_blocks(lines: Iterable[str]) -> Iterator[Block]:
    """Titles with the anchors that docutils gives them, and paragraphs without the markup."""
    reader = _Reader()
    for line in lines:
        yield from reader.line(line)
    yield from reader.end()


class _Reader:
    def __init__(self) -> None:
        self._held: list[str] = []
        self._start = 0
        self._offset = 0
        self._levels: list[str] = []  # adornments in the order in which they appear
        self._overline = ""
        self._label = ""
        self._skip_deeper_than: int | None = None

    def line(self, line: str) -> Iterator[Block]:
        at = self._offset
        self._offset += len(line)
        bare = line.rstrip()
        indent = len(line) - len(line.lstrip())
        if self._skip_deeper_than is not None:
            if not bare or indent > self._skip_deeper_than:
                return
            self._skip_deeper_than = None
        if not bare:
            yield from self._flush()
            self._overline = ""
            return
        if _ADORNMENT.match(bare) and len(bare) >= 3:
            if self._is_title(bare):
                yield self._title(bare)
            else:
                yield from self._flush()
                self._overline = bare
            return
        if self._starts_markup(bare):
            yield from self._flush()
            rest = self._markup(bare, indent)
            if rest:
                yield Block(_plain(rest), at)
            return
        if not self._held:
            self._start = at + indent
        self._held.append(bare)

    def end(self) -> Iterator[Block]:
        yield from self._flush()

    def _is_title(self, adornment: str) -> bool:
        return len(self._held) == 1 and len(adornment) >= min(len(self._held[0].strip()), 3)

    def _title(self, adornment: str) -> Block:
        style = adornment[0] * (2 if self._overline else 1)
        if style not in self._levels:
            self._levels.append(style)
        words = _plain(self._held[0])
        anchor = self._label or re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
        block = Block(words, self._start, min(self._levels.index(style) + 1, 6), anchor)
        self._held, self._overline, self._label = [], "", ""
        return block

    def _starts_markup(self, bare: str) -> bool:
        if _COMMENT.match(bare) or _DIRECTIVE.match(bare):
            return True
        return not self._held and _FIELD.match(bare) is not None

    def _markup(self, bare: str, indent: int) -> str:
        """What a line of markup says itself; what it skips is remembered."""
        if label := _LABEL.match(bare):
            self._label = re.sub(r"[^a-z0-9]+", "-", label.group(1).lower()).strip("-")
            return ""
        if directive := _DIRECTIVE.match(bare):
            name = directive.group(2)
            if name in _SKIPPED:
                self._skip_deeper_than = indent
                return ""
            return directive.group(3)
        if _COMMENT.match(bare):
            self._skip_deeper_than = indent
        return ""

    def _flush(self) -> Iterator[Block]:
        if self._held:
            words = _plain("\n".join(line.strip() for line in self._held))
            if words:
                yield Block(words, self._start)
        self._held = []


def _plain(text: str) -> str:
    text = _ROLE.sub(lambda m: _target(m.group(1)), text)
    text = _LITERAL.sub(r"\1", text)
    text = _LINK.sub(r"\1", text)
    text = _INTERPRETED.sub(r"\1", text)
    text = _EMPHASIS.sub(r"\1", text)
    text = re.sub(r"::$", ":", text)
    return text.strip()


def _target(role: str) -> str:
    """'the text <target>' -> 'the text', '~os.path.join' -> 'join', '!name' -> 'name'."""
    if match := re.match(r"(.+?)\s*<[^>]+>$", role, re.S):
        return match.group(1)
    if role.startswith("~"):
        return role[1:].rsplit(".", 1)[-1]
    return role.lstrip("!")
