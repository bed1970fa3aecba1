"""One number of every row: sum, mean, largest, smallest."""

from __future__ import annotations

import math

from pywasm_jit.builder import Builder
from pywasm_jit.ir import F32, Expr, Kernel, KernelError, Numeric, op
from pywasm_jit.kernels.family import Family, by_rows
from pywasm_jit.kernels.row_sums import fold_row

_STARTS = {"sum": 0.0, "mean": 0.0, "max": -math.inf, "min": math.inf}


def reduce(width: int, operation: str = "sum", *, numeric: Numeric) -> Kernel:
    """y[row] = the sum, mean, max or min of x[row]; x f32[rows, width], y f32[rows]"""
    if operation not in _STARTS:
        raise KernelError(f"reduce: {operation!r} is none of {', '.join(_STARTS)}")
    k = Builder("reduce", numeric)
    rows = k.extent("rows")
    x, y = k.input("x", F32, rows, width), k.output("y", F32, rows)

    def join(a: Expr, b: Expr) -> Expr:
        return op(operation, a, b) if operation in ("max", "min") else a + b

    with k.parallel("row", rows) as row:
        result = fold_row(
            k, "part", width, lambda part, i: join(part, x[row, i]), join, _STARTS[operation]
        )
        y[row] = result * (1.0 / width) if operation == "mean" else result
    return k.kernel()


FAMILY = Family(reduce, by_rows)
