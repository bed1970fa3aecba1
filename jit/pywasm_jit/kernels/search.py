"""What vector search computes: distances to listed vectors, and scans of 1-bit codes."""

from __future__ import annotations

from pywasm_jit.builder import Builder
from pywasm_jit.ir import DTYPES, F32, I32, Expr, Kernel, KernelError, Numeric, op
from pywasm_jit.kernels.family import Family, Parameters, by_rows
from pywasm_jit.kernels.row_sums import fold_row
from pywasm_jit.schedule import Schedule

LANES = 16  # rows of a block of 1-bit codes


def distance(dim: int, dtype: str = "f32", metric: str = "dot", *, numeric: Numeric) -> Kernel:
    """out[j] = the dot product (or squared distance, metric "l2") of query and vectors[ids[j]]

    query f32[dim]; vectors f32, f16 or i8 [count, dim], for i8 with scale f32[count]; ids
    i32[rows], clamped to the vectors there are; out f32[rows].
    """
    if dtype not in ("f32", "f16", "i8"):
        raise KernelError(f"distance: vectors of {dtype!r} are none of f32, f16, i8")
    if metric not in ("dot", "l2"):
        raise KernelError(f"distance: metric {metric!r} is neither dot nor l2")
    k = Builder("distance", numeric)
    rows, count = k.extent("rows"), k.extent("count")
    query = k.input("query", F32, dim)
    vectors = k.input("vectors", DTYPES[dtype], count, dim)
    scales = k.input("scale", F32, count) if dtype == "i8" else None
    ids, out = k.input("ids", I32, rows), k.output("out", F32, rows)
    with (
        k.parallel("row", rows) as row,
        k.let("vector", op("max", op("min", ids[row], count - 1), 0)) as vector,
    ):

        def element(i: Expr) -> Expr:
            if scales is None:
                return vectors[vector, i]
            plain = op("to_f32", vectors[vector, i])
            return plain * scales[vector] if metric == "l2" else plain

        def step(partial: Expr, i: Expr) -> Expr:
            if metric == "dot":
                return k.mac(query[i], element(i), partial)
            difference = query[i] - element(i)
            return k.mac(difference, difference, partial)

        total = fold_row(k, "sum", dim, step)
        out[row] = total * scales[vector] if scales and metric == "dot" else total
    return k.kernel()


def scan_1bit(dim: int, *, numeric: Numeric) -> Kernel:
    """out[row] = how many of `dim` bits differ between the query's code and the row's

    query i32[dim / 32]; codes i32[blocks, dim / 32, 16]: word w of row r is [r // 16, w, r % 16];
    out i32[blocks, 16].
    """
    if dim % 32 or dim < 32:
        raise KernelError(f"scan_1bit: dim = {dim} is no multiple of 32")
    k = Builder("scan_1bit", numeric)
    blocks = k.extent("blocks")
    query = k.input("query", I32, dim // 32)
    codes = k.input("codes", I32, blocks, dim // 32, LANES)
    out = k.output("out", I32, blocks, LANES)
    with k.parallel("block", blocks) as block:
        differ = k.register("differ", "i32", LANES)
        with k.parallel("zero", LANES) as lane:
            differ[lane] = 0
        with k.serial("word", dim // 32) as word, k.parallel("lane", LANES) as lane:
            bits = op("popcount", codes[block, word, lane] ^ query[word])
            differ[lane] = differ[lane] + bits
        with k.parallel("out_lane", LANES) as lane:
            out[block, lane] = differ[lane]
    return k.kernel()


def _scan(schedule: Schedule, parameters: Parameters) -> None:
    if parameters["dim"] <= 1024:
        schedule.unroll("word")
    by_rows(schedule, parameters)


DISTANCE = Family(distance, by_rows)
SCAN_1BIT = Family(scan_1bit, _scan)
