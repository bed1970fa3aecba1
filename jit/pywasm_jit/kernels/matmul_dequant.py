"""Matrix product of weights of 4 or 8 bits and activations that stay f32: the exact path."""

from __future__ import annotations

from pywasm_jit.builder import Builder
from pywasm_jit.ir import F32, Kernel, Numeric, op
from pywasm_jit.kernels.epilogue import Epilogue
from pywasm_jit.kernels.family import Family, Parameters
from pywasm_jit.kernels.matmul import PANEL, tile_rows
from pywasm_jit.kernels.matmul_q import integers, weights
from pywasm_jit.kernels.quantize_blocks import BLOCK, WORDS, check_size
from pywasm_jit.schedule import Schedule


def matmul_dequant(
    K: int,
    N: int,
    bits: int = 4,
    scales: str = "f32",
    bias: bool = False,
    residual: bool = False,
    *,
    numeric: Numeric,
) -> Kernel:
    """c[row, n] = sum over k of a[row, k] * weight[k, n] (+ bias) (+ residual), k in order

    a f32[rows, K]; weights (b, scale and, for 4 bits, offset), bias and residual as for
    `matmul_q`; c f32[rows, N]. A panel is widened once for all rows.
    """
    check_size("matmul_dequant", K, N)
    k = Builder("matmul_dequant", numeric)
    rows = k.extent("rows")
    a = k.input("a", F32, rows, K)
    b, scale, offset = weights(k, K, N // PANEL, bits, scales)
    epilogue = Epilogue.declare(k, rows, N, bias, "", residual)
    c = k.output("c", F32, rows, N)
    wide = k.scratch("wide", F32, K, PANEL)
    with k.parallel("panel", N // PANEL) as panel:
        with (
            k.parallel("block", K // BLOCK) as block,
            k.parallel("word", WORDS if bits == 8 else WORDS // 2) as word,
            k.parallel("widen", PANEL) as n,
        ):
            factor = scale[panel, block, n]
            for at, integer in integers(b, bits, panel, block, word, n):
                value = op("to_f32", integer)
                if offset is not None:
                    value = k.mac(value, factor, offset[panel, block, n])
                else:
                    value = value * factor
                wide[block * BLOCK + at, n] = value
        with k.parallel("row", rows) as row:
            total = k.register("total", "f32", PANEL)
            with k.parallel("zero", PANEL) as n:
                total[n] = 0.0
            with k.serial("k", K) as p, k.parallel("column", PANEL) as n:
                total[n] = k.mac(a[row, p], wide[p, n], total[n])
            with k.parallel("out", PANEL) as n:
                column = panel * PANEL + n
                c[row, column] = epilogue.apply(total[n], row, column)
    return k.kernel()


def _default(schedule: Schedule, parameters: Parameters) -> None:
    schedule.bind("panel", "grid").unroll("word").vectorise("widen")
    if schedule.kernel().numeric == "fused":
        tile_rows(schedule, 6, (4, 3, 2), 4, back=2)
    else:
        tile_rows(schedule, 5, (4, 3, 2), 4)


FAMILY = Family(matmul_dequant, _default)
