"""Matrix product of int8 weights and 7-bit activations, quantised row by row as they come.

An activation is (byte - 64) * scale of its row, byte 1 to 127: relaxed SIMD's dot product is exact
for such bytes, and so every engine gets the same integers. With w the weight's int8,
sum (byte - 64) * w = sum byte * w - 64 * sum w, of which the last is known beforehand.

Two refinements keep the error small where channels differ in size and values lie to one side:
with `channels` a column is multiplied by a factor before it is quantised, and row k of the weights
was divided by it (SmoothQuant, Xiao et al. 2023); with `offset` the byte that stands for 0 is
chosen row by row, so that 125 steps reach from the least to the largest value.
"""

from __future__ import annotations

from pywasm_jit.builder import Builder
from pywasm_jit.ir import F32, I8X4, I32, Expr, Kernel, KernelError, Numeric, op
from pywasm_jit.kernels.epilogue import Epilogue
from pywasm_jit.kernels.family import Family, Parameters, by_rows
from pywasm_jit.kernels.matmul import PANEL, share, tile_rows
from pywasm_jit.kernels.row_sums import max_row
from pywasm_jit.schedule import Schedule

LEVELS, ZERO = 63, 64  # -63 to 63, stored with 64 added
_RANGE = 125  # steps from least to largest with `offset`: however both round, 1 to 127 hold them
_SMALLEST = 1e-30  # rows without a larger element are 0
_MAGIC = 12582912.0  # 1.5 * 2**23: adding it leaves the nearest integer in the low bits


def quantize_rows(
    K: int, channels: bool = False, offset: bool = False, *, numeric: Numeric
) -> Kernel:
    """q = round(x / scale) + 64 in bytes, scale = max |x| / 63 of every row.

    x f32[rows, K] -> q i8x4[rows, K/4], scale f32[rows]. A row of zeros has scale 0 and bytes 64.
    `channels`: x times factor f32[K] instead of x. `offset`: scale = (max(x, 0) - min(x, 0)) /
    125, and zero i32[rows] instead of 64. The same in both numeric classes.
    """
    if K % 4:
        raise KernelError(f"quantize_rows: K = {K} is no multiple of 4")
    k = Builder("quantize_rows", numeric)
    rows = k.extent("rows")
    x = k.input("x", F32, rows, K)
    factors = k.input("factor_of_channel", F32, K) if channels else None
    q, scale = k.output("q", I8X4, rows, K // 4), k.output("scale", F32, rows)
    zeros = k.output("zero", I32, rows) if offset else None
    with k.parallel("row", rows) as row:

        def value(i: Expr) -> Expr:
            return x[row, i] if factors is None else x[row, i] * factors[i]

        if zeros is None:
            reach = max_row(k, "largest", K, lambda i: op("abs", value(i)), 0.0)
            levels = float(LEVELS)
        else:
            least = max_row(k, "least", K, lambda i: 0.0 - value(i), 0.0)
            reach = max_row(k, "largest", K, value, 0.0) + least
            levels = float(_RANGE)
        some = op("lt", _SMALLEST, reach)
        factor = k.register("factor", "f32")
        factor[()] = op("select", some, levels / reach, 0.0)
        scale[row] = op("select", some, reach * (1.0 / levels), 0.0)
        shift = k.register("shift", "f32", init=_MAGIC + ZERO)
        if zeros is not None:
            shift[()] = least * factor[()] + (_MAGIC + 1)
            zeros[row] = op("as_i32", shift[()]) & 127
        with k.parallel("word", K // 4) as word:

            def byte(number: int) -> Expr:
                shifted = value(word * 4 + number) * factor[()] + shift[()]
                return (op("as_i32", shifted) & 127) << 8 * number

            q[row, word] = byte(0) | byte(1) | byte(2) | byte(3)
    return k.kernel()


def matmul_i8(
    K: int,
    N: int,
    bias: bool = False,
    activation: str = "",
    residual: bool = False,
    offset: bool = False,
    *,
    numeric: Numeric,
) -> Kernel:
    """c = activation((dot - b_sum) * a_scale * b_scale + bias) + residual

    a i8x4[rows, K/4] and a_scale f32[rows] as `quantize_rows` makes them; b i8x4[N/8, K/4, 8]:
    weights k to k + 3 of column n are the bytes of [n // 8, k // 4, n % 8]; b_scale f32[N];
    b_sum i32[N]: 64 * the sum of a column's weights. c f32[rows, N]. `offset`: a_zero i32[rows]
    comes behind a_scale, b_sum is the plain sum, and a_zero * b_sum is subtracted.
    """
    if K % 4 or N % PANEL or K < 4 or N < PANEL:
        raise KernelError(f"matmul_i8: K = {K} is no multiple of 4 or N = {N} none of {PANEL}")
    if K > 1 << 17:
        raise KernelError(f"matmul_i8: K = {K} can overflow an i32; at most {1 << 17}")
    k = Builder("matmul_i8", numeric)
    rows = k.extent("rows")
    a, a_scale = k.input("a", I8X4, rows, K // 4), k.input("a_scale", F32, rows)
    a_zero = k.input("a_zero", I32, rows) if offset else None
    b = k.input("b", I8X4, N // PANEL, K // 4, PANEL)
    b_scale, b_sum = k.input("b_scale", F32, N), k.input("b_sum", I32, N)
    epilogue = Epilogue.declare(k, rows, N, bias, activation, residual)
    c = k.output("c", F32, rows, N)
    with k.parallel("panel", N // PANEL) as panel, k.parallel("row", rows) as row:
        total = k.register("total", "i32", PANEL)
        with k.parallel("zero", PANEL) as n:
            total[n] = 0
        with k.serial("k", K // 4) as p, k.parallel("column", PANEL) as n:
            total[n] = op("dot4", b[panel, p, n], a[row, p], total[n])
        with k.parallel("out", PANEL) as n:
            column = panel * PANEL + n
            excess = b_sum[column] if a_zero is None else a_zero[row] * b_sum[column]
            product = op("to_f32", total[n] - excess) * (a_scale[row] * b_scale[column])
            c[row, column] = epilogue.apply(product, row, column)
    return k.kernel()


def _default(schedule: Schedule, parameters: Parameters) -> None:
    fused = schedule.kernel().numeric == "fused"
    share(schedule, 132 if fused else 128)
    if fused:
        unroll = 2 if parameters["K"] % 8 == 0 else 1
        tile_rows(schedule, 6, (4, 3, 2), unroll, back=2, whole=(5,))
    else:
        tile_rows(schedule, 4, (2,), 1)


QUANTIZE_ROWS = Family(quantize_rows, by_rows)
MATMUL_I8 = Family(matmul_i8, _default)
