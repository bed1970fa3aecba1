"""The kernels, one family a file, and their registry."""

from __future__ import annotations

from pywasm_jit.kernels import attention, embed, matmul, normalisation, pool
from pywasm_jit.kernels.family import Family

KERNELS: dict[str, Family] = {
    "matmul": matmul.FAMILY,
    "attention": attention.FAMILY,
    "embed": embed.FAMILY,
    "layer_norm": normalisation.LAYER_NORM,
    "rms_norm": normalisation.RMS_NORM,
    "normalize": normalisation.NORMALIZE,
    "mean_pool": pool.MEAN_POOL,
    "first_pool": pool.FIRST_POOL,
}
