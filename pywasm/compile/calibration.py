"""How large the channels of a model's activations are, on texts of many kinds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pywasm.compile import fused, reference
from pywasm.compile.fused import F32, Linear
from pywasm.compile.graph import Array

# Of all lengths, the shortest too: there the special tokens, whose channels are the largest, are
# most of a text. None of them is among those that the loss is measured on.
TEXTS = (
    "",
    "a",
    "?!",
    "x1",
    "日本",
    "What is the difference between a list and a tuple?",
    "convert seconds to hours and minutes",
    "The committee postponed its decision until the end of the fiscal year.",
    "for row in cursor.execute(query): print(row[0], row[1])",
    "best way to keep herbs fresh",
    "Mount Kilimanjaro, 5,895 m, is the highest mountain in Africa.",
    "ValueError: invalid literal for int() with base 10: 'twelve'",
    "Une hirondelle ne fait pas le printemps.",
    "any of various long-legged wading birds; having a long neck and a straight bill",
    "Open file and return a corresponding file object. If the file cannot be opened, an OSError is "
    "raised. The mode is an optional string that specifies how the file is opened; it defaults to "
    "reading in text mode, and in that mode the encoding used depends on the platform.",
    "42",
)
_TOGETHER = 8  # texts


def channel_sizes(encoder: fused.Encoder, rows: Sequence[Sequence[int]]) -> dict[str, F32]:
    """The largest magnitude in each column of every value that matrix products read.

    `rows`: token ids of texts. Those of similar length are run together: a few large products
    are many times as fast as many small ones where other processes want the cores too.
    """
    read = {op.x for op in encoder.ops if isinstance(op, Linear)}
    largest: dict[str, npt.NDArray[np.float32]] = {}
    order = sorted(rows, key=len)
    for first in range(0, len(order), _TOGETHER):
        part = order[first : first + _TOGETHER]
        lengths = np.array([len(row) for row in part])
        real = np.arange(lengths.max())[None, :] < lengths[:, None]

        def watch(name: str, value: reference.Floats, real: Array = real) -> None:
            if name in read:
                found = np.abs(value[real]).max(axis=0).astype(np.float32)
                largest[name] = np.maximum(largest.get(name, found), found)

        reference.run(encoder, part, np.float32, watch)
    return largest


def channel_factors(encoder: fused.Encoder, sizes: dict[str, F32]) -> dict[str, F32]:
    """For each such value what its columns are multiplied by before they are quantised.

    The rows of its matrices are divided by them, so that the difficulty is shared: SmoothQuant
    (Xiao et al., 2023) with alpha = 1/2. Their geometric mean is near 1. They are eighths of
    powers of two, so that sums that another machine rounds otherwise give the same weights.
    """
    factors = {}
    for name, size in sizes.items():
        readers = [op.weight for op in encoder.ops if isinstance(op, Linear) and op.x == name]
        heaviest = np.max([np.abs(weight).max(axis=1) for weight in readers], axis=0)
        logs = 0.5 * (np.log2(np.maximum(heaviest, 1e-6)) - np.log2(np.maximum(size, 1e-6)))
        factors[name] = np.exp2(np.round(8 * (logs - logs.mean())) / 8).astype(np.float32)
    return factors
