"""Plain text, Markdown, reStructuredText and HTML to blocks; encodings of files."""

from pathlib import Path

import pytest

from pywasm.documents import Block, Notes
from pywasm.html_text import read_page
from pywasm.markdown_text import markdown_blocks
from pywasm.plain_text import text_blocks
from pywasm.rst_text import rst_blocks
from pywasm.text_file import find_encoding, read_text


def lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def plain(blocks: list[Block]) -> list[tuple[int, str, str]]:
    return [(block.level, block.text, block.anchor) for block in blocks]


def test_plain_text_knows_where_paragraphs_are() -> None:
    text = "one\ntwo\n\n\n  three\n"
    found = list(text_blocks(lines(text)))
    assert [(block.text, block.start) for block in found] == [("one\ntwo", 0), ("three", 12)]
    assert all(text[b.start : b.start + len(b.text)] == b.text for b in found)


def test_a_line_without_end_comes_in_pieces_that_meet() -> None:
    text = "word " * 60_000
    found = list(text_blocks([text]))
    assert len(found) > 3
    assert " ".join(block.text for block in found).split() == text.split()
    assert all(text[b.start :].startswith(b.text) for b in found)


MARKDOWN = """---
title: hidden
---
# What's *new*?

A [link](http://x.y) with `code`
over two lines.

## Setup {#install}

- first
- second

```python
# no heading
x = 1
```

| a | b |
|---|---|
| 1 | 2 |

## What's new?
"""


def test_markdown_loses_its_markup_and_keeps_anchors() -> None:
    assert plain(list(markdown_blocks(lines(MARKDOWN)))) == [
        (1, "What's new?", "whats-new"),
        (0, "A link with code\nover two lines.", ""),
        (2, "Setup", "install"),
        (0, "first", ""),
        (0, "second", ""),
        (0, "# no heading\nx = 1", ""),
        (0, "a | b", ""),
        (0, "1 | 2", ""),
        (2, "What's new?", "whats-new-1"),
    ]


def test_markdown_offsets_survive_stretches() -> None:
    section = "# Heading\n\n" + "Some words in a paragraph.\n\n" * 200
    text = section * 60  # several stretches
    found = list(markdown_blocks(lines(text)))
    assert sum(block.level == 1 for block in found) == 60
    assert found[-1].start == text.rindex("Some words")
    assert [b.anchor for b in found if b.level][1] == "heading-1"


RST = """.. _top-label:

=====
Title
=====

A :func:`~os.path.join` and ``literal`` and `link <http://x>`_.

.. toctree::
   :maxdepth: 2

   hidden

Part one
--------

.. note:: Mind this.

Words in *emphasis*.

.. a comment
   over two lines

Part two
--------
"""


def test_rst_titles_directives_and_roles() -> None:
    assert plain(list(rst_blocks(lines(RST)))) == [
        (1, "Title", "top-label"),
        (0, "A join and literal and link.", ""),
        (2, "Part one", "part-one"),
        (0, "Mind this.", ""),
        (0, "Words in emphasis.", ""),
        (2, "Part two", "part-two"),
    ]


PAGE = """<!doctype html><html lang="en"><head><title>Site - Page</title></head><body>
<nav><a href="/">Home</a> <a href="/all">All the other pages of this site</a></nav>
<main><article><h1 id="top">Gardening<a class="headerlink" href="#top">¶</a></h1>
<p>Tomatoes need a great deal of sun, regular water and some patience before they ripen.</p>
<section id="pests"><h2>Pests</h2>
<p>Slugs eat young lettuce during rainy nights, and beer traps help only a little.</p>
<pre>x = 1
y = 2</pre></section></article></main>
<footer>Copyright somebody, all rights reserved, imprint, contact</footer></body></html>"""


def test_html_drops_what_surrounds_the_content_and_keeps_anchors() -> None:
    page = read_page(PAGE)
    assert (page.title, page.language) == ("Gardening", "en")
    headings = [(block.level, block.text, block.anchor) for block in page.blocks if block.level]
    assert headings == [(1, "Gardening", "top"), (2, "Pests", "pests")]
    text = "\n".join(block.text for block in page.blocks)
    assert "Slugs eat young lettuce" in text and "x = 1\ny = 2" in text
    assert "Copyright" not in text and "other pages" not in text
    assert "\ue000" not in text


@pytest.mark.parametrize("html", ["", "   ", "<!-- only -->", "<html><body></body></html>"])
def test_html_without_text_has_no_blocks(html: str) -> None:
    assert read_page(html).blocks == []


def test_a_page_with_little_text_is_not_lost() -> None:
    page = read_page("<html><body><h2>Short</h2><div>Just this.</div></body></html>")
    assert [block.text for block in page.blocks] == ["Short", "Just this."]


def test_a_very_large_page_is_read_whole() -> None:
    page = read_page("<body>" + "<p>Some words here.</p>" * 150_000 + "</body>")
    assert len(page.blocks) == 150_000


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_unicode_files_need_no_warning(tmp_path: Path, encoding: str) -> None:
    notes = Notes()
    file = tmp_path / "a.txt"
    file.write_text("Größe und Maß", encoding)
    assert read_text(file, notes) == "Größe und Maß"
    assert notes.warnings == []


def test_another_encoding_is_guessed_with_a_warning_that_names_the_file(tmp_path: Path) -> None:
    notes = Notes()
    file = tmp_path / "latin.txt"
    file.write_bytes(("Die Größe der Öfen in München. " * 20).encode("cp1252"))
    assert read_text(file, notes).startswith("Die Größe der Öfen in München.")
    assert str(file) in notes.warnings[0] and "byte 6" in notes.warnings[0]


def test_damaged_utf8_is_read_as_utf8(tmp_path: Path) -> None:
    notes = Notes()
    file = tmp_path / "damaged.txt"
    file.write_bytes("Größe ".encode() * 200_000 + b"\xff end")
    assert read_text(file, notes).endswith("� end")
    assert "byte 1,600,000" in notes.warnings[0]


def test_a_character_across_two_pieces_is_no_error(tmp_path: Path) -> None:
    notes = Notes()
    file = tmp_path / "long.txt"
    file.write_bytes(b"a" * ((1 << 20) - 1) + "ü".encode())
    assert find_encoding(file, notes) == "utf-8"
    assert notes.warnings == []
