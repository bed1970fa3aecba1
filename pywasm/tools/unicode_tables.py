"""Generates ``kernels_wasm/src/unicode_tables.h`` from Python's ``unicodedata``.

The engine's segmentation (``kernels_wasm/src/segment.cpp``) needs two things of Unicode: what
class a code point is of, and what it is folded to. Both are written here as byte strings of
LEB128 varints (as in ``kernels_wasm/src/bytes.h``), which ``unicode.cpp`` expands once:

``kClassBlob``
    ranges in ascending order, each ``gap * 8 + class, count``; ``gap`` counts code points since
    the end of the range before. What no range holds is a separator.
``kFoldGaps``, ``kFoldCounts``, ``kFoldTargets``
    runs in ascending order: of each ``gap``, ``count * 4 + mode``, ``zigzag(target - after)``,
    apart because they compress better so. Mode 0: code point ``first + i`` is folded to
    ``target + i``; 1: ``first + 2 i`` to ``target + 2 i`` (and the code points between are left
    alone); 2: ``first + i`` to ``target``. ``gap`` counts code points since the last one of the run
    before, ``after`` is what the run before would have folded its next one to.
``kFoldStringBlob``
    ``gap, bytes, UTF-8`` of code points that are folded to several.

Run ``python -m pywasm.tools.unicode_tables`` to write the header, with ``--check`` to compare it.
Tables depend on the Unicode version of the interpreter, which the header names: ``--check`` under
another version says so and compares nothing.
"""

from __future__ import annotations

import argparse
import functools
import re
import sys
import unicodedata
from pathlib import Path

HEADER = Path(__file__).parents[2] / "kernels_wasm" / "src" / "unicode_tables.h"

SEPARATOR, LETTER, DIGIT, MARK, IGNORED, BIGRAM = range(6)

# Scripts written without spaces between words (or, Korean, with particles joined to them): the
# starts of their characters' names. Their text is indexed as pairs of neighbouring characters.
BIGRAM_NAMES = (
    "CJK UNIFIED IDEOGRAPH", "CJK COMPATIBILITY IDEOGRAPH", "HIRAGANA", "KATAKANA",
    "HALFWIDTH KATAKANA", "HANGUL", "IDEOGRAPHIC", "BOPOMOFO", "YI SYLLABLE", "TANGUT", "NUSHU",
    "VERTICAL IDEOGRAPHIC", "THAI", "LAO", "KHMER", "MYANMAR", "TAI LE", "NEW TAI LUE", "TAI THAM",
    "TAI VIET",
)  # fmt: skip

# Marks that searchers leave out: diacritics (Latin, Greek, Cyrillic), Hebrew points, Arabic
# vowel signs and the tatweel; variation selectors.
IGNORED_RANGES = (
    (0x0300, 0x036F), (0x0483, 0x0489), (0x0591, 0x05BD), (0x05BF, 0x05BF), (0x05C1, 0x05C2),
    (0x05C4, 0x05C5), (0x05C7, 0x05C7), (0x0610, 0x061A), (0x0640, 0x0640), (0x064B, 0x065F),
    (0x0670, 0x0670), (0x06D6, 0x06DC), (0x06DF, 0x06E4), (0x06E7, 0x06E8), (0x06EA, 0x06ED),
    (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF), (0x20D0, 0x20FF), (0xFE00, 0xFE0F), (0xFE20, 0xFE2F),
    (0xE0100, 0xE01EF),
)  # fmt: skip

# Letters that Unicode does not decompose although people type them so.
EXTRA_FOLDS = {
    "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "ł": "l", "þ": "th", "ħ": "h",
    "\u0131": "i", "ŧ": "t", "ŀ": "l", "ĸ": "k",
}  # fmt: skip

# Ranges whose foldings cost more bytes than they are worth: Arabic ligatures of presentation
# form A, compatibility ideographs.
UNFOLDED_RANGES = ((0xF900, 0xFAFF), (0xFBEA, 0xFDFF), (0x2F800, 0x2FA1F))


def within(code: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    """Whether ``code`` lies in one of the closed ranges."""
    return any(first <= code <= last for first, last in ranges)


# Unassigned code points below it are of the class of what is before them: what Unicode assigns
# later joins the script of its block, and the table has a third fewer ranges.
UNASSIGNED_END = 0x20000


@functools.cache
def last_assigned() -> list[int]:
    """By code point below UNASSIGNED_END: itself, or the last assigned one before it."""
    found = [0]
    for code in range(1, UNASSIGNED_END):
        found.append(found[-1] if unicodedata.category(chr(code)) == "Cn" else code)
    return found


def class_of(code: int) -> int:
    """The class of a code point, one of the constants above."""
    if code < UNASSIGNED_END:
        code = last_assigned()[code]
    char = chr(code)
    if within(code, IGNORED_RANGES):
        return IGNORED
    category = unicodedata.category(char)
    if category == "Cf":
        return SEPARATOR if code == 0x200B else IGNORED  # a zero width space does part words
    if category[0] == "M":
        return MARK
    name = unicodedata.name(char, "")
    spaceless = name.startswith(BIGRAM_NAMES) or code in (0x3005, 0x30FC, 0xFF70)
    if category[0] == "L" or category == "Nl":
        return BIGRAM if spaceless else LETTER
    return DIGIT if category[0] == "N" else SEPARATOR


def fold(code: int) -> str:
    """What a code point of class LETTER, DIGIT, MARK or BIGRAM is folded to."""
    char = chr(code)
    kind = class_of(code)
    if within(code, UNFOLDED_RANGES):
        return char
    if unicodedata.category(char) == "Nd":
        return str(unicodedata.digit(char))
    if kind in (BIGRAM, MARK):
        name = unicodedata.name(char, "")
        if name.startswith("HALFWIDTH KATAKANA"):
            composed = unicodedata.normalize("NFKC", char)
            return composed if len(composed) == 1 else char
        return char
    text = char
    for _ in range(2):  # folding may give what decomposes further, and the other way round
        text = unicodedata.normalize("NFKD", text.casefold())
    text = "".join(EXTRA_FOLDS.get(part, part) for part in text)
    text = "".join(part for part in text if class_of(ord(part)) in (LETTER, DIGIT, MARK, BIGRAM))
    return text if 0 < len(text) <= 4 else char


def varint(value: int) -> bytes:
    """LEB128."""
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))


def zigzag(value: int) -> int:
    """Signed to unsigned, small magnitudes to small values."""
    return value * 2 if value >= 0 else -value * 2 - 1


def class_blob() -> bytes:
    """Ranges of classes of all code points from 128 on."""
    out = b""
    end, code = 128, 128
    while code < sys.maxunicode:
        kind, first = class_of(code), code
        while code <= sys.maxunicode and class_of(code) == kind:
            code += 1
        if kind != SEPARATOR:
            out += varint((first - end) * 8 + kind) + varint(code - first)
            end = code
    return out


def run_length(folds: dict[int, int], first: int, mode: int) -> int:
    """How many code points from ``first`` on are folded after ``mode``."""
    step = 2 if mode == 1 else 1
    target = folds[first]
    count = 0
    while folds.get(first + count * step) == target + (0 if mode == 2 else count * step):
        if mode == 1 and count and first + count * step - 1 in folds:
            break
        count += 1
    return count


def fold_blobs() -> tuple[bytes, bytes, bytes, bytes]:
    """Foldings to one code point as runs (gaps, counts, targets), those to several as strings."""
    single: dict[int, int] = {}
    several: dict[int, str] = {}
    for code in range(128, sys.maxunicode + 1):
        if class_of(code) in (SEPARATOR, IGNORED):
            continue
        text = fold(code)
        if text == chr(code):
            continue
        if len(text) == 1:
            single[code] = ord(text)
        else:
            several[code] = text
    gaps, counts, targets = b"", b"", b""
    last, done, after = 127, 127, 0
    for code in sorted(single):
        if code <= done:
            continue
        count, mode = max((run_length(single, code, mode), -mode) for mode in (0, 1, 2))
        mode = -mode
        gaps += varint(code - last)
        counts += varint(count * 4 + mode)
        targets += varint(zigzag(single[code] - after))
        after = single[code] + (count, 2 * count, 0)[mode]
        last = done = code + (count - 1) * (2 if mode == 1 else 1)
    strings, last = b"", 127
    for code, text in sorted(several.items()):
        data = text.encode()
        strings += varint(code - last) + varint(len(data)) + data
        last = code
    return gaps, counts, targets, strings


def array(name: str, data: bytes) -> str:
    """A C++ array of bytes, wrapped."""
    lines, line = [], ""
    for value in data:
        word = f"{value},"
        if len(line) + len(word) > 100:
            lines.append(line)
            line = ""
        line += word
    lines.append(line)
    return f"inline constexpr uint8_t {name}[] = {{\n" + "\n".join(lines) + "\n};\n"


def header() -> str:
    """The text of the header."""
    gaps, counts, targets, strings = fold_blobs()
    return (
        "// Generated by pywasm/tools/unicode_tables.py; don't edit. Unicode "
        f"{unicodedata.unidata_version}.\n"
        "// Classes and foldings of code points from 128 on; unicode.cpp expands them.\n"
        "#pragma once\n#include <stdint.h>\n\n"
        + array("kClassBlob", class_blob())
        + array("kFoldGaps", gaps)
        + array("kFoldCounts", counts)
        + array("kFoldTargets", targets)
        + array("kFoldStringBlob", strings)
    )


def main() -> int:
    """Writes the header, or with ``--check`` compares it: 1 when it is out of date."""
    parser = argparse.ArgumentParser(description="Writes the engine's Unicode tables.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    if not parser.parse_args().check:
        HEADER.write_text(header())
        return 0
    stored = HEADER.read_text()
    version = re.search(r"Unicode (\S+)\.$", stored, re.MULTILINE)
    if version is None or version[1] != unicodedata.unidata_version:
        print(
            f"{HEADER.name} is of Unicode {version[1] if version else '?'}, this Python has "
            f"{unicodedata.unidata_version}: not compared"
        )
        return 0
    if stored == header():
        return 0
    print(f"{HEADER} is out of date: run python -m pywasm.tools.unicode_tables", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
