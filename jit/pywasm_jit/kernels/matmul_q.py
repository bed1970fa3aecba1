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

from pywasm_jit.builder import Array, Builder
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
from pywasm_jit.kernels.family import Family, Parameters, by_rows
from pywasm_jit.kernels.matmul import PANEL, tile_rows
from pywasm_jit.kernels.row_sums import max_row
from pywasm_jit.schedule import Schedule

BLOCK = 32
WORDS = BLOCK // 4  # of four bytes
_ZERO = 64  # what stands for 0 in activations of 7 bits
_SMALLEST = 1e-30  # blocks without a larger element are 0
_TOP_BITS = -0x7F7F7F80  # 0x80808080: of each byte of a word
_MAGIC = 12582912.0  # 1.5 * 2**23: adding it leaves the nearest integer in the low bits


def quantize_blocks(K: int, bits: int = 8, planes: int = 1, *, numeric: Numeric) -> Kernel:
    """q = round(x / scale), scale = max |x| / the largest q, of every block of 32 in a row.

    x f32[rows, K] -> q i8x4[rows, K/32, planes, 8], scale f32[rows, K/32], sum f32[rows, K/32]:
    scale * the sum of the block's q. Integers are the bytes of their planes, high ones first:
    `bits` 8: signed bytes, q = 256 * high + low, at most 127 or 32639; 7: 0 to 127,
    q + 64 = low or q + 8192 = 128 * high + low, at most 63 or 8191. A block of zeros has scale 0.
    The same in both numeric classes; but two planes of 8 bits are for the class "separate" pairs
    of 16 bits: element 4 i and 4 i + 2 of word i of the first plane, 4 i + 1 and 4 i + 3 of the
    second's.
    """
    check_size("quantize_blocks", K, PANEL)
    if bits not in (7, 8) or planes not in (1, 2):
        raise KernelError(f"quantize_blocks: {planes} planes of {bits} bits are not 1 or 2 of 7, 8")
    levels = {(8, 1): 127.0, (8, 2): 32639.0, (7, 1): 63.0, (7, 2): 8191.0}[bits, planes]
    zero = 0 if bits == 8 else _ZERO << 7 * (planes - 1)
    pairs = _in_pairs(bits == 8, planes, numeric)
    # 128 makes the low byte of a signed integer not negative, so that none is borrowed from high.
    shift = 128 if (bits, planes) == (8, 2) and not pairs else zero
    k = Builder("quantize_blocks", numeric)
    rows = k.extent("rows")
    x = k.input("x", F32, rows, K)
    q = k.output("q", I8X4, rows, K // BLOCK, planes, WORDS)
    scales, sums = (k.output(name, F32, rows, K // BLOCK) for name in ("scale", "sum"))
    with k.parallel("row", rows) as row, k.parallel("block", K // BLOCK) as block:

        def value(i: Expr) -> Expr:
            return x[row, block * BLOCK + i]

        largest = max_row(k, "largest", BLOCK, lambda i: op("abs", value(i)), 0.0)
        some = op("lt", _SMALLEST, largest)
        factor = k.register("factor", "f32")
        factor[()] = op("select", some, levels / largest, 0.0)
        scale = k.register("step", "f32")
        scale[()] = op("select", some, largest * (1.0 / levels), 0.0)
        scales[row, block] = scale[()]
        total = k.register("total", "i32", 4)
        with k.parallel("zero", 4) as lane:
            total[lane] = -zero * WORDS
        with k.serial("half", WORDS // 4) as half, k.parallel("lane", 4) as lane:
            word = half * 4 + lane
            integer = k.register("integer", "i32", 4)
            for number in range(4):
                shifted = value(word * 4 + number) * factor[()] + (_MAGIC + shift)
                integer[number] = op("as_i32", shifted)
            for plane in range(planes if pairs else 0):
                pair = k.register(f"pair_{plane}", "i32")
                pair[()] = (integer[plane] & 0xFFFF) | (integer[plane + 2] << 16)
                q[row, block, plane, word] = pair[()]
                total[lane] = op("dot2", pair[()], 0x00010001, total[lane])
            for plane in range(0 if pairs else planes):
                low = plane == planes - 1
                bytes_ = k.register(f"bytes_{plane}", "i32")
                mask = (1 << bits) - 1
                parts = [
                    ((integer[number] if low else integer[number] >> bits) & mask) << 8 * number
                    for number in range(4)
                ]
                packed = parts[0] | parts[1] | parts[2] | parts[3]
                # Where 128 was added to all, taking it off the low byte again turns its top bit.
                bytes_[()] = packed ^ _TOP_BITS if low and shift > zero else packed
                q[row, block, plane, word] = bytes_[()]
                if low:
                    total[lane] = op("dot4", bytes_[()], 0x01010101, total[lane])
                else:
                    whole = op("dot4", bytes_[()], 0x01010101, 0)
                    total[lane] = total[lane] + (whole << bits)
        whole = (total[0] + total[2]) + (total[1] + total[3])
        sums[row, block] = op("to_f32", whole) * scale[()]
    return k.kernel()


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
    pairs = _in_pairs(bits == 4, planes, numeric)
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
                    if pairs:
                        for plane in range(planes):
                            for half in range(2):
                                values = b[panel, block, word, n] >> (8 * plane + 4 * half)
                                at = a[row, block, plane, word + half * (WORDS // 2)]
                                dots[0][n] = op("dot2", at, values & 0x000F000F, dots[0][n])
                    elif bits == 8:
                        values = b[panel, block * WORDS + word, n]
                        for plane, dot in enumerate(dots):
                            dot[n] = op("dot4", values, a[row, block, plane, word], dot[n])
                    else:
                        both = b[panel, block, word, n]
                        low, high = both & 0x0F0F0F0F, (both >> 4) & 0x0F0F0F0F
                        for plane, dot in enumerate(dots):
                            part = op("dot4", a[row, block, plane, word], low, dot[n])
                            last = a[row, block, plane, word + WORDS // 2]
                            dot[n] = op("dot4", last, high, part)
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


def _in_pairs(narrow: bool, planes: int, numeric: Numeric) -> bool:
    """Whether activations are pairs of 16 bits, which weights of 4 bits (`narrow`) can have."""
    return narrow and planes == 2 and numeric == "separate"


def _take_zeros(k: Builder, blocks: int, b: Array, panel: Expr, first: Array) -> None:
    """first[block, column] = -64 * the sum of the weights: once for all rows."""
    with k.parallel("zeros", blocks) as block:
        sum_ = k.register("weights", "i32", PANEL)
        with k.parallel("w_zero", PANEL) as n:
            sum_[n] = 0
        with k.serial("w", WORDS) as word, k.parallel("w_column", PANEL) as n:
            sum_[n] = op("dot4", b[panel, block * WORDS + word, n], 0x01010101 * _ZERO, sum_[n])
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


def check_size(kernel: str, K: int, N: int) -> None:
    if K % BLOCK or N % PANEL or K < BLOCK or N < PANEL:
        raise KernelError(f"{kernel}: K = {K} is no multiple of {BLOCK} or N = {N} none of {PANEL}")


def _default(schedule: Schedule, parameters: Parameters) -> None:
    schedule.bind("panel", "grid")
    bits, planes = parameters.get("bits", 4), parameters.get("planes", 1)
    numeric = schedule.kernel().numeric
    if numeric == "fused":
        # 8 sums of dot products, 2 a row and plane, leave registers for what is multiplied.
        tile, tails = (2, ()) if planes == 2 else (4, (2,))
        tile_rows(schedule, tile, tails, WORDS // 2 if bits == 4 else WORDS)
    elif _in_pairs(bits == 4, planes, numeric):
        tile_rows(schedule, 4, (2,), 1)
    else:
        tile_rows(schedule, 3, (), 1)
    schedule.vectorise("start*").vectorise("add*")
    if bits == 8:
        schedule.unroll("w")
        for loop in ("w_zero", "w_column", "w_out"):
            schedule.vectorise(loop)


QUANTIZE_BLOCKS = Family(quantize_blocks, by_rows)
MATMUL_Q = Family(matmul_q, _default)
