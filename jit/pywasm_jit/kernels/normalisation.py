"""Layer normalisation, RMS normalisation and L2 normalisation of rows."""

from __future__ import annotations

from collections.abc import Callable

from pywasm_jit.builder import Array, Builder
from pywasm_jit.ir import F32, Expr, Kernel, Numeric, op
from pywasm_jit.kernels.family import Family, by_rows
from pywasm_jit.kernels.row_sums import sum_of_squares, sum_row


def layer_norm(
    width: int, eps: float = 1e-12, residual: bool = False, *, numeric: Numeric
) -> Kernel:
    """y = (x - mean) / sqrt(variance + eps) * gamma + beta of every row of x (+ residual)."""
    k = Builder("layer_norm", numeric)
    rows = k.extent("rows")
    x = k.input("x", F32, rows, width)
    added = k.input("residual", F32, rows, width) if residual else None
    gamma, beta = k.input("gamma", F32, width), k.input("beta", F32, width)
    y = k.output("y", F32, rows, width)
    with k.parallel("row", rows) as row:

        def value(i: Expr) -> Expr:
            return x[row, i] if added is None else x[row, i] + added[row, i]

        write_layer_norm(k, width, eps, value, gamma, beta, y, row)
    return k.kernel()


def write_layer_norm(
    k: Builder,
    width: int,
    eps: float,
    value: Callable[[Expr], Expr],
    gamma: Array,
    beta: Array,
    y: Array,
    row: Expr,
) -> None:
    """y[row] = the layer normalisation of value(0) ... value(width - 1)."""
    mean = k.register("mean", "f32")
    mean[()] = sum_row(k, "sum", width, value) * (1.0 / width)
    squares = sum_of_squares(k, "square", width, lambda i: value(i) - mean[()])
    scale = k.register("scale", "f32")
    scale[()] = 1.0 / op("sqrt", squares * (1.0 / width) + eps)
    with k.parallel("out", width) as i:
        y[row, i] = k.mac((value(i) - mean[()]) * scale[()], gamma[i], beta[i])


def rms_norm(width: int, eps: float = 1e-5, *, numeric: Numeric) -> Kernel:
    """y = x / sqrt(mean of x**2 + eps) * gamma of every row (Zhang and Sennrich 2019)."""
    k = Builder("rms_norm", numeric)
    rows = k.extent("rows")
    x, gamma = k.input("x", F32, rows, width), k.input("gamma", F32, width)
    y = k.output("y", F32, rows, width)
    with k.parallel("row", rows) as row:
        squares = sum_of_squares(k, "square", width, lambda i: x[row, i])
        scale = k.register("scale", "f32")
        scale[()] = 1.0 / op("sqrt", squares * (1.0 / width) + eps)
        with k.parallel("out", width) as i:
            y[row, i] = x[row, i] * scale[()] * gamma[i]
    return k.kernel()


def normalize(width: int, *, numeric: Numeric) -> Kernel:
    """y = x / max(|x|, 1e-12) of every row, |x| its Euclidean length."""
    k = Builder("normalize", numeric)
    rows = k.extent("rows")
    x = k.input("x", F32, rows, width)
    y = k.output("y", F32, rows, width)
    with k.parallel("row", rows) as row:
        squares = sum_of_squares(k, "square", width, lambda i: x[row, i])
        length = k.register("length", "f32")
        length[()] = op("max", op("sqrt", squares), 1e-12)
        with k.parallel("out", width) as i:
            y[row, i] = x[row, i] / length[()]
    return k.kernel()


LAYER_NORM = Family(layer_norm, by_rows)
RMS_NORM = Family(rms_norm, by_rows)
NORMALIZE = Family(normalize, by_rows)
