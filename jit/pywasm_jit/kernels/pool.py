"""From the rows of a text to one of them, or to one vector."""

from __future__ import annotations

from pywasm_jit.builder import Builder
from pywasm_jit.ir import F32, I32, Kernel, Numeric, op
from pywasm_jit.kernels.family import Family, by_rows, lanes


def mean_pool(width: int, *, numeric: Numeric) -> Kernel:
    """y[b] = the mean of rows 0 to lengths[b] - 1 of text b; 0 for a length of 0.

    x f32[batch * seq, width], lengths i32[batch] (more than seq counts as seq), y f32[batch, width]
    """
    k = Builder("mean_pool", numeric)
    batch, seq = k.extent("batch"), k.extent("seq")
    x = k.input("x", F32, batch * seq, width)
    lengths = k.input("lengths", I32, batch)
    y = k.output("y", F32, batch, width)
    part = lanes(width)
    with (
        k.parallel("task", batch * (width // part)) as task,
        k.let("text", task // (width // part)) as text,
        k.let("first", task % (width // part) * part) as first,
        k.let("length", op("max", op("min", lengths[text], seq), 0)) as length,
    ):
        total = k.register("total", "f32", part)
        with k.parallel("zero", part) as i:
            total[i] = 0.0
        with k.serial("s", length) as s, k.parallel("add", part) as i:
            total[i] = total[i] + x[text * seq + s, first + i]
        count = k.register("count", "f32")
        count[()] = op("to_f32", op("max", length, 1))
        with k.parallel("out", part) as i:
            y[text, first + i] = total[i] / count[()]
    return k.kernel()


def first_pool(width: int, *, numeric: Numeric) -> Kernel:
    """y[b] = row 0 of text b. x f32[batch * seq, width], y f32[batch, width]"""
    k = Builder("first_pool", numeric)
    batch, seq = k.extent("batch"), k.extent("seq")
    x = k.input("x", F32, batch * seq, width)
    y = k.output("y", F32, batch, width)
    with k.parallel("text", batch) as text, k.parallel("i", width) as i:
        y[text, i] = x[text * seq, i]
    return k.kernel()


def last_row(width: int, *, numeric: Numeric) -> Kernel:
    """y = the last row of x. x f32[rows, width], rows > 0; y f32[1, width]"""
    k = Builder("last_row", numeric)
    rows = k.extent("rows")
    x = k.input("x", F32, rows, width)
    y = k.output("y", F32, 1, width)
    with k.parallel("out", 1) as out, k.parallel("i", width) as i:
        y[out, i] = x[rows - 1, i]
    return k.kernel()


MEAN_POOL = Family(mean_pool, by_rows)
FIRST_POOL = Family(first_pool, by_rows)
LAST_ROW = Family(last_row, by_rows)
