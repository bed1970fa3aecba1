"""Fused operations executed in numpy: what `fused.py` says they mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pywasm.compile import fused

Floats = npt.NDArray[np.floating[Any]]


def run(
    encoder: fused.Encoder,
    rows: Sequence[Sequence[int]],
    dtype: type[np.floating[Any]] = np.float64,
    watch: Callable[[str, Floats], None] = lambda name, value: None,
) -> Floats:
    """The output for texts of token ids, padded with 0: hidden states or embeddings.

    `watch` is told of every value, padding included.
    """
    lengths = np.array([len(row) for row in rows])
    seq = int(lengths.max())
    ids = np.array([[*row, *[0] * (seq - len(row))] for row in rows])
    mask = np.arange(seq)[None, :] < lengths[:, None]
    values: dict[str, Any] = {}
    for op in encoder.ops:
        match op:
            case fused.Embed():
                made = (op.word[ids] + op.position[:seq]).astype(dtype)
                made = made if op.norm is None else fused.normalise(made, op.norm)
            case fused.Linear():
                x = values[op.x]
                # As one matrix: numpy would multiply text by text.
                made = x.reshape(-1, x.shape[-1]) @ op.weight.astype(dtype, copy=False)
                made = made.reshape(*x.shape[:-1], -1)
                made = made if op.bias is None else made + op.bias
                if op.activation:
                    made = fused.ACTIVATIONS[op.activation](made)
                made = made if op.residual is None else made + values[op.residual]
            case fused.Attention():
                q, k, v = np.split(values[op.qkv], 3, axis=-1)
                made = fused.attention(q, k, v, mask, op.heads, op.scale)
            case fused.LayerNorm():
                x = values[op.x] if op.residual is None else values[op.x] + values[op.residual]
                made = fused.normalise(x, op.norm)
            case fused.Add():
                made = values[op.a] + values[op.b]
            case fused.Pool():
                x = values[op.x] * mask[:, :, None]
                made = x.sum(axis=1) / lengths[:, None] if op.kind == "mean" else x[:, 0]
            case fused.Normalize():
                made = values[op.x] / np.linalg.norm(values[op.x], axis=-1, keepdims=True)
        values[op.output] = made
        watch(op.output, made)
    return np.asarray(values[encoder.output])
