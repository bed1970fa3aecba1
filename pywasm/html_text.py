"""Blocks of HTML pages: trafilatura finds the content, headings keep their anchors.

trafilatura drops ids, so every heading's id travels through it as a mark in the heading's text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import lxml.etree
import lxml.html
import trafilatura

from pywasm.documents import Block

_LARGEST = 4 << 20  # characters; beyond it all text is taken: content extraction is superlinear
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_BLOCKS = {*_HEADINGS, "p", "li", "pre", "td", "th", "dt", "dd", "blockquote", "figcaption"}
_IGNORED = ("script", "style", "noscript", "template", "nav", "header", "footer", "aside", "form")
_MARK = re.compile("\ue000(.*?)\ue001")
_PERMALINK = re.compile(r"[¶#§\uf0c1🔗]\s*$")


@dataclass(frozen=True)
class Page:
    title: str
    language: str
    blocks: list[Block]


def read_page(html: str) -> Page:
    """Title, language and content of a page. Blocks are empty where the page has no text."""
    html = re.sub(r"^\s*<\?xml[^>]*\?>", "", html)
    if not html.strip():
        return Page("", "", [])
    try:
        tree = lxml.html.document_fromstring(
            html, parser=lxml.html.HTMLParser(huge_tree=True, encoding=None)
        )
    except lxml.etree.ParserError:  # nothing but comments or white space
        return Page("", "", [])
    title = " ".join((tree.findtext(".//title") or "").split())
    language = tree.get("lang", "")
    _mark_headings(tree)
    pieces: list[tuple[int, str]] = []
    if len(html) <= _LARGEST:
        pieces = list(_content(tree))
    if not pieces:
        pieces = list(_everything(tree))
    blocks = list(_place(pieces))
    heading = next((block.text for block in blocks if block.level == 1), "")
    return Page(heading or title, language, blocks)


def _mark_headings(tree: lxml.html.HtmlElement) -> None:
    for heading in tree.iter(*_HEADINGS):
        anchor = heading.get("id") or _id_inside(heading) or _id_of_section(heading)
        for link in heading.xpath(".//a"):
            if _PERMALINK.fullmatch((link.text_content() or "").strip() or " "):
                link.drop_tree()
        if anchor:
            heading.text = f"\ue000{anchor}\ue001{heading.text or ''}"


def _id_inside(heading: lxml.html.HtmlElement) -> str:
    for element in heading.iter("a", "span"):
        if name := element.get("id") or element.get("name"):
            return name
    return ""


def _id_of_section(heading: lxml.html.HtmlElement) -> str:
    parent = heading.getparent()
    if parent is not None and parent.tag in ("section", "div", "article"):
        first = next(
            (child for child in parent if isinstance(child.tag, str) and child.tag != "span"), None
        )
        if first is heading:
            return parent.get("id") or ""
    return ""


def _content(tree: lxml.html.HtmlElement) -> Iterator[tuple[int, str]]:
    """(heading level or 0, text) of what trafilatura takes for the content."""
    found = trafilatura.bare_extraction(
        tree, include_comments=False, include_tables=True, favor_recall=True, with_metadata=False
    )
    body = getattr(found, "body", None)
    if body is None:
        return
    for element in body.iter("head", "p", "item", "code", "quote", "cell"):
        if any(
            parent.tag in ("p", "item", "code", "quote", "cell", "head")
            for parent in element.iterancestors()
        ):
            continue
        text = "".join(element.itertext())
        level = 0
        if element.tag == "head":
            level = int(re.sub(r"\D", "", element.get("rend", "")) or 2)
        # <pre> arrives as code or as a quotation; its lines mean something.
        keeps_lines = element.tag in ("code", "quote")
        yield level, text.strip("\n") if keeps_lines else _squeeze(text)


def _everything(tree: lxml.html.HtmlElement) -> Iterator[tuple[int, str]]:
    """All text of <main>, or of the body, without what never is content."""
    root = next(tree.iter("main"), None)
    if root is None:
        root = next(tree.iter("body"), tree)
    for element in list(root.iter(*_IGNORED)):
        element.drop_tree()
    held: list[str] = []

    def flush() -> Iterator[tuple[int, str]]:
        text = _squeeze("".join(held))
        held.clear()
        if text:
            yield 0, text

    for event, element in lxml.etree.iterwalk(root, events=("start", "end", "comment", "pi")):
        if event in ("comment", "pi"):
            held.append(element.tail or "")
            continue
        block = element.tag in _BLOCKS or element.tag in ("div", "section", "article", "tr", "br")
        if event == "start":
            if block:
                yield from flush()
            held.append(element.text or "")
        else:
            if element.tag in _HEADINGS:
                text = _squeeze("".join(held))
                held.clear()
                if text:
                    yield int(element.tag[1]), text
            elif block:
                yield from flush()
            if element is not root:
                held.append(element.tail or "")
    yield from flush()


def _place(pieces: list[tuple[int, str]]) -> Iterator[Block]:
    offset = 0
    for level, text in pieces:
        mark = _MARK.search(text)
        text = _MARK.sub("", text).strip()
        if level:
            text = _PERMALINK.sub("", text).strip()
        if not text:
            continue
        yield Block(text, offset, level, mark.group(1) if mark and level else "")
        offset += len(text) + 2  # the extracted text joins blocks by a blank line


def _squeeze(text: str) -> str:
    return " ".join(text.split())
