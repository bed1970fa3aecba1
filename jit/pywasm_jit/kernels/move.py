"""Kernels that compute nothing: gather and transpose."""

from __future__ import annotations

from pywasm_jit.builder import Builder
from pywasm_jit.ir import DTYPES, I32, Kernel, KernelError, Numeric, op
from pywasm_jit.kernels.family import Family, Parameters, by_rows
from pywasm_jit.schedule import Schedule


def gather(width: int, dtype: str = "f32", *, numeric: Numeric) -> Kernel:
    """y[i] = table[ids[i]]; ids outside of the table take its first or last row.

    table f32, f16, i32 or i8 [count, width]; ids i32[rows]; y [rows, width], f32 for f16.
    """
    if dtype not in ("f32", "f16", "i32", "i8"):
        raise KernelError(f"gather: a table of {dtype!r} is none of f32, f16, i32, i8")
    k = Builder("gather", numeric)
    rows, count = k.extent("rows"), k.extent("count")
    table, ids = k.input("table", DTYPES[dtype], count, width), k.input("ids", I32, rows)
    y = k.output("y", DTYPES["f32" if dtype == "f16" else dtype], rows, width)
    with (
        k.parallel("row", rows) as row,
        k.let("source", op("max", op("min", ids[row], count - 1), 0)) as source,
        k.parallel("i", width) as i,
    ):
        y[row, i] = table[source, i]
    return k.kernel()


def transpose(width: int, dtype: str = "f32", *, numeric: Numeric) -> Kernel:
    """y[batch, i, row] = x[batch, row, i]; x [batch, rows, width], y [batch, width, rows]"""
    if dtype not in ("f32", "i32"):
        raise KernelError(f"transpose: {dtype!r} is neither f32 nor i32")
    k = Builder("transpose", numeric)
    batch, rows = k.extent("batch"), k.extent("rows")
    x = k.input("x", DTYPES[dtype], batch, rows, width)
    y = k.output("y", DTYPES[dtype], batch, width, rows)
    with (
        k.parallel("line", batch * width) as line,
        k.let("b", line // width) as b,
        k.let("i", line % width) as i,
        k.parallel("row", rows) as row,
    ):
        y[b, i, row] = x[b, row, i]
    return k.kernel()


def _lines(schedule: Schedule, parameters: Parameters) -> None:
    """Rows are as many as are given: four at a time are read from their places."""
    schedule.bind("line", "grid").split("row", 4).vectorise("row.i")


GATHER = Family(gather, by_rows)
TRANSPOSE = Family(transpose, _lines)
