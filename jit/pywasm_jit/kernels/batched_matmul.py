"""Products of many pairs of matrices, both of them activations."""

from __future__ import annotations

from pywasm_jit.builder import Builder
from pywasm_jit.ir import F32, Kernel, KernelError, Numeric
from pywasm_jit.kernels.family import Family, Parameters
from pywasm_jit.kernels.matmul import PANEL, tile_rows
from pywasm_jit.schedule import Schedule


def batched_matmul(
    K: int, N: int, transposed: bool = False, scale: float = 1.0, *, numeric: Numeric
) -> Kernel:
    """c[i] = a[i] b[i] * scale. a f32[batch, rows, K]; b f32[batch, K, N], or [batch, N, K] if
    `transposed`; c f32[batch, rows, N]. k in order.
    """
    if K % 4 or N % PANEL or K < 4 or N < PANEL:
        raise KernelError(f"batched_matmul: K = {K} is no multiple of 4 or N = {N} none of {PANEL}")
    k = Builder("batched_matmul", numeric)
    batch, rows = k.extent("batch"), k.extent("rows")
    a = k.input("a", F32, batch, rows, K)
    b = k.input("b", F32, batch, *((N, K) if transposed else (K, N)))
    c = k.output("c", F32, batch, rows, N)
    packed = k.scratch("packed", F32, K, PANEL)  # columns that all rows use, next to each other
    with (
        k.parallel("task", batch * (N // PANEL)) as task,
        k.let("which", task // (N // PANEL)) as which,
        k.let("first", task % (N // PANEL) * PANEL) as first,
    ):
        with k.parallel("pack", K) as p, k.parallel("pack_column", PANEL) as n:
            packed[p, n] = b[which, first + n, p] if transposed else b[which, p, first + n]
        with k.parallel("row", rows) as row:
            total = k.register("total", "f32", PANEL)
            with k.parallel("zero", PANEL) as n:
                total[n] = 0.0
            with k.serial("k", K) as p, k.parallel("column", PANEL) as n:
                total[n] = k.mac(a[which, row, p], packed[p, n], total[n])
            with k.parallel("out", PANEL) as n:
                c[which, row, first + n] = total[n] * scale
    return k.kernel()


def _default(schedule: Schedule, parameters: Parameters) -> None:
    schedule.bind("task", "grid").vectorise("pack_column")
    if schedule.kernel().numeric == "fused":
        tile_rows(schedule, 6, (4, 3, 2), 4, back=2)
    else:
        tile_rows(schedule, 5, (4, 3, 2), 4)


FAMILY = Family(batched_matmul, _default)
