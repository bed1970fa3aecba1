"""Matrix product with weights in panels of 8 columns, and what follows it, in registers."""

from __future__ import annotations

from collections.abc import Sequence

from pywasm_jit.builder import Builder
from pywasm_jit.ir import F16, F32, Kernel, KernelError, Numeric
from pywasm_jit.kernels.epilogue import Epilogue
from pywasm_jit.kernels.family import Family, Parameters
from pywasm_jit.schedule import Schedule

PANEL = 8


def matmul(
    K: int,
    N: int,
    weights: str = "f32",
    bias: bool = False,
    activation: str = "",
    residual: bool = False,
    *,
    numeric: Numeric,
) -> Kernel:
    """c[row, n] = activation(sum over k of a[row, k] * b[k, n] + bias[n]) + residual[row, n]

    a f32[rows, K]; b, f32 or f16, [N/8, K, 8]: b[k, n] is at [n // 8, k, n % 8]. k in order.
    A panel of f16 is widened once for all rows.
    """
    if K % 4 or N % PANEL or K < 4 or N < PANEL:
        raise KernelError(f"matmul: K = {K} is no multiple of 4 or N = {N} none of {PANEL}")
    if weights not in ("f32", "f16"):
        raise KernelError(f"matmul: weights {weights!r} are neither f32 nor f16")
    k = Builder("matmul", numeric)
    rows = k.extent("rows")
    a = k.input("a", F32, rows, K)
    b = k.input("b", F16 if weights == "f16" else F32, N // PANEL, K, PANEL)
    epilogue = Epilogue.declare(k, rows, N, bias, activation, residual)
    c = k.output("c", F32, rows, N)
    wide = k.scratch("wide", F32, K, PANEL) if weights == "f16" else None
    with k.parallel("panel", N // PANEL) as panel:
        if wide is not None:
            with k.parallel("widen", K) as p, k.parallel("widen_column", PANEL) as n:
                wide[p, n] = b[panel, p, n]
        with k.parallel("row", rows) as row:
            total = k.register("total", "f32", PANEL)
            with k.parallel("zero", PANEL) as n:
                total[n] = 0.0
            with k.serial("k", K) as p, k.parallel("column", PANEL) as n:
                weight = b[panel, p, n] if wide is None else wide[p, n]
                total[n] = k.mac(a[row, p], weight, total[n])
            with k.parallel("out", PANEL) as n:
                column = panel * PANEL + n
                c[row, column] = epilogue.apply(total[n], row, column)
    return k.kernel()


def tile_rows(
    schedule: Schedule,
    tile: int,
    tails: Sequence[int],
    unroll: int,
    back: int = 0,
    whole: Sequence[int] = (),
) -> None:
    """The register tile of kernels made like `matmul`: loops row, k, zero, column, out."""
    schedule.split("row", tile, tails, back, whole)
    if unroll > 1:
        schedule.split("k*", unroll)
    schedule.jam("row*.i").unroll("row*.i*")
    if unroll > 1:
        schedule.unroll("k*.i")
    for loop in ("zero*", "column*", "out*"):
        schedule.vectorise(loop)


def share(schedule: Schedule, block: int) -> None:
    """Threads take (block of rows, panel) pairs: a panel stays in L1, a block's rows in L2."""
    schedule.block("row", block).reorder("panel", "row.b").fuse("row.b", "panel")
    schedule.bind("row.b+panel", "grid")


def _default(schedule: Schedule, parameters: Parameters) -> None:
    fused = schedule.kernel().numeric == "fused"
    if parameters.get("weights", "f32") == "f16":
        schedule.bind("panel", "grid").vectorise("widen_column")
    else:
        # Whole tiles; and what is read of `a` for every panel, 0.4 MB at most, stays in L2.
        tiles = 22 if parameters["K"] <= 768 else 11
        share(schedule, tiles * 6 if fused else tiles * 6 // 5 * 5)
    # 12 accumulators + 2 of b + 1 of a are the 15 vector registers that an engine leaves; a
    # product that waits for its addition needs one more.
    if fused:
        tile_rows(schedule, 6, (4, 3, 2), 4, back=2, whole=(5,))
    else:
        tile_rows(schedule, 5, (4, 3, 2), 4)


FAMILY = Family(matmul, _default)
