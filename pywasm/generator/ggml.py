"""GGML's block formats as matrices.

Formats whose blocks (or sub-blocks) of 32 have a scale, and perhaps an offset, are kept to the bit;
those that our kernels have no counterpart of are widened and quantised again to 8 bits.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize

from pywasm.compile.fused import F32
from pywasm.compile.weights import BLOCK
from pywasm.errors import UserError
from pywasm.generator.gguf_file import GgufFile, GgufTensor
from pywasm.generator.matrix import Dense, Matrix, Quantised, quantised

Bytes = npt.NDArray[np.uint8]
_DENSE = (Type.F32, Type.F16, Type.BF16, Type.F64)
_AGAIN = (Type.Q6_K, Type.Q5_0, Type.Q5_1, Type.Q5_K)
_EXACT = (Type.Q8_0, Type.Q4_0, Type.Q4_1, Type.Q4_K)
_SUPER = 256  # weights of a block of the K formats


def read_vector(file: GgufFile, name: str, length: int) -> F32:
    """f32[length]"""
    tensor = file.tensor(name, (length,))
    if tensor.type not in _DENSE:
        file.fail(f"tensor {name} is in {tensor.type.name}; expected F32, as vectors always are")
    return _finite(file, tensor, _dense(file, tensor).reshape(length))


def read_matrix(file: GgufFile, name: str, shape: tuple[int, int]) -> Matrix:
    """[N, K], as close to the file as our formats are. Raises UserError for types not known."""
    tensor = file.tensor(name, shape)
    match tensor.type:
        case kind if kind in _DENSE:
            return Dense(_finite(file, tensor, _dense(file, tensor).reshape(shape)))
        case kind if kind in _AGAIN:
            with np.errstate(all="ignore"):  # what comes of scales that are no numbers is looked at
                widened = dequantize(file.data(tensor), kind)
            return quantised(Dense(_finite(file, tensor, widened)), 8)
        case Type.Q8_0:
            made = _q8_0(file.data(tensor))
        case Type.Q4_0:
            made = _q4_0(file.data(tensor))
        case Type.Q4_1:
            made = _q4_1(file.data(tensor))
        case Type.Q4_K:
            made = _q4_k(file.data(tensor))
        case _:
            known = ", ".join(kind.name for kind in (*_DENSE, *_EXACT, *_AGAIN))
            file.fail(f"tensor {name} is in {tensor.type.name}; can be read: {known}")
    _finite(file, tensor, made.scale)
    if made.offset is not None:
        _finite(file, tensor, made.offset)
    return made


def _dense(file: GgufFile, tensor: GgufTensor) -> F32:
    data = file.data(tensor)
    if tensor.type is Type.BF16:  # the upper half of a float32
        return (np.ascontiguousarray(data).view("<u2").astype(np.uint32) << 16).view(np.float32)
    stored = {Type.F32: "<f4", Type.F16: "<f2", Type.F64: "<f8"}[tensor.type]
    return np.ascontiguousarray(data).view(stored).astype(np.float32)


def _finite(file: GgufFile, tensor: GgufTensor, data: F32) -> F32:
    if not np.isfinite(data).all():
        raise UserError(
            f"{file.path}: tensor {tensor.name} at byte {tensor.offset:,}: holds NaN or infinity"
        )
    return data


def _blocks(data: Bytes, size: int) -> Bytes:
    """u8[N, blocks, size]"""
    return data.reshape(data.shape[0], -1, size)


def _f16(data: Bytes) -> F32:
    """f32[N, blocks] of two bytes a block."""
    return np.ascontiguousarray(data).view("<f2")[..., 0].astype(np.float32)


def _nibbles(data: Bytes) -> Bytes:
    """u8[N, K] of u8[N, blocks, 16]: low halves are elements 0 to 15 of a block."""
    both = np.concatenate([data & 15, data >> 4], axis=2)
    return both.reshape(data.shape[0], -1)


def _q8_0(data: Bytes) -> Quantised:
    blocks = _blocks(data, 2 + BLOCK)
    q = blocks[:, :, 2:].reshape(data.shape[0], -1).view(np.int8)
    return Quantised(q, _f16(blocks[:, :, :2]), None)


def _q4_0(data: Bytes) -> Quantised:
    """d * (q - 8)"""
    blocks = _blocks(data, 2 + BLOCK // 2)
    scale = _f16(blocks[:, :, :2])
    return Quantised(_nibbles(blocks[:, :, 2:]), scale, scale * np.float32(-8))


def _q4_1(data: Bytes) -> Quantised:
    """d * q + m"""
    blocks = _blocks(data, 4 + BLOCK // 2)
    return Quantised(_nibbles(blocks[:, :, 4:]), _f16(blocks[:, :, :2]), _f16(blocks[:, :, 2:4]))


def _q4_k(data: Bytes) -> Quantised:
    """d * s * q - dmin * m; s and m of 6 bits for each 32 of a block of 256. Exact in f32.

    Bytes of a block: d, dmin in f16; 12 with s and m of eight sub-blocks; 4 x 32 of which the low
    halves are one sub-block, the high halves the next.
    """
    blocks = _blocks(data, 4 + 12 + _SUPER // 2)
    n, count, _ = blocks.shape
    s = blocks[:, :, 4:16]
    first, second, third = s[:, :, 0:4], s[:, :, 4:8], s[:, :, 8:12]
    scales = np.concatenate([first & 63, (third & 15) | (first >> 6) << 4], axis=2)
    least = np.concatenate([second & 63, (third >> 4) | (second >> 6) << 4], axis=2)
    halves = blocks[:, :, 16:].reshape(n, count, 4, 1, BLOCK)
    q = np.concatenate([halves & 15, halves >> 4], axis=3)
    scale = _f16(blocks[:, :, :2])[:, :, None] * scales.astype(np.float32)
    offset = _f16(blocks[:, :, 2:4])[:, :, None] * least.astype(np.float32)
    return Quantised(q.reshape(n, -1), scale.reshape(n, -1), -offset.reshape(n, -1))
