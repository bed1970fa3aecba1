"""Activations quantised in blocks of 32, for products with weights that are as well.

Integers are chosen so that relaxed SIMD's dot product (signed bytes times 0 to 127) is exact:
signed bytes for weights of 4 bits, bytes from 0 to 127 for weights of 8 bits.
"""

from __future__ import annotations

from pywasm_jit.builder import Builder
from pywasm_jit.ir import F32, I8X4, Expr, Kernel, KernelError, Numeric, op
from pywasm_jit.kernels.family import Family, by_rows
from pywasm_jit.kernels.matmul import PANEL
from pywasm_jit.kernels.row_sums import max_row

BLOCK = 32
WORDS = BLOCK // 4  # of four bytes
ZERO = 64  # what stands for 0 in activations of 7 bits
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
    zero = 0 if bits == 8 else ZERO << 7 * (planes - 1)
    pairs = in_pairs(bits == 8, planes, numeric)
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


def in_pairs(narrow: bool, planes: int, numeric: Numeric) -> bool:
    """Whether activations are pairs of 16 bits, which weights of 4 bits (`narrow`) can have."""
    return narrow and planes == 2 and numeric == "separate"


def check_size(kernel: str, K: int, N: int) -> None:
    if K % BLOCK or N % PANEL or K < BLOCK or N < PANEL:
        raise KernelError(f"{kernel}: K = {K} is no multiple of {BLOCK} or N = {N} none of {PANEL}")


FAMILY = Family(quantize_blocks, by_rows)
