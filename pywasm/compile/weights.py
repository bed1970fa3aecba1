"""Weights as kernels read them: canonical layouts, quantisation, one flat run of bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pywasm.compile.fused import F32
from pywasm.compile.plan_types import WEIGHT_ALIGN, DTypeName, Layout, Tensor

PANEL = 8
BLOCK = 32  # weights that share a scale in 4 bits
_DTYPES: dict[DTypeName, npt.DTypeLike] = {
    "f32": "<f4",
    "f16": "<f2",
    "i32": "<i4",
    "i8": "i1",
    "u8": "u1",
    "i8x4": "i1",
}
F16_MAX = 65504.0


@dataclass(frozen=True, eq=False)
class Weight:
    """`data` as it lies in memory. Of i8x4 its last axis is the four bytes."""

    name: str
    dtype: DTypeName
    layout: Layout
    data: npt.NDArray[Any]


def rows(name: str, data: npt.ArrayLike, dtype: DTypeName = "f32") -> Weight:
    """Row-major as it is."""
    return Weight(name, dtype, "rows", np.ascontiguousarray(data, _DTYPES[dtype]))


def panels(name: str, matrix: F32, dtype: Literal["f32", "f16"]) -> Weight:
    """[K, N] -> [N/8, K, 8]. f16: rounded to nearest, too large ones to the largest."""
    k, n = matrix.shape
    if dtype == "f16":
        matrix = np.clip(matrix, -F16_MAX, F16_MAX)
    data = matrix.astype(_DTYPES[dtype]).reshape(k, n // PANEL, PANEL).transpose(1, 0, 2)
    return Weight(name, dtype, "panels8", np.ascontiguousarray(data))


def panels_i8(name: str, matrix: F32) -> list[Weight]:
    """[K, N] -> [N/8, K/4, 8, 4] in 8 bits, a scale a column, and each column's sum.

    The sum is what the zero of the activations, which are unsigned, brings in too much.
    """
    k, n = matrix.shape
    scales = column_scales(matrix)
    data = quantised(matrix, scales)
    sums = data.sum(axis=0, dtype=np.int32)
    packed = data.reshape(k // 4, 4, n // PANEL, PANEL).transpose(2, 0, 3, 1)
    return [
        Weight(name, "i8x4", "panels8x4", np.ascontiguousarray(packed)),
        rows(f"{name}.scale", scales),
        rows(f"{name}.sum", sums, "i32"),
    ]


def panels_i4(name: str, matrix: F32) -> list[Weight]:
    """[K, N] in 4 bits: w = scale * q + offset, q 0 to 15, by blocks of 32 along K and columns.

    Words i32[N/8, K/32, 4, 8]: byte j of word w has q[4 w + j] in its low half, q[16 + 4 w + j] in
    its high half. Scales, offsets and 64 times the sums of q [N/8, K/32, 8].
    """
    k, n = matrix.shape
    blocks = matrix.reshape(k // BLOCK, BLOCK, n // PANEL, PANEL).transpose(2, 0, 1, 3)
    least, most = blocks.min(axis=2, keepdims=True), blocks.max(axis=2, keepdims=True)
    scales = np.where(most > least, (most - least) / np.float32(15), np.float32(1))
    q = np.clip(np.rint((blocks - least) / scales), 0, 15).astype(np.uint8)
    halves = q.reshape(*q.shape[:2], 2, 4, 4, PANEL)  # half, word, byte
    pairs = halves[:, :, 0] | halves[:, :, 1] << 4
    words = np.ascontiguousarray(pairs.transpose(0, 1, 2, 4, 3)).view("<i4")[..., 0]
    return [
        Weight(name, "i32", "panels8b32", words),
        rows(f"{name}.scale", scales[:, :, 0]),
        rows(f"{name}.sum", 64 * q.sum(axis=2, dtype=np.int32), "i32"),
        rows(f"{name}.offset", least[:, :, 0]),
    ]


def column_scales(matrix: F32) -> F32:
    """f32[N]: symmetric, 127 for the largest of a column; 1 where a column is zero."""
    largest = np.abs(matrix).max(axis=0)
    return np.where(largest > 0, largest / np.float32(127), np.float32(1)).astype(np.float32)


def quantised(matrix: F32, scales: F32) -> npt.NDArray[np.int8]:
    """round(matrix / scales), ties to even, in -127 to 127."""
    rounded: npt.NDArray[np.int8] = np.clip(np.rint(matrix / scales), -127, 127).astype(np.int8)
    return rounded


def table_i8(name: str, table: F32) -> list[Weight]:
    """[rows, width] in 8 bits and a scale a row."""
    scales = column_scales(np.ascontiguousarray(table.T))
    data = quantised(table.T, scales).T
    return [rows(name, data, "i8"), rows(f"{name}.scale", scales)]


def place(weights: list[Weight]) -> tuple[list[Tensor], int]:
    """Where each lies in the flat bytes, and how many those are."""
    tensors = []
    offset = 0
    for weight in weights:
        shape = weight.data.shape[: -1 if weight.dtype == "i8x4" else None]
        tensors.append(
            Tensor(
                name=weight.name,
                dtype=weight.dtype,
                layout=weight.layout,
                shape=list(shape),
                offset=offset,
                bytes=weight.data.nbytes,
            )
        )
        offset += -(-weight.data.nbytes // WEIGHT_ALIGN) * WEIGHT_ALIGN
    return tensors, offset


def pieces(weights: list[Weight], size: int) -> Iterator[bytes]:
    """The flat bytes, zeros between tensors, `size` at a time."""
    held = bytearray()
    for weight in weights:
        held += weight.data.tobytes()
        held += bytes(-weight.data.nbytes % WEIGHT_ALIGN)
        while len(held) >= size:
            yield bytes(held[:size])
            del held[:size]
    if held:
        yield bytes(held)
