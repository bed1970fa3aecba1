"""KV of chunks behind the system segment, computed by the site's own kernels, as records.

Each record has as few bits as the chunk tolerates: a question about it is asked with its KV as it
was computed and as what is left of it, and the two distributions of the next token compared. What
was computed is kept in the cache by its key, so a build that was stopped goes on where it was, and
one whose documents changed computes only what is new.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pywasm.cache_dir import cache_dir
from pywasm.kv_arena import I32, Sequence
from pywasm.kv_loss import compressed, divergence
from pywasm.kv_record import F32, Bits, pack, record_bytes
from pywasm.kv_shards import KvRecord, kv_key, record_check
from pywasm.shards import replace_file

# Most KL divergence, nats, at an answer's first token; a chunk that loses more takes more bits.
TOLERANCE = 0.05
_FORMAT = 1


@dataclass(frozen=True)
class Chunk:
    """A chunk's document segment, and questions about it with the opening of their answers."""

    tokens: I32
    probes: tuple[I32, ...]


class KvComputer:
    """Records of chunks behind `system`, the tokens of the system segment.

    `identity` is what the KV depends on beside its tokens; `tried`: bits, the fewest first.
    """

    def __init__(
        self, sequence: Sequence, identity: str, system: I32, tried: tuple[Bits, ...]
    ) -> None:
        self._tried = tried
        self._sequence = sequence
        self._identity = identity
        self._system = system
        self._folder = cache_dir() / "kv"
        self._ready = False

    def key(self, chunk: Chunk) -> bytes:
        return kv_key(self._identity, np.concatenate((self._system, chunk.tokens)))

    def record(self, chunk: Chunk) -> KvRecord | None:
        """From the cache, or computed. None for a chunk that tolerates neither 4 nor 8 bits."""
        key = self.key(chunk)
        kept = self._read(key, len(chunk.tokens))
        if kept is not None:
            return kept if kept.data else None
        made = self._compute(key, chunk)
        self._keep(key, made)
        return made

    def _compute(self, key: bytes, chunk: Chunk) -> KvRecord | None:
        sequence, start = self._sequence, len(self._system)
        if not self._ready:
            sequence.prefill(self._system, 0)
            self._ready = True
        sequence.prefill(chunk.tokens, start)
        kv = sequence.read(start, start + len(chunk.tokens))
        full = self._answers(chunk)
        for bits in self._tried:
            sequence.write(start, compressed(sequence, kv, start, bits))
            left = self._answers(chunk)
            loss = max(divergence(a, b) for a, b in zip(full, left, strict=True))
            if loss <= TOLERANCE:
                return KvRecord(key, kv.tokens, bits, pack(sequence.unturned(kv, start), bits))
        return None

    def _answers(self, chunk: Chunk) -> list[F32]:
        end = len(self._system) + len(chunk.tokens)
        return [self._sequence.logits(probe, end) for probe in chunk.probes]

    def _file(self, key: bytes) -> Path:
        return self._folder / key.hex()[:2] / f"{key.hex()}.kv"

    def _read(self, key: bytes, tokens: int) -> KvRecord | None:
        """None where nothing good is kept; a record without data says that it can't be had."""
        try:
            head, data = self._file(key).read_bytes().split(b"\n", 1)
            told = json.loads(head)
        except (OSError, ValueError):
            return None
        if told != self._head(key, told.get("bits"), data):
            return None
        bits = told["bits"]
        if data and len(data) != record_bytes(self._sequence.shape, tokens, bits):
            return None
        return KvRecord(key, tokens, bits, data)

    def _keep(self, key: bytes, record: KvRecord | None) -> None:
        file = self._file(key)
        file.parent.mkdir(parents=True, exist_ok=True)
        bits, data = (record.bits, record.data) if record else (0, b"")
        replace_file(file, json.dumps(self._head(key, bits, data)).encode() + b"\n" + data)

    def _head(self, key: bytes, bits: int, data: bytes) -> dict[str, object]:
        """With what it was judged by: what was too much then may be good now."""
        return {
            "format": _FORMAT,
            "key": key.hex(),
            "tolerance": TOLERANCE,
            "tried": list(self._tried),
            "bits": bits,
            "check": record_check(data).hex(),
        }
