"""The KV of a stretch of tokens as one record: what a site ships and a browser stores.

The bytes are those of the kernels kv_pack and kv_unpack (`pywasm_jit.kernels.kv_records`, which
says where each buffer of a record lies); this is the same in numpy, for what is computed at build
time. A number is `low + scale * code`: keys per channel over all tokens, with RoPE taken off
(channels of keys have outliers, which rotation would spread: KVQuant, arXiv 2401.18079); values per
token (KIVI, arXiv 2402.02750).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pywasm.errors import UserError
from pywasm_jit.kernels.kv_records import layout

F16 = npt.NDArray[np.float16]
F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]
Bits = Literal[4, 8]


@dataclass(frozen=True)
class KvShape:
    """Of the KV of one token."""

    layers: int
    heads: int
    head_dim: int

    def places(self, tokens: int, bits: Bits) -> dict[str, tuple[int, int]]:
        """(offset, bytes) of each buffer of a record, and of its "end"."""
        return layout(
            tokens, kv_heads=self.heads, head_dim=self.head_dim, layers=self.layers, bits=bits
        )


@dataclass(frozen=True)
class Kv:
    """Of a stretch of tokens: keys [layers, heads, head_dim, tokens], values [layers, heads,
    tokens, head_dim], as the arena has them f16, keys with RoPE taken off f32."""

    keys: F16 | F32
    values: F16 | F32

    @property
    def tokens(self) -> int:
        return int(self.keys.shape[3])


def record_bytes(shape: KvShape, tokens: int, bits: Bits) -> int:
    """Length of a record."""
    return shape.places(tokens, bits)["end"][0]


def pack(kv: Kv, bits: Bits) -> bytes:
    """The record of `kv`, its keys with RoPE taken off."""
    layers, heads, head_dim, tokens = kv.keys.shape
    shape = KvShape(layers, heads, head_dim)
    keys, key_scale, key_low = _quantised(kv.keys.astype(np.float32), bits)
    values, value_scale, value_low = _quantised(kv.values.astype(np.float32), bits)
    parts: dict[str, U8 | F16] = {
        "keys": _codes(np.ascontiguousarray(np.swapaxes(keys, 2, 3)), bits),
        "values": _codes(values, bits),
        "key_scale": key_scale,
        "key_low": key_low,
        "value_scale": value_scale,
        "value_low": value_low,
    }
    record = bytearray(record_bytes(shape, tokens, bits))
    for name, (offset, size) in shape.places(tokens, bits).items():
        if name != "end":
            record[offset : offset + size] = parts[name].tobytes()
    return bytes(record)


def unpack(data: bytes, shape: KvShape, tokens: int, bits: Bits) -> Kv:
    """The inverse, in f32. Raises UserError for a record of another length."""
    expected = record_bytes(shape, tokens, bits)
    if len(data) != expected:
        raise UserError(f"a record of KV of {len(data):,} bytes, expected {expected:,}")
    part = {
        name: np.frombuffer(data, np.uint8, size, offset)
        for name, (offset, size) in shape.places(tokens, bits).items()
    }
    rows = (shape.layers, shape.heads, tokens)
    keys = _elements(part["keys"].reshape(*rows, -1), bits)
    values = _elements(part["values"].reshape(*rows, -1), bits)
    channels = (shape.layers, shape.heads, 1, shape.head_dim)
    keys = _f32(part["key_low"], channels) + _f32(part["key_scale"], channels) * keys
    values = _f32(part["value_low"], (*rows, 1)) + _f32(part["value_scale"], (*rows, 1)) * values
    return Kv(np.swapaxes(keys, 2, 3), values)


def _quantised(numbers: F32, bits: Bits) -> tuple[U8, F16, F16]:
    """(codes, scale, low); a range for each row of the last axis."""
    levels = (1 << bits) - 1
    low = numbers.min(axis=-1).astype("<f2")
    reach = numbers.max(axis=-1) - low.astype(np.float32)
    scale = (reach * np.float32(1 / levels)).astype("<f2")
    step = scale.astype(np.float32)[..., None]
    inverse = np.where(step > 0, 1 / np.where(step > 0, step, 1), 0)
    codes = np.rint((numbers - low.astype(np.float32)[..., None]) * inverse)
    return np.clip(codes, 0, levels).astype(np.uint8), scale, low


def _codes(elements: U8, bits: Bits) -> U8:
    """Bytes of the last axis: with 4 bits, element i low, i + half of them high."""
    if bits == 8:
        return elements
    first, second = np.split(elements, 2, axis=-1)
    return np.asarray(first | second << 4, np.uint8)


def _elements(codes: U8, bits: Bits) -> F32:
    both = codes if bits == 8 else np.concatenate((codes & 15, codes >> 4), axis=-1)
    return both.astype(np.float32)


def _f32(data: U8, shape: tuple[int, ...]) -> F32:
    return data.view("<f2").astype(np.float32).reshape(shape)
