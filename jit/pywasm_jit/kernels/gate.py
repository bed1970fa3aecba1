"""The gate of a Llama feed-forward layer (SwiGLU, Shazeer 2020)."""

from __future__ import annotations

from pywasm_jit.builder import Builder
from pywasm_jit.functions import silu
from pywasm_jit.ir import F32, Kernel, Numeric
from pywasm_jit.kernels.family import Family, by_rows, lanes


def silu_mul(width: int, *, numeric: Numeric) -> Kernel:
    """y = silu(gate) * up. x f32[rows, 2 * width]: gate, then up; y f32[rows, width]

    A row is worked on in parts, so that threads can share a single one.
    """
    part = 16 * lanes(width) if width % (16 * lanes(width)) == 0 else lanes(width)
    k = Builder("silu_mul", numeric)
    rows = k.extent("rows")
    x, y = k.input("x", F32, rows, 2 * width), k.output("y", F32, rows, width)
    with (
        k.parallel("task", rows * (width // part)) as task,
        k.let("row", task // (width // part)) as row,
        k.let("first", task % (width // part) * part) as first,
        k.parallel("i", part) as i,
    ):
        y[row, first + i] = silu(k, x[row, first + i]) * x[row, width + first + i]
    return k.kernel()


SILU_MUL = Family(silu_mul, by_rows)
