"""Whether a part of a model is self-attention, and of which columns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import numpy.typing as npt

from pywasm.compile import fused
from pywasm.compile.regions import BATCH, MASK, SEQ, difference

F64 = npt.NDArray[np.float64]
Columns = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Meaning:
    """`columns` of what the part reads are q | k | v, head after head."""

    columns: Columns
    scale: float


def identify(
    found: list[F64], scores: F64, joined: F64, heads: int, tolerance: float
) -> Meaning | None:
    """What gives `found` of the rows `joined`, which hold queries, keys and values in some order.

    `found`: the part's results for the padded sample and for the same without padding. A model
    without a mask gives the second for both; its texts come alone, and so it means the same.
    `scores`: what goes into the softmax without padding; the scale is worked out from it.
    """
    width = joined.shape[1] // 3
    everything = np.ones_like(MASK)
    real = MASK.ravel()
    for columns in _orders(width, heads):
        qkv = joined[:, columns].reshape(BATCH, SEQ, 3 * width)
        scale = _scale(qkv, scores, heads)
        if difference(found[1], _wanted(qkv, everything, heads, scale)) > tolerance:
            continue
        padded = difference(found[0][real], _wanted(qkv, MASK, heads, scale)[real]) <= tolerance
        if padded or difference(found[0], found[1]) <= tolerance:
            return Meaning(columns, scale)
    return None


def _scale(qkv: F64, scores: F64, heads: int) -> float:
    """The factor between q k^T and `scores`; the usual one exactly where it is that but for
    rounding."""
    q, k, _ = np.split(qkv, 3, axis=-1)
    split = (BATCH, SEQ, heads, -1)
    products = q.reshape(split).transpose(0, 2, 1, 3) @ k.reshape(split).transpose(0, 2, 3, 1)
    products = products.reshape(scores.shape)
    scale = float((products * scores).sum() / (products * products).sum())
    usual = 1 / math.sqrt(qkv.shape[-1] // 3 // heads)
    return usual if math.isclose(scale, usual, rel_tol=1e-6) else scale


def _wanted(qkv: F64, mask: npt.NDArray[np.bool_], heads: int, scale: float) -> F64:
    q, k, v = np.split(qkv, 3, axis=-1)
    mixed = fused.attention(q, k, v, mask, heads, scale)
    return mixed.reshape(BATCH * SEQ, -1).astype(np.float64)


def _orders(width: int, heads: int) -> Iterator[Columns]:
    """Queries, keys and values one after the other, or side by side in each head."""
    size = width // heads
    apart = np.arange(3 * width).reshape(3, heads, size)
    by_head = np.arange(3 * width).reshape(heads, 3, size).transpose(1, 0, 2)
    for layout in (apart, by_head):
        for order in permutations(range(3)):
            yield layout[list(order)].reshape(-1)
