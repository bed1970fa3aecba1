"""Weights of 4 and 8 bits in blocks of 32."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernel_check import check
from wasm_host import WasmHost

from pywasm_jit import recipes
from pywasm_jit.ir import KernelError

Array = np.ndarray[Any, Any]


def by_panels(values: Array) -> Array:
    """[X, N] as [N / 8, X, 8]"""
    x, n = values.shape
    return np.ascontiguousarray(values.reshape(x, n // 8, 8).transpose(1, 0, 2))


def packed(weights: Array, bits: int) -> Array:
    """[K, N] as words along K in panels: i32[N / 8, words, 8]"""
    k, n = weights.shape
    if bits == 4:
        blocks = weights.reshape(k // 32, 2, 16, n).astype(np.uint8)
        weights = (blocks[:, 0] | blocks[:, 1] << 4).reshape(k // 2, n)
    words = weights.reshape(-1, 4, n // 8, 8).transpose(2, 0, 3, 1)
    return np.ascontiguousarray(words).astype(np.uint8).view(np.int32)[..., 0]


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("rows", "K", "N"), [(1, 32, 8), (4, 64, 16)])
def test_matmul_block(wasm: WasmHost, bits: int, rows: int, K: int, N: int) -> None:
    rng = np.random.default_rng(1)
    a = rng.integers(1, 128, (rows, K)).astype(np.uint8)
    low, high = (0, 16) if bits == 4 else (-128, 128)
    weights = rng.integers(low, high, (K, N)).astype(np.int32)
    scale = rng.random((K // 32, N), np.float32)
    offset = rng.standard_normal((K // 32, N)).astype(np.float32)
    a_scale, bias = rng.random(rows, np.float32), rng.standard_normal(N).astype(np.float32)
    rest = rng.standard_normal((rows, N)).astype(np.float32)
    plain = weights * np.repeat(scale, 32, 0)
    if bits == 4:
        plain = plain + np.repeat(offset, 32, 0)
    centred = a.astype(np.float64) - 64
    sums = centred.reshape(rows, -1, 32).sum(2).astype(np.float32)
    arrays = {
        "a": a.view(np.int32),
        "a_scale": a_scale,
        "a_sum": sums,
        "b": packed(weights, bits),
        "scale": by_panels(scale),
        "b_sum": by_panels(64 * weights.reshape(-1, 32, N).sum(1)).astype(np.int32),
        "offset": by_panels(offset),
        "bias": bias,
        "residual": rest,
    }
    if bits == 8:
        del arrays["a_sum"], arrays["offset"]
    parameters = {"K": K, "N": N, "bits": bits, "bias": True, "activation": "relu"}
    wanted = np.maximum(centred @ plain * a_scale[:, None] + bias, 0) + rest
    outputs = {"c": wanted.astype(np.float32)}
    check(
        wasm,
        "matmul_block",
        {**parameters, "residual": True},
        arrays,
        {"rows": rows},
        outputs,
        2e-5,
    )


def test_block_sums(wasm: WasmHost) -> None:
    q = np.random.default_rng(1).integers(0, 128, (3, 96)).astype(np.uint8)
    wanted = (q.astype(np.float32) - 64).reshape(3, 3, 32).sum(2)
    arrays, extents = {"q": q.view(np.int32)}, {"rows": 3}
    check(wasm, "block_sums", {"K": 96}, arrays, extents, {"sums": wanted}, 0)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"K": 48, "N": 8}, "K = 48"), ({"K": 32, "N": 8, "bits": 5}, "5 bits")],
)
def test_parameters_that_cannot_be_are_named(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(KernelError, match=message):
        recipes.default("matmul_block", parameters, "separate")
