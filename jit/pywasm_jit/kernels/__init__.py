"""The kernels, one family a file, and their registry."""

from __future__ import annotations

from pywasm_jit.kernels import (
    attention,
    batched_matmul,
    elementwise,
    embed,
    embed_block,
    gate,
    matmul,
    matmul_block,
    matmul_int8,
    matmul_q,
    move,
    normalisation,
    pool,
    reduce,
    rope,
    search,
    softmax,
)
from pywasm_jit.kernels.family import Family

KERNELS: dict[str, Family] = {
    "matmul": matmul.FAMILY,
    "quantize_rows": matmul_int8.QUANTIZE_ROWS,
    "matmul_i8": matmul_int8.MATMUL_I8,
    "block_sums": matmul_block.BLOCK_SUMS,
    "matmul_block": matmul_block.MATMUL_BLOCK,
    "quantize_blocks": matmul_q.QUANTIZE_BLOCKS,
    "matmul_q": matmul_q.MATMUL_Q,
    "embed_block": embed_block.FAMILY,
    "silu_mul": gate.SILU_MUL,
    "batched_matmul": batched_matmul.FAMILY,
    "attention": attention.FAMILY,
    "embed": embed.FAMILY,
    "layer_norm": normalisation.LAYER_NORM,
    "rms_norm": normalisation.RMS_NORM,
    "normalize": normalisation.NORMALIZE,
    "softmax": softmax.FAMILY,
    "rope": rope.FAMILY,
    "gather": move.GATHER,
    "transpose": move.TRANSPOSE,
    "reduce": reduce.FAMILY,
    "elementwise": elementwise.FAMILY,
    "mean_pool": pool.MEAN_POOL,
    "first_pool": pool.FIRST_POOL,
    "last_row": pool.LAST_ROW,
    "distance": search.DISTANCE,
    "scan_1bit": search.SCAN_1BIT,
}
