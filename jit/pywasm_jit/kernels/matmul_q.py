"""Matrix product of weights of 4 or 8 bits and activations that are quantised in blocks as well.

Blocks of 32 along K have a scale of their own on both sides: dot products are of integers within a
block and added up in f32, blocks in order. Integers are chosen so that relaxed SIMD's dot product
(signed bytes times 0 to 127) is exact: weights of 4 bits, 0 to 15, are its small operand and
activations signed bytes; weights of 8 bits are its signed operand and activations -63 to 63 with
64 added, of which the kernel takes 64 * the weights' sum away again.

Where bytes are too coarse an activation is two of them, high and low, and every weight is
multiplied by both. Without relaxed SIMD (class "separate") one product of 16 bits takes the place
of both, with weights of 4 bits: the integers are the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from pywasm_jit.builder import Array, Builder, Cell
from pywasm_jit.ir import (
    F16_FINITE,
    F32,
    I8X4,
    I32,
    Expr,
    Kernel,
    KernelError,
    Numeric,
    Operand,
    op,
)
from pywasm_jit.kernels.epilogue import Epilogue
from pywasm_jit.kernels.family import Family, Parameters
from pywasm_jit.kernels.matmul import PANEL, tile_rows
from pywasm_jit.kernels.quantize_blocks import BLOCK, WORDS, ZERO, check_size, in_pairs
from pywasm_jit.schedule import Schedule


def matmul_q(
    K: int,
    N: int,
    bits: int = 4,
    planes: int = 1,
    scales: str = "f32",
    bias: bool = False,
    residual: bool = False,
    *,
    numeric: Numeric,
) -> Kernel:
    """c = sum over blocks of a_scale * scale * dot (+ a_sum * offset) (+ bias) (+ residual)

    a i8x4[rows, K/32, planes, 8], a_scale f32[rows, K/32] and, for weights of 4 bits, a_sum
    f32[rows, K/32] as `quantize_blocks` makes them: planes of 8 bits for weights of 4, of 7 bits
    for weights of 8. Weights: 4 bits: 0 to 15, b i32[N/8, K/32, 4, 8], byte j of word w holds
    element 4 w + j of the block in its low half, 16 + 4 w + j in its high half; 8 bits:
    b i8x4[N/8, K/4, 8], -128 to 127. scale [N/8, K/32, 8]; offset likewise, for 4 bits: a weight
    is scale * integer + offset; both f32, or f16 if `scales` says so (which GGUF's are: as fast,
    and a sixth less to read). bias f32[N], residual f32[rows, N] if asked for; c f32[rows, N].
    """
    check_size("matmul_q", K, N)
    if planes not in (1, 2):
        raise KernelError(f"matmul_q: {planes} planes are neither 1 nor 2")
    blocks, panels = K // BLOCK, N // PANEL
    pairs = in_pairs(bits == 4, planes, numeric)
    k = Builder("matmul_q", numeric)
    rows = k.extent("rows")
    a = k.input("a", I8X4, rows, blocks, planes, WORDS)
    a_scale = k.input("a_scale", F32, rows, blocks)
    a_sum = k.input("a_sum", F32, rows, blocks) if bits == 4 else None
    b, scale, offset = weights(k, K, panels, bits, scales)
    epilogue = Epilogue.declare(k, rows, N, bias, "", residual)
    c = k.output("c", F32, rows, N)
    first = k.scratch("first", I32, blocks, PANEL) if bits == 8 else None
    with k.parallel("panel", panels) as panel:
        if first is not None:
            _take_zeros(k, blocks, b, panel, first)
        with k.parallel("row", rows) as row:
            sum_ = k.register("sum", "f32", PANEL)
            with k.parallel("zero", PANEL) as n:
                sum_[n] = 0.0
            with k.serial("block", blocks) as block:
                dots = [
                    k.register(f"dot_{plane}", "i32", PANEL)
                    for plane in range(1 if pairs else planes)
                ]
                with k.parallel("start", PANEL) as n:
                    # 64 was added to the highest plane: 64 to q, or 64 * 128.
                    dots[0][n] = 0 if first is None else first[block, n]
                    for dot in dots[1:]:
                        dot[n] = 0
                words = WORDS // 2 if bits == 4 else WORDS
                with k.serial("k", words) as word, k.parallel("column", PANEL) as n:
                    at = panel, block, word, n
                    _add_products(dots, a, b, bits, pairs, row, at)
                with k.parallel("add", PANEL) as n:
                    whole = dots[0][n]
                    if len(dots) == 2:
                        whole = (whole << (8 if bits == 4 else 7)) + dots[1][n]
                    product = op("to_f32", whole) * scale[panel, block, n]
                    total = k.mac(product, a_scale[row, block], sum_[n])
                    if a_sum is not None and offset is not None:
                        total = k.mac(offset[panel, block, n], a_sum[row, block], total)
                    sum_[n] = total
            with k.parallel("out", PANEL) as n:
                column = panel * PANEL + n
                c[row, column] = epilogue.apply(sum_[n], row, column)
    return k.kernel()


def _add_products(
    dots: list[Cell],
    a: Array,
    b: Array,
    bits: int,
    pairs: bool,
    row: Expr,
    at: tuple[Expr, Expr, Expr, Expr],
) -> None:
    """Adds the products of a word of weights, 4 or 8 of them, to the sums of each plane."""
    panel, block, word, n = at
    planes = 2 if pairs else len(dots)
    if bits == 8:
        integers_ = b[panel, block * WORDS + word, n]
        for plane, dot in enumerate(dots):
            dot[n] = op("dot4", integers_, a[row, block, plane, word], dot[n])
        return
    both = b[panel, block, word, n]
    for plane in range(planes):
        first, second = (a[row, block, plane, word + at] for at in (0, WORDS // 2))
        if pairs:
            # Bytes 0 and 2 of a word, or 1 and 3, are halves of 16 bits.
            low, high = ((both >> 8 * plane + shift) & 0x000F000F for shift in (0, 4))
            dots[0][n] = op("dot2", second, high, op("dot2", first, low, dots[0][n]))
        else:
            low, high = ((both >> shift) & 0x0F0F0F0F for shift in (0, 4))
            dots[plane][n] = op("dot4", second, high, op("dot4", first, low, dots[plane][n]))


def _take_zeros(k: Builder, blocks: int, b: Array, panel: Expr, first: Array) -> None:
    """first[block, column] = -64 * the sum of the weights: once for all rows."""
    with k.parallel("zeros", blocks) as block:
        sum_ = k.register("weights", "i32", PANEL)
        with k.parallel("w_zero", PANEL) as n:
            sum_[n] = 0
        with k.serial("w", WORDS) as word, k.parallel("w_column", PANEL) as n:
            sum_[n] = op("dot4", b[panel, block * WORDS + word, n], 0x01010101 * ZERO, sum_[n])
        with k.parallel("w_out", PANEL) as n:
            first[block, n] = op("sub", 0, sum_[n])


def weights(
    k: Builder, K: int, panels: Operand, bits: int, scales: str
) -> tuple[Array, Array, Array | None]:
    """The buffers b, scale and, for 4 bits, offset of weights in blocks and panels."""
    if bits not in (4, 8):
        raise KernelError(f"weights of {bits} bits are of neither 4 nor 8")
    if scales not in ("f32", "f16"):
        raise KernelError(f"scales {scales!r} are neither f32 nor f16")
    dtype, shape = F32 if scales == "f32" else F16_FINITE, (panels, K // BLOCK, PANEL)
    if bits == 8:
        b = k.input("b", I8X4, panels, K // 4, PANEL)
        return b, k.input("scale", dtype, *shape), None
    b = k.input("b", I32, panels, K // BLOCK, WORDS // 2, PANEL)
    return b, k.input("scale", dtype, *shape), k.input("offset", dtype, *shape)


def integers(
    b: Array, bits: int, panel: Expr, block: Expr, word: Expr, column: Expr
) -> Iterator[tuple[Expr, Expr]]:
    """(place in the block, integer) of each weight in one of a block's words."""
    for number in range(4):
        if bits == 8:
            bytes_ = b[panel, block * WORDS + word, column]
            yield word * 4 + number, op("sar", bytes_ << 24 - 8 * number, 24)
        else:
            both = b[panel, block, word, column] >> 8 * number
            yield word * 4 + number, both & 15
            yield word * 4 + (number + BLOCK // 2), (both >> 4) & 15


def _default(schedule: Schedule, parameters: Parameters) -> None:
    schedule.bind("panel", "grid")
    bits, planes = parameters.get("bits", 4), parameters.get("planes", 1)
    numeric = schedule.kernel().numeric
    if numeric == "fused":
        # 8 sums of dot products, 2 a row and plane, leave registers for what is multiplied.
        tile, tails = (2, ()) if planes == 2 else (4, (2,))
        tile_rows(schedule, tile, tails, WORDS // 2 if bits == 4 else WORDS)
    elif in_pairs(bits == 4, planes, numeric):
        tile_rows(schedule, 4, (2,), 1)
    else:
        tile_rows(schedule, 3, (), 1)
    schedule.vectorise("start*").vectorise("add*")
    if bits == 8:
        schedule.unroll("w")
        for loop in ("w_zero", "w_column", "w_out"):
            schedule.vectorise(loop)


FAMILY = Family(matmul_q, _default)
