"""Matrix product of weights in blocks of 32 along K with a scale (and an offset) each: GGUF's Q8_0,
Q4_0, Q4_1 and what else has that shape.

Activations are quantised row by row to 7 bits (`quantize_rows`, `block_sums`), dot products are of
integers within a block and added up in f32, blocks in order.
"""

from __future__ import annotations

from pywasm_jit.builder import Builder
from pywasm_jit.ir import F32, I8X4, I32, Kernel, KernelError, Numeric, op
from pywasm_jit.kernels.epilogue import Epilogue
from pywasm_jit.kernels.family import Family, Parameters, by_rows
from pywasm_jit.kernels.matmul import PANEL, share, tile_rows
from pywasm_jit.kernels.matmul_int8 import ZERO
from pywasm_jit.schedule import Schedule

BLOCK = 32
WORDS = BLOCK // 4  # of four bytes


def block_sums(K: int, *, numeric: Numeric) -> Kernel:
    """sums[row, block] = the sum of (byte - 64) over a block of 32.

    q i8x4[rows, K/4] as `quantize_rows` makes it -> sums f32[rows, K/32]
    """
    _check(K, PANEL)
    k = Builder("block_sums", numeric)
    rows = k.extent("rows")
    q, sums = k.input("q", I8X4, rows, K // 4), k.output("sums", F32, rows, K // BLOCK)
    with k.parallel("row", rows) as row, k.parallel("block", K // BLOCK) as block:
        total = k.register("total", "i32", 4)
        with k.parallel("zero", 4) as lane:
            total[lane] = -ZERO * BLOCK // 4
        with k.serial("word", WORDS // 4) as word, k.parallel("lane", 4) as lane:
            bytes_ = q[row, block * WORDS + word * 4 + lane]
            total[lane] = op("dot4", 0x01010101, bytes_, total[lane])
        sums[row, block] = op("to_f32", (total[0] + total[2]) + (total[1] + total[3]))
    return k.kernel()


def matmul_block(
    K: int,
    N: int,
    bits: int = 4,
    bias: bool = False,
    activation: str = "",
    residual: bool = False,
    *,
    numeric: Numeric,
) -> Kernel:
    """c = activation(a_scale * sum over blocks of (scale * dot + offset * a_sum) + bias) + residual

    a i8x4[rows, K/4] and a_scale f32[rows] as `quantize_rows` makes them; dot: of a block's
    weights and (byte - 64); a_sum f32[rows, K/32] from `block_sums`. Per block and column: scale
    f32[N/8, K/32, 8]; b_sum i32 likewise, 64 * the sum of its weights; for 4 bits also offset f32.
    Weights: 8 bits: i8x4[N/8, K/4, 8], as for `matmul_i8`, and no a_sum and offset; 4 bits: 0 to
    15, i32[N/8, K/32, 4, 8], byte j of word w holds element 4 w + j of the block in its low half,
    16 + 4 w + j in its high half.
    """
    _check(K, N)
    if bits not in (4, 8):
        raise KernelError(f"matmul_block: {bits} bits are neither 4 nor 8")
    blocks = K // BLOCK
    k = Builder("matmul_block", numeric)
    rows = k.extent("rows")
    a, a_scale = k.input("a", I8X4, rows, K // 4), k.input("a_scale", F32, rows)
    a_sum = k.input("a_sum", F32, rows, blocks) if bits == 4 else None
    if bits == 4:
        b = k.input("b", I32, N // PANEL, blocks, WORDS // 2, PANEL)
    else:
        b = k.input("b", I8X4, N // PANEL, K // 4, PANEL)
    scale = k.input("scale", F32, N // PANEL, blocks, PANEL)
    b_sum = k.input("b_sum", I32, N // PANEL, blocks, PANEL)
    offset = k.input("offset", F32, N // PANEL, blocks, PANEL) if bits == 4 else None
    epilogue = Epilogue.declare(k, rows, N, bias, activation, residual)
    c = k.output("c", F32, rows, N)
    with k.parallel("panel", N // PANEL) as panel, k.parallel("row", rows) as row:
        sum_ = k.register("sum", "f32", PANEL)
        with k.parallel("zero", PANEL) as n:
            sum_[n] = 0.0
        with k.serial("block", blocks) as block:
            dot = k.register("dot", "i32", PANEL)
            with k.parallel("start", PANEL) as n:
                dot[n] = op("sub", 0, b_sum[panel, block, n])
            words = WORDS // 2 if bits == 4 else WORDS
            with k.serial("k", words) as word, k.parallel("column", PANEL) as n:
                at = block * WORDS + word
                if bits == 8:
                    dot[n] = op("dot4", b[panel, at, n], a[row, at], dot[n])
                else:
                    both = b[panel, block, word, n]
                    low, high = both & 0x0F0F0F0F, (both >> 4) & 0x0F0F0F0F
                    first = op("dot4", low, a[row, at], dot[n])
                    dot[n] = op("dot4", high, a[row, at + WORDS // 2], first)
            with k.parallel("add", PANEL) as n:
                total = k.mac(op("to_f32", dot[n]), scale[panel, block, n], sum_[n])
                if a_sum is not None and offset is not None:
                    total = k.mac(a_sum[row, block], offset[panel, block, n], total)
                sum_[n] = total
        with k.parallel("out", PANEL) as n:
            column = panel * PANEL + n
            c[row, column] = epilogue.apply(sum_[n] * a_scale[row], row, column)
    return k.kernel()


def _check(K: int, N: int) -> None:
    if K % BLOCK or N % PANEL or K < BLOCK or N < PANEL:
        raise KernelError(f"K = {K} is no multiple of {BLOCK} or N = {N} none of {PANEL}")


def _default(schedule: Schedule, parameters: Parameters) -> None:
    share(schedule, 64)
    bits = parameters.get("bits", 4)
    if schedule.kernel().numeric == "fused":
        tile_rows(schedule, 4, (2,), WORDS // 2 if bits == 4 else WORDS)
    else:
        tile_rows(schedule, 3, (), 1)
    schedule.vectorise("start*").vectorise("add*")


BLOCK_SUMS = Family(block_sums, by_rows)
MATMUL_BLOCK = Family(matmul_block, _default)
