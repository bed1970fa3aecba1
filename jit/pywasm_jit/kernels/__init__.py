"""The kernels, one family a file, and their registry."""

from __future__ import annotations

from pywasm_jit.kernels import attention, embed, matmul, matmul_int8, normalisation, pool
from pywasm_jit.kernels.family import Family

KERNELS: dict[str, Family] = {
    "matmul": matmul.FAMILY,
    "quantize_rows": matmul_int8.QUANTIZE_ROWS,
    "matmul_i8": matmul_int8.MATMUL_I8,
    "attention": attention.FAMILY,
    "embed": embed.FAMILY,
    "layer_norm": normalisation.LAYER_NORM,
    "rms_norm": normalisation.RMS_NORM,
    "normalize": normalisation.NORMALIZE,
    "mean_pool": pool.MEAN_POOL,
    "first_pool": pool.FIRST_POOL,
}
