"""Token embeddings read from the output head's weights, where both are one tensor."""

from __future__ import annotations

from pywasm_jit.builder import Builder
from pywasm_jit.ir import F32, I32, Kernel, Numeric, op
from pywasm_jit.kernels.family import Family, by_rows
from pywasm_jit.kernels.matmul import PANEL
from pywasm_jit.kernels.matmul_q import integers, weights
from pywasm_jit.kernels.quantize_blocks import BLOCK, WORDS, check_size


def embed_block(K: int, bits: int = 8, scales: str = "f32", *, numeric: Numeric) -> Kernel:
    """x[row] = column ids[row] of the weights: scale * integer (+ offset, for 4 bits)

    ids i32[rows]; b, scale and offset as `matmul_q` has them for N = vocab, a multiple of 8;
    x f32[rows, K]. Ids outside of the vocabulary take its first or last column.
    """
    check_size("embed_block", K, PANEL)
    k = Builder("embed_block", numeric)
    rows, vocab = k.extent("rows"), k.extent("vocab")
    ids = k.input("ids", I32, rows)
    b, scale, offset = weights(k, K, vocab // PANEL, bits, scales)
    x = k.output("x", F32, rows, K)
    with (
        k.parallel("row", rows) as row,
        k.let("id", op("max", op("min", ids[row], vocab - 1), 0)) as found,
        k.let("panel", found // PANEL) as panel,
        k.let("column", found % PANEL) as column,
        k.parallel("block", K // BLOCK) as block,
        k.parallel("word", WORDS // 2 if bits == 4 else WORDS) as word,
    ):
        factor = scale[panel, block, column]
        for at, integer in integers(b, bits, panel, block, word, column):
            value = op("to_f32", integer)
            if offset is not None:
                value = k.mac(value, factor, offset[panel, block, column])
            else:
                value = value * factor
            x[row, block * BLOCK + at] = value
    return k.kernel()


FAMILY = Family(embed_block, by_rows)
