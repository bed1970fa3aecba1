"""The KV of a stretch of tokens as one record: what a site ships and a browser stores.

Layer after layer, in each keys, then values, in each head after head. `docs/kv-cache.md`,
"Records", has the bytes. In 4 and 8 bits a number is `low + scale * code`, scale and low f16:
keys per channel, over all tokens, with RoPE taken off (channels of keys have outliers, which
rotation would spread over their pairs: KVQuant, arXiv 2401.18079); values per token (KIVI, arXiv
2402.02750). In 16 bits numbers are what the arena holds, keys after RoPE.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pywasm.errors import UserError
from pywasm.kv_shards import Bits

F16 = npt.NDArray[np.float16]
F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class KvShape:
    """Of the KV of one token."""

    layers: int
    heads: int
    head_dim: int


@dataclass(frozen=True)
class Kv:
    """Of a stretch of tokens: keys f16[layers, heads, head_dim, tokens], values f16[layers, heads,
    tokens, head_dim]."""

    keys: F16
    values: F16

    @property
    def tokens(self) -> int:
        return int(self.keys.shape[3])


def record_bytes(shape: KvShape, tokens: int, bits: Bits) -> int:
    """Length of a record."""
    width = shape.head_dim
    if bits == 16:
        return shape.layers * shape.heads * tokens * width * 4
    row = -(-tokens * bits // 8)  # a channel's tokens fill whole bytes
    head = width * (4 + row) + tokens * (4 + width * bits // 8)
    return shape.layers * shape.heads * head


def pack(kv: Kv, bits: Bits) -> bytes:
    """The record of `kv`; in 4 and 8 bits its keys must have RoPE taken off."""
    parts: list[bytes] = []
    for keys, values in zip(kv.keys, kv.values, strict=True):
        for side in (keys, values):
            for head in side:
                parts.append(head.astype("<f2").tobytes() if bits == 16 else _quantise(head, bits))
    return b"".join(parts)


def unpack(data: bytes, shape: KvShape, tokens: int, bits: Bits) -> Kv:
    """The inverse, numbers rounded to f16. Raises UserError for a record of another length."""
    expected = record_bytes(shape, tokens, bits)
    if len(data) != expected:
        raise UserError(f"a record of KV of {len(data):,} bytes, expected {expected:,}")
    keys = np.empty((shape.layers, shape.heads, shape.head_dim, tokens), np.float16)
    values = np.empty((shape.layers, shape.heads, tokens, shape.head_dim), np.float16)
    at = 0
    for layer in range(shape.layers):
        for side in (keys[layer], values[layer]):
            for head in side:
                at += _read(data, at, head, bits)
    return Kv(keys, values)


def _quantise(rows: F16, bits: Bits) -> bytes:
    """scale f16[rows], low f16[rows], codes; a range of its own for each row."""
    numbers = rows.astype(np.float32)
    levels = (1 << bits) - 1
    low = numbers.min(axis=1).astype(np.float16)
    scale = ((numbers.max(axis=1) - low.astype(np.float32)) / levels).astype(np.float16)
    step = scale.astype(np.float32)[:, None]
    steps = (numbers - low.astype(np.float32)[:, None]) / np.where(step > 0, step, 1)
    codes = np.clip(np.rint(steps), 0, levels).astype(np.uint8)
    if bits == 4:
        codes = np.pad(codes, ((0, 0), (0, codes.shape[1] % 2)))
        codes = codes[:, 0::2] | codes[:, 1::2] << 4
    return b"".join((scale.astype("<f2").tobytes(), low.astype("<f2").tobytes(), codes.tobytes()))


def _read(data: bytes, at: int, rows: F16, bits: Bits) -> int:
    """Fills `rows`; the bytes it took."""
    count, width = map(int, rows.shape)
    if bits == 16:
        rows[:] = np.frombuffer(data, "<f2", count * width, at).reshape(rows.shape)
        return count * width * 2
    scale, low = np.frombuffer(data, "<f2", 2 * count, at).reshape(2, count, 1).astype(np.float32)
    stride = -(-width * bits // 8)
    codes: U8 = np.frombuffer(data, np.uint8, count * stride, at + 4 * count).reshape(count, stride)
    if bits == 4:
        codes = np.stack((codes & 15, codes >> 4), axis=2).reshape(count, 2 * stride)[:, :width]
    rows[:] = low + scale * codes
    return 4 * count + count * stride
