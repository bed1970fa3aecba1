"""Quantised activations and int8 weights: exact integers, the same in both numeric classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernel_check import NUMERICS, check
from wasm_host import WasmHost, interpreted

from pywasm_jit import recipes
from pywasm_jit.ir import KernelError

Array = np.ndarray[Any, Any]


def quantised(x: Array) -> tuple[Array, Array]:
    """(bytes, scales) as `quantize_rows` defines them"""
    largest = np.abs(x).max(1)
    some = largest > 1e-30
    factor = np.where(some, np.float32(63) / np.where(some, largest, 1), 0).astype(np.float32)
    scaled = (x * factor[:, None]).astype(np.float32)
    scale = np.where(some, largest * np.float32(1 / 63), 0).astype(np.float32)
    return (np.rint(scaled) + 64).astype(np.uint8), scale


def packed(weights: Array) -> Array:
    """int8 [K, N] as [N / 8, K / 4, 8] words of four neighbours along K"""
    k, n = weights.shape
    return np.ascontiguousarray(weights.reshape(k // 4, 4, n // 8, 8).transpose(2, 0, 3, 1))


@pytest.mark.parametrize("width", [48, 12])
def test_quantize_rows(wasm: WasmHost, width: int) -> None:
    x = np.random.default_rng(1).standard_normal((5, width)).astype(np.float32)
    x[1], x[2], x[3, 0] = 0, 1e-31, 1e30
    q, scale = quantised(x)
    wanted = {"q": q.view(np.int32), "scale": scale}
    check(wasm, "quantize_rows", {"K": width}, {"x": x}, {"rows": 5}, wanted, 0)


@pytest.mark.parametrize("channels", [False, True])
@pytest.mark.parametrize("width", [48, 12])
def test_quantize_rows_from_least_to_largest(wasm: WasmHost, width: int, channels: bool) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((200, width)).astype(np.float32)
    x[:80] += 2 * rng.standard_normal((80, 1)).astype(np.float32)
    x[1], x[2], x[3, 0] = 0, 1e-31, 1e30
    factor = (rng.random(width) + 0.5).astype(np.float32)
    y = x * factor if channels else x
    least = np.maximum(-y.min(1), 0)
    reach = (np.maximum(y.max(1), 0) + least).astype(np.float32)
    some = reach > 1e-30
    inverse = np.where(some, np.float32(125) / np.where(some, reach, 1), 0).astype(np.float32)
    zero = (np.rint(least * inverse) + 1).astype(np.int32)
    exact = (y * inverse[:, None]).astype(np.float32) + zero[:, None]
    parameters = {"K": width, "channels": channels, "offset": True}
    for numeric in NUMERICS:
        kernel = recipes.build(recipes.default("quantize_rows", parameters, numeric))
        buffers = {"x": x.tobytes(), "q": bytes(x.size), "scale": bytes(800), "zero": bytes(800)}
        if channels:
            buffers["factor_of_channel"] = factor.tobytes()
        made = wasm.run(kernel, buffers, {"rows": 200})
        q = np.frombuffer(made["q"], np.uint8).reshape(x.shape)
        assert q.max() <= 127
        assert np.abs(q - exact).max() <= 0.5
        assert np.array_equal(np.frombuffer(made["zero"], np.int32), zero)
        scale = np.frombuffer(made["scale"], np.float32)
        back = (q.astype(np.float32) - zero[:, None]) * scale[:, None]
        assert (np.abs(back - y) <= scale[:, None] * 0.51 + 1e-30).all()


def test_what_is_no_number_still_gives_bytes_a_dot_product_may_have(wasm: WasmHost) -> None:
    x = np.full((1, 16), np.nan, np.float32)
    x[0, 3:5] = np.inf, -np.inf
    for numeric in NUMERICS:
        kernel = recipes.build(recipes.default("quantize_rows", {"K": 16}, numeric))
        buffers = {"x": x.tobytes(), "q": bytes(16), "scale": bytes(4)}
        assert max(wasm.run(kernel, buffers, {"rows": 1})["q"]) < 128


@pytest.mark.parametrize("offset", [False, True])
@pytest.mark.parametrize(
    ("rows", "K", "N", "bias", "activation", "residual"),
    [
        (1, 4, 8, False, "", False),
        (7, 8, 16, True, "gelu", False),
        (14, 12, 8, True, "", True),
        (3, 64, 8, False, "relu", True),
    ],
)
def test_matmul_i8(
    wasm: WasmHost,
    rows: int,
    K: int,
    N: int,
    bias: bool,
    activation: str,
    residual: bool,
    offset: bool,
) -> None:
    rng = np.random.default_rng(2)
    a = rng.integers(1, 128, (rows, K)).astype(np.uint8)
    weights = rng.integers(-128, 128, (K, N)).astype(np.int8)
    weights[:, 0], a[0] = -128, 127  # the largest sums
    a_scale, b_scale = rng.random(rows, np.float32), rng.random(N, np.float32)
    added, rest = rng.standard_normal(N), rng.standard_normal((rows, N))
    zero = rng.integers(0, 128, (rows, 1)).astype(np.int32) if offset else np.int32(64)
    dot = (a.astype(np.int32) - zero) @ weights.astype(np.int32)
    product = dot * a_scale[:, None] * b_scale + (added if bias else 0)
    if activation:
        from test_kernels import _REFERENCES

        product = np.vectorize(_REFERENCES[activation])(product)
    arrays = {"a": a.view(np.int32), "a_scale": a_scale, "b": packed(weights).view(np.int32)}
    sums = weights.astype(np.int32).sum(0, dtype=np.int32)
    arrays |= {"b_scale": b_scale, "b_sum": sums if offset else 64 * sums, "a_zero": zero}
    arrays |= {"bias": added.astype(np.float32), "residual": rest.astype(np.float32)}
    parameters = {"K": K, "N": N, "bias": bias, "activation": activation, "residual": residual}
    parameters["offset"] = offset
    wanted = (product + (rest if residual else 0)).astype(np.float32)
    check(wasm, "matmul_i8", parameters, arrays, {"rows": rows}, {"c": wanted}, 2e-6)


def test_both_classes_give_the_same_bits() -> None:
    rng = np.random.default_rng(3)
    buffers = {
        "a": rng.integers(1, 128, (2, 8)).astype(np.uint8).tobytes(),
        "a_scale": rng.random(2, np.float32).tobytes(),
        "b": rng.integers(-128, 128, (8, 8)).astype(np.int8).tobytes(),
        "b_scale": rng.random(8, np.float32).tobytes(),
        "b_sum": rng.integers(-1000, 1000, 8).astype(np.int32).tobytes(),
        "bias": rng.random(8, np.float32).tobytes(),
        "c": bytes(64),
    }
    results = [
        interpreted(
            recipes.naive(recipes.default("matmul_i8", {"K": 8, "N": 8, "bias": True}, numeric)),
            buffers,
            {"rows": 2},
        )
        for numeric in NUMERICS
    ]
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("kernel", "parameters", "message"),
    [
        ("matmul_i8", {"K": 6, "N": 8}, "K = 6 is no multiple of 4"),
        ("matmul_i8", {"K": 1 << 20, "N": 8}, "can overflow an i32"),
        ("quantize_rows", {"K": 6}, "K = 6 is no multiple of 4"),
    ],
)
def test_parameters_that_cannot_be_are_named(
    kernel: str, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(KernelError, match=message):
        recipes.default(kernel, parameters, "fused")
