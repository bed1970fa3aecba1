"""Pages to shards, and shards to a site, so that a reader never sees half of one.

Shards are named by their content and written first, whole and flushed; then manifest.json takes
its new bytes by a rename. Shards of the generation before stay for visitors who hold its
manifest; older ones are removed.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from pywasm._abi import PAGE_BYTES, PAGES_PER_SHARD, Section
from pywasm.errors import UserError
from pywasm.manifest import FILE_NAME, FileInfo, Manifest, manifest_bytes, read_manifest

DATA = "data"


def write_shards(
    site: Path, pages: Iterable[bytes], on_bytes: Callable[[int], None]
) -> list[FileInfo]:
    """Cuts the stream of pages into shards; a shard that is there already is not written again."""
    (site / DATA).mkdir(parents=True, exist_ok=True)
    shards = []
    for data in _cut(pages):
        digest = hashlib.sha256(data).hexdigest()
        info = FileInfo(file=f"{DATA}/{digest[:20]}.bin", bytes=len(data), sha256=digest)
        target = site / info.file
        if not (target.is_file() and _sha256(target) == digest):
            replace_file(target, data)
        shards.append(info)
        on_bytes(len(data))
    return shards


def _cut(pages: Iterable[bytes]) -> Iterator[bytes]:
    held: list[bytes] = []
    for page in pages:
        held.append(page)
        if len(held) == PAGES_PER_SHARD:
            yield b"".join(held)
            held = []
    if held:
        yield b"".join(held)


def replace_file(target: Path, data: bytes) -> None:
    """Writes beside `target`, flushes to disk and renames: there is the old file or the new one."""
    scratch = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with scratch.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)


def previous_manifest(site: Path) -> Manifest | None:
    """What is there now; None where nothing readable is, so that a damaged site can be rebuilt."""
    try:
        return read_manifest(site)
    except UserError:
        return None


def kept_shards(previous: Manifest | None, shards: list[FileInfo]) -> list[str]:
    """Shards of the generation before that this one does not have.

    Building the same generation again keeps what was kept before.
    """
    new = {shard.file for shard in shards}
    if previous is None:
        return []
    old = [shard.file for shard in previous.shards]
    if set(old) == new:
        return [file for file in previous.previous if file not in new]
    return [file for file in old if file not in new]


def switch(site: Path, manifest: Manifest) -> None:
    """Makes `manifest` the current one, then removes the shards that neither generation has."""
    replace_file(site / FILE_NAME, manifest_bytes(manifest))
    if os.name == "posix":
        folder = os.open(site, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    keep = {shard.file for shard in manifest.shards} | set(manifest.previous)
    for file in sorted((site / DATA).iterdir()):
        stray = file.name.startswith(".") and file.name.endswith(".tmp")
        if (file.suffix == ".bin" and f"{DATA}/{file.name}" not in keep) or stray:
            file.unlink()


def page_stream(sections: Mapping[Section, Path]) -> Iterator[bytes]:
    """The pages of all sections, in the order of the logical file."""
    for number in sorted(sections):
        with sections[number].open("rb") as stream:
            while page := stream.read(PAGE_BYTES):
                yield page


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
