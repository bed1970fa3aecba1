"""Distances to listed vectors and Hamming distances of 1-bit codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernel_check import check
from wasm_host import WasmHost

from pywasm_jit import recipes
from pywasm_jit.ir import KernelError


@pytest.mark.parametrize("metric", ["dot", "l2"])
@pytest.mark.parametrize("dtype", ["f32", "f16", "i8"])
def test_distance(wasm: WasmHost, dtype: str, metric: str) -> None:
    rng = np.random.default_rng(1)
    query = rng.standard_normal(40).astype(np.float32)
    vectors, scale = rng.standard_normal((6, 40)), rng.random(6, np.float32)
    stored = (
        (vectors * 40).astype(np.int8)
        if dtype == "i8"
        else vectors.astype({"f32": "f4", "f16": "f2"}[dtype])
    )
    ids = np.array([5, 0, 3, 6, -1, 2**31 - 1, -(2**31)], np.int32)
    plain = stored.astype(np.float64) * (scale[:, None] if dtype == "i8" else 1)
    chosen = plain[np.clip(ids, 0, 5)]
    wanted = chosen @ query if metric == "dot" else ((chosen - query) ** 2).sum(1)
    check(
        wasm,
        "distance",
        {"dim": 40, "dtype": dtype, "metric": metric},
        {"query": query, "vectors": stored, "scale": scale, "ids": ids},
        {"rows": len(ids), "count": 6},
        {"out": wanted.astype(np.float32)},
        5e-6,
    )


@pytest.mark.parametrize("dim", [32, 96])
def test_scan_1bit(wasm: WasmHost, dim: int) -> None:
    rng = np.random.default_rng(2)
    words = rng.integers(-(2**31), 2**31, (32, dim // 32)).astype(np.int32)
    query = rng.integers(-(2**31), 2**31, dim // 32).astype(np.int32)
    differ = np.unpackbits((words ^ query).view(np.uint8), axis=1).sum(1).astype(np.int32)
    codes = np.ascontiguousarray(words.reshape(2, 16, -1).transpose(0, 2, 1))
    arrays, extents = {"query": query, "codes": codes}, {"blocks": 2}
    check(wasm, "scan_1bit", {"dim": dim}, arrays, extents, {"out": differ.reshape(2, 16)}, 0)


@pytest.mark.parametrize(
    ("kernel", "parameters", "message"),
    [
        ("distance", {"dim": 8, "dtype": "i4"}, "'i4' are none of"),
        ("distance", {"dim": 8, "metric": "cosine"}, "'cosine' is neither"),
        ("scan_1bit", {"dim": 48}, "dim = 48"),
    ],
)
def test_parameters_that_cannot_be_are_named(
    kernel: str, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(KernelError, match=message):
        recipes.default(kernel, parameters, "fused")
