"""SITE/kv/: records of KV in shards, and the index that finds them. docs/kv-cache.md, "Shipped".

An index names records by what they are good for: a hash of model, prompt and chunk. A browser that
looks for the KV of other tokens, or for another model, finds nothing and computes.
"""

import hashlib
import itertools
import shutil
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pywasm.errors import UserError
from pywasm.kv_record import Bits
from pywasm.manifest import FileInfo, ShippedKv
from pywasm.shards import replace_file

FOLDER = "kv"
SHARD_BYTES = 16 << 20
KEY_BYTES = 16
MOST_TOKENS = 0xFFFF
_MAGIC = b"PWKV"
_VERSION = 1
_HEAD = struct.Struct("<4sIII")  # magic, version, tokens of the system segment, entries
_ENTRY = struct.Struct("<16s16sIIIHH")  # key, check, shard, offset, bytes, tokens, bits


def kv_key(identity: str, tokens: npt.NDArray[np.int32]) -> bytes:
    """Names the KV of `tokens`, a whole prefix: the first 16 bytes of SHA-256 of the identity in
    UTF-8, a zero byte, and the tokens as little-endian i32."""
    digest = hashlib.sha256(identity.encode() + b"\0" + tokens.astype("<i4").tobytes())
    return digest.digest()[:KEY_BYTES]


@dataclass(frozen=True)
class KvRecord:
    """The KV of a chunk's `tokens` tokens, in `bits` a number (kv_record.py)."""

    key: bytes
    tokens: int
    bits: Bits
    data: bytes


@dataclass(frozen=True)
class KvEntry:
    """Where a record is: `bytes` at `offset` of shard number `shard`. `check`: of its bytes."""

    key: bytes
    check: bytes
    shard: int
    offset: int
    bytes: int
    tokens: int
    bits: int


def record_check(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:KEY_BYTES]


def write_kv(
    site: Path,
    identity: str,
    system_tokens: int,
    records: Iterable[KvRecord],
    on_record: Callable[[], None],
) -> ShippedKv:
    """Writes shards, then the index; what the manifest says of them.

    One shard is held in memory. Raises UserError for a record that fits none.
    """
    (site / FOLDER).mkdir(parents=True, exist_ok=True)
    entries: list[KvEntry] = []
    shards: list[FileInfo] = []
    held: list[bytes] = []
    size = 0
    for record in records:
        if len(record.data) > SHARD_BYTES or not 0 < record.tokens <= MOST_TOKENS:
            raise UserError(
                f"KV of a chunk of {record.tokens:,} tokens: {len(record.data):,} bytes, expected "
                f"at most {SHARD_BYTES:,}; build with smaller --chunk-tokens"
            )
        if size + len(record.data) > SHARD_BYTES:
            shards.append(_write(site, b"".join(held), "bin"))
            held, size = [], 0
        place = KvEntry(
            record.key,
            record_check(record.data),
            *(len(shards), size, len(record.data), record.tokens, record.bits),
        )
        entries.append(place)
        held.append(record.data)
        size += len(record.data)
        on_record()
    if held:
        shards.append(_write(site, b"".join(held), "bin"))
    index = _write(site, index_bytes(system_tokens, entries), "idx")
    return ShippedKv(
        identity=identity,
        system_tokens=system_tokens,
        chunks=len(entries),
        tokens=sum(entry.tokens for entry in entries),
        bytes=sum(entry.bytes for entry in entries),
        index=index,
        shards=shards,
    )


def index_bytes(system_tokens: int, entries: Sequence[KvEntry]) -> bytes:
    """Entries by ascending key, so that a reader can search them where they lie."""
    ordered = sorted(entries, key=lambda entry: entry.key)
    head = _HEAD.pack(_MAGIC, _VERSION, system_tokens, len(ordered))
    return head + b"".join(
        _ENTRY.pack(e.key, e.check, e.shard, e.offset, e.bytes, e.tokens, e.bits) for e in ordered
    )


def parse_index(data: bytes, where: str) -> tuple[int, list[KvEntry]]:
    """(tokens of the system segment, entries). Raises UserError, `where` names the file."""
    if len(data) < _HEAD.size or data[:4] != _MAGIC:
        raise UserError(f"{where}: damaged: no index of KV; build the site again")
    _, version, system_tokens, count = _HEAD.unpack_from(data)
    if version > _VERSION:
        raise UserError(f"{where}: made by a newer pywasm (version {version}); update pywasm")
    if len(data) != _HEAD.size + count * _ENTRY.size:
        raise UserError(f"{where}: damaged: {len(data):,} bytes for {count:,} entries")
    entries = [KvEntry(*fields) for fields in _ENTRY.iter_unpack(data[_HEAD.size :])]
    if any(a.key >= b.key for a, b in itertools.pairwise(entries)):
        raise UserError(f"{where}: damaged: its keys do not ascend; build the site again")
    return system_tokens, entries


def check_kv(site: Path, kv: ShippedKv) -> list[str]:
    """What is wrong with the files of `kv`, each record against its own check."""
    file = site / kv.index.file
    if not file.is_file():
        return [f"{file}: missing"]
    data = file.read_bytes()
    if hashlib.sha256(data).hexdigest() != kv.index.sha256:
        return [f"{file}: its SHA-256 is not the manifest's"]
    try:
        _, entries = parse_index(data, str(file))
    except UserError as error:
        return [str(error)]
    problems: list[str] = []
    if len(entries) != kv.chunks:
        problems.append(f"{file}: {len(entries):,} chunks, the manifest says {kv.chunks:,}")
    for number, shard in enumerate(kv.shards):
        path = site / shard.file
        if not path.is_file():
            problems.append(f"{path}: missing")
            continue
        data = path.read_bytes()
        for entry in entries:
            if entry.shard != number:
                continue
            piece = data[entry.offset : entry.offset + entry.bytes]
            if len(piece) != entry.bytes or record_check(piece) != entry.check:
                problems.append(
                    f"{path}: offset {entry.offset:,}: the KV of chunk {entry.key.hex()} is damaged"
                )
    if stray := [entry for entry in entries if entry.shard >= len(kv.shards)]:
        problems.append(f"{file}: {len(stray):,} chunks in shards that are not there")
    return problems


def remove_kv(site: Path, keep: ShippedKv | None) -> None:
    """All of SITE/kv/ but what `keep` names."""
    folder = site / FOLDER
    if not folder.is_dir():
        return
    if keep is None:
        shutil.rmtree(folder)
        return
    names = {keep.index.file, *(shard.file for shard in keep.shards)}
    for file in folder.iterdir():
        if f"{FOLDER}/{file.name}" not in names:
            file.unlink()


def _write(site: Path, data: bytes, suffix: str) -> FileInfo:
    digest = hashlib.sha256(data).hexdigest()
    info = FileInfo(file=f"{FOLDER}/{digest[:20]}.{suffix}", bytes=len(data), sha256=digest)
    target = site / info.file
    if not (target.is_file() and target.stat().st_size == len(data)):
        replace_file(target, data)
    return info
