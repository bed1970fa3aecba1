"""Rotary position embedding (Su et al. 2021)."""

from __future__ import annotations

from pywasm_jit.builder import Builder
from pywasm_jit.ir import F32, I32, Kernel, KernelError, Numeric, op
from pywasm_jit.kernels.family import Family, by_rows


def rope(heads: int, head_dim: int, interleaved: bool = False, *, numeric: Numeric) -> Kernel:
    """Each pair (a, b) of a head turned: (a cos - b sin, a sin + b cos).

    x, y f32[rows, heads * head_dim]; place i32[rows], clamped to the tables cos and sin
    f32[positions, head_dim / 2] (of position * base**(-2 i / head_dim), which the host computes:
    f32 arithmetic is too coarse for large angles). Pairs are elements i and i + head_dim / 2 of a
    head, or 2 i and 2 i + 1 if `interleaved`.
    """
    if head_dim % 8 or heads < 1:
        raise KernelError(f"rope: head_dim = {head_dim} is no multiple of 8")
    half = head_dim // 2
    k = Builder("rope", numeric)
    rows, positions = k.extent("rows"), k.extent("positions")
    x, places = k.input("x", F32, rows, heads * head_dim), k.input("place", I32, rows)
    cos, sin = k.input("cos", F32, positions, half), k.input("sin", F32, positions, half)
    y = k.output("y", F32, rows, heads * head_dim)
    apart = 1 if interleaved else half
    with (
        k.parallel("row", rows) as row,
        k.let("at", op("max", op("min", places[row], positions - 1), 0)) as at,
        k.parallel("head", heads) as head,
        k.parallel("pair", half) as pair,
    ):
        first = head * head_dim + (pair * 2 if interleaved else pair)
        a, b = x[row, first], x[row, first + apart]
        y[row, first] = k.mac(a, cos[at, pair], -(b * sin[at, pair]))
        y[row, first + apart] = k.mac(a, sin[at, pair], b * cos[at, pair])
    return k.kernel()


FAMILY = Family(rope, by_rows)
