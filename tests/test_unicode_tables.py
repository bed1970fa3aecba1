"""The engine's Unicode tables are those that the generator writes, and the engine follows them."""

from __future__ import annotations

import unicodedata

import pytest

from pywasm.engine import tokenize
from pywasm.tools import unicode_tables

MATCHING_VERSION = f"Unicode {unicodedata.unidata_version}." in unicode_tables.HEADER.read_text()
needs_version = pytest.mark.skipif(
    not MATCHING_VERSION, reason=f"the tables are not of {unicodedata.unidata_version}"
)


@needs_version
def test_header_is_current() -> None:
    assert unicode_tables.HEADER.read_text() == unicode_tables.header()


@pytest.mark.parametrize(
    ("char", "folded"),
    [
        ("É", "e"), ("ß", "ss"), ("Ⅷ", "viii"), ("ﬃ", "ffi"), ("Ώ", "ω"), ("\uff15", "5"),
        ("\u0401", "\u0435"), ("٣", "3"), ("ｶ", "カ"), ("が", "が"), ("한", "한"), ("ệ", "e"),
        ("Ø", "o"), ("ﻼ", "لا"),
    ],
)  # fmt: skip
def test_fold(char: str, folded: str) -> None:
    assert unicode_tables.fold(ord(char)) == folded


@pytest.mark.parametrize(
    ("char", "kind"),
    [
        ("é", unicode_tables.LETTER), ("٣", unicode_tables.DIGIT), ("中", unicode_tables.BIGRAM),
        ("ー", unicode_tables.BIGRAM), ("ก", unicode_tables.BIGRAM),
        ("\u0e35", unicode_tables.MARK), ("\u0301", unicode_tables.IGNORED),
        ("\u200b", unicode_tables.SEPARATOR), ("🎉", unicode_tables.SEPARATOR),
        ("—", unicode_tables.SEPARATOR),
    ],
)  # fmt: skip
def test_class(char: str, kind: int) -> None:
    assert unicode_tables.class_of(ord(char)) == kind


@needs_version
def test_engine_folds_every_character() -> None:
    """Each code point as a word of its own, through the engine: its class and folding."""
    kept = (unicode_tables.LETTER, unicode_tables.DIGIT, unicode_tables.BIGRAM)
    codes = [*range(128, 0xD800), *range(0xE000, 0x20000), *range(0x2F800, 0x2FA20)]
    words = [code for code in codes if unicode_tables.class_of(code) in kept]
    terms = [token.term for token in tokenize(" ".join(map(chr, codes)))]
    assert terms == [unicode_tables.fold(code) for code in words]
