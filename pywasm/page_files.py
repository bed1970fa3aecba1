"""Where pages are read from in Python: files of one section each, or the shards of a site."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pywasm._abi import PAGE_BYTES, PAGES_PER_SHARD, Section
from pywasm.engine import PageSource


def section_pages(sections: Mapping[Section, Path]) -> PageSource:
    """Of an index that was just built, one file a section."""
    places: list[tuple[Path, int]] = []
    for section in sorted(sections):
        file = sections[section]
        places += [(file, index) for index in range(file.stat().st_size // PAGE_BYTES)]

    def read(pages: Sequence[int]) -> Sequence[bytes]:
        return [_read(*places[page]) for page in pages]

    return read


def shard_pages(site: Path, shards: Sequence[str]) -> PageSource:
    """Of a site. A page that a truncated shard lacks comes short."""

    def read(pages: Sequence[int]) -> Sequence[bytes]:
        return [
            _read(site / shards[page // PAGES_PER_SHARD], page % PAGES_PER_SHARD) for page in pages
        ]

    return read


def _read(file: Path, index: int) -> bytes:
    with file.open("rb") as stream:
        stream.seek(index * PAGE_BYTES)
        return stream.read(PAGE_BYTES)
