"""Weight matrices [N, K], y = matrix @ x: in f32, or in 4 or 8 bits by blocks of 32 along K."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pywasm.compile.fused import F32
from pywasm.compile.weights import BLOCK, PANEL, Weight, rows

Bits = Literal[4, 8]


@dataclass(frozen=True, eq=False)
class Quantised:
    """scale * q + offset. q [N, K]: u8 0 to 15 of 4 bits, i8 of 8 bits; scale f32[N, K/32], offset
    likewise of 4 bits, else None."""

    q: npt.NDArray[np.uint8] | npt.NDArray[np.int8]
    scale: F32
    offset: F32 | None

    @property
    def bits(self) -> Bits:
        return 8 if self.offset is None else 4

    @property
    def scales(self) -> Literal["f16", "f32"]:
        """The shorter type that holds scales and offsets as they are: of most formats f16."""
        parts = [self.scale] if self.offset is None else [self.scale, self.offset]
        return "f16" if all(np.array_equal(_f16(part), part) for part in parts) else "f32"

    @property
    def shape(self) -> tuple[int, int]:
        return self.q.shape[0], self.q.shape[1]


@dataclass(frozen=True, eq=False)
class Dense:
    """f32[N, K]"""

    data: F32

    @property
    def shape(self) -> tuple[int, int]:
        return self.data.shape[0], self.data.shape[1]


Matrix = Quantised | Dense


def values(matrix: Matrix) -> F32:
    """f32[N, K], every weight rounded once or (where there is an offset) twice."""
    if isinstance(matrix, Dense):
        return matrix.data
    n, k = matrix.shape
    blocks = matrix.q.reshape(n, k // BLOCK, BLOCK).astype(np.float32) * matrix.scale[:, :, None]
    if matrix.offset is not None:
        blocks += matrix.offset[:, :, None]
    return blocks.reshape(n, k)


def quantised(matrix: Matrix, bits: Bits) -> Quantised:
    """In that many bits; what is in fewer bits than f32 already and in `bits` stays as it is."""
    if isinstance(matrix, Quantised) and matrix.bits == bits:
        return matrix
    n, k = matrix.shape
    blocks = values(matrix).reshape(n, k // BLOCK, BLOCK)
    if bits == 8:
        largest = np.abs(blocks).max(axis=2)
        scale = np.where(largest > 0, largest / np.float32(127), np.float32(1))
        scale = _shorter(scale)
        q = np.clip(np.rint(blocks / scale[:, :, None]), -127, 127).astype(np.int8)
        return Quantised(q.reshape(n, k), scale, None)
    least, most = blocks.min(axis=2), blocks.max(axis=2)
    least = _f16(least) if np.isfinite(_f16(least)).all() else least
    scale = _shorter(np.where(most > least, (most - least) / np.float32(15), np.float32(1)))
    q4 = np.clip(np.rint((blocks - least[:, :, None]) / scale[:, :, None]), 0, 15).astype(np.uint8)
    return Quantised(q4.reshape(n, k), scale, least)


def _f16(data: F32) -> F32:
    with np.errstate(over="ignore"):
        return data.astype(np.float16).astype(np.float32)


def _shorter(scale: F32) -> F32:
    """Positive scales rounded to f16, where they are not too large or too small for it."""
    rounded = _f16(scale)
    fits = bool(np.isfinite(rounded).all() and (rounded > 0).all())
    return rounded if fits else scale.astype(np.float32)


def stacked(matrices: Sequence[Matrix]) -> Matrix:
    """One below the other. Where they are in different bits: in the most of them."""
    if any(isinstance(matrix, Dense) for matrix in matrices):
        return Dense(np.concatenate([values(matrix) for matrix in matrices]))
    parts = [matrix for matrix in matrices if isinstance(matrix, Quantised)]
    bits: Bits = 8 if any(part.bits == 8 for part in parts) else 4
    parts = [quantised(part, bits) for part in parts]
    offsets = [part.offset for part in parts if part.offset is not None]
    return Quantised(
        np.concatenate([part.q for part in parts]),
        np.concatenate([part.scale for part in parts]),
        np.concatenate(offsets) if offsets else None,
    )


def taken(matrix: Matrix, order: npt.NDArray[np.intp]) -> Matrix:
    """The rows in another order."""
    if isinstance(matrix, Dense):
        return Dense(matrix.data[order])
    offset = None if matrix.offset is None else matrix.offset[order]
    return Quantised(matrix.q[order], matrix.scale[order], offset)


def padded(matrix: Matrix) -> Matrix:
    """With rows of zeros up to a multiple of 8."""
    missing = -matrix.shape[0] % PANEL
    if not missing:
        return matrix
    zeros: Matrix = Dense(np.zeros((missing, matrix.shape[1]), np.float32))
    if isinstance(matrix, Quantised):
        zeros = quantised(zeros, matrix.bits)
    return stacked([matrix, zeros])


def packed(name: str, matrix: Quantised) -> dict[str, Weight]:
    """As `matmul_q` reads them: buffers b, scale and, of 4 bits, offset."""
    n, k = matrix.shape
    panels, blocks = n // PANEL, k // BLOCK

    def by_block(data: F32) -> F32:
        return data.reshape(panels, PANEL, blocks).transpose(0, 2, 1)

    scales = matrix.scales
    made = {"scale": rows(f"{name}.scale", by_block(matrix.scale), scales)}
    if matrix.offset is None:
        words = matrix.q.reshape(panels, PANEL, k // 4, 4).transpose(0, 2, 1, 3)
        return {"b": Weight(name, "i8x4", "panels8x4", np.ascontiguousarray(words)), **made}
    halves: npt.NDArray[Any] = matrix.q.reshape(panels, PANEL, blocks, 2, 4, 4)  # half, word, byte
    pairs = halves[:, :, :, 0] | halves[:, :, :, 1] << 4
    fours = np.ascontiguousarray(pairs.transpose(0, 2, 3, 1, 4)).view("<i4")[..., 0]
    return {
        "b": Weight(name, "i32", "panels8b32", fours),
        **made,
        "offset": rows(f"{name}.offset", by_block(matrix.offset), scales),
    }
