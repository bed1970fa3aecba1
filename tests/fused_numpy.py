"""Fused operations executed in numpy, in double precision: what `fused.py` says they mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pywasm.compile import fused

F64 = npt.NDArray[np.float64]


def run_fused(encoder: fused.Encoder, rows: Sequence[Sequence[int]]) -> F64:
    """The output for texts of token ids, padded with 0: hidden states or embeddings."""
    lengths = np.array([len(row) for row in rows])
    batch, seq = len(rows), int(lengths.max())
    ids = np.array([[*row, *[0] * (seq - len(row))] for row in rows])
    mask = np.arange(seq)[None, :] < lengths[:, None]
    values: dict[str, Any] = {}
    for op in encoder.ops:
        match op:
            case fused.Embed():
                made = op.word.astype(np.float64)[ids] + op.position[:seq]
                made = made if op.norm is None else fused.normalise(made, op.norm)
            case fused.Linear():
                made = values[op.x] @ op.weight.astype(np.float64)
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
        assert made.shape[-1] == encoder.widths[op.output]
        values[op.output] = made
    assert batch == len(values[encoder.output])
    return np.asarray(values[encoder.output])
