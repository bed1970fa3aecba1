"""Text files in whatever encoding they have, read without holding them whole."""

import codecs
from collections.abc import Iterator
from pathlib import Path

import charset_normalizer

from pywasm.documents import Notes

_PIECE = 1 << 20
_BOMS = [
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
]


def find_encoding(file: Path, notes: Notes) -> str:
    """UTF-8 where the file is that; otherwise the likeliest encoding, with a warning."""
    with file.open("rb") as stream:
        head = stream.read(4)
        for bom, name in _BOMS:
            if head.startswith(bom):
                return name
        stream.seek(0)
        decoder = codecs.getincrementaldecoder("utf-8")()
        offset = 0
        while piece := stream.read(_PIECE):
            try:
                decoder.decode(piece)
            except UnicodeDecodeError as error:
                # `start` counts from bytes the decoder kept back of the piece before.
                return _guess(file, offset + max(error.start, 0), notes)
            offset += len(piece)
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return _guess(file, offset, notes)
    return "utf-8"


def _guess(file: Path, offset: int, notes: Notes) -> str:
    with file.open("rb") as stream:
        stream.seek(max(0, offset - _PIECE // 8))
        sample = stream.read(_PIECE // 4)
    as_utf8 = sample.decode("utf-8", "replace")
    wrong = as_utf8.count("\ufffd")
    if sum(character > "\x7f" for character in as_utf8) > 2 * wrong:
        encoding = "utf-8"  # damaged here and there rather than something else
    else:
        best = charset_normalizer.from_bytes(sample).best()
        encoding = best.encoding if best is not None else "cp1252"
    notes.warn(
        f"{file}: not UTF-8 (byte {offset:,}); read as {encoding}, what does not decode as U+FFFD"
    )
    return encoding


def read_text(file: Path, notes: Notes) -> str:
    """The whole file as text."""
    with file.open("r", encoding=find_encoding(file, notes), errors="replace", newline=None) as s:
        return s.read()


def read_lines(file: Path, notes: Notes) -> Iterator[str]:
    """Its lines with their ends; a line longer than a megabyte comes in pieces."""
    with file.open("r", encoding=find_encoding(file, notes), errors="replace", newline=None) as s:
        while line := s.readline(_PIECE):
            yield line
