"""Softmax of rows."""

from __future__ import annotations

import math

from pywasm_jit.builder import Builder
from pywasm_jit.functions import exp_of_negative
from pywasm_jit.ir import F32, Expr, Kernel, Numeric
from pywasm_jit.kernels.family import Family, by_rows
from pywasm_jit.kernels.row_sums import max_row, sum_row


def softmax(width: int, *, numeric: Numeric) -> Kernel:
    """y = e**(x - max x) / sum of them, of every row. x, y f32[rows, width]

    An element of -infinity gives 0; a row of nothing else gives NaN.
    """
    k = Builder("softmax", numeric)
    rows = k.extent("rows")
    x, y = k.input("x", F32, rows, width), k.inout("y", F32, rows, width)
    with k.parallel("row", rows) as row:
        largest = max_row(k, "largest", width, lambda i: x[row, i], -math.inf)

        def power(i: Expr) -> Expr:
            return exp_of_negative(k, x[row, i] - largest)

        with k.parallel("power", width) as i:
            y[row, i] = power(i)
        scale = k.register("scale", "f32")
        scale[()] = 1.0 / sum_row(k, "sum", width, lambda i: y[row, i])
        with k.parallel("out", width) as i:
            y[row, i] = y[row, i] * scale[()]
    return k.kernel()


FAMILY = Family(softmax, by_rows)
