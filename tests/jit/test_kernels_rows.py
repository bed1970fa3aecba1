"""Kernels that work row by row or element by element, and batched products, against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernel_check import check
from wasm_host import WasmHost

from pywasm_jit import recipes
from pywasm_jit.ir import KernelError

Floats = np.ndarray[Any, np.dtype[np.float32]]


def normal(seed: int, *shape: int) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("width", [12, 40])
def test_softmax(wasm: WasmHost, width: int) -> None:
    x = normal(1, 4, width) * 5
    x[1, 3:] = -np.inf
    powers = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    wanted = (powers / powers.sum(1, keepdims=True)).astype(np.float32)
    check(wasm, "softmax", {"width": width}, {"x": x}, {"rows": 4}, {"y": wanted}, 1e-6)


@pytest.mark.parametrize("interleaved", [False, True])
def test_rope(wasm: WasmHost, interleaved: bool) -> None:
    """As complex numbers; places outside of the tables take the first or last position."""
    heads, half, positions = 2, 8, 5
    angles = np.arange(positions)[:, None] * 100.0 ** (-np.arange(half) / half)
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    x, place = normal(1, 4, heads * half * 2), np.array([0, 3, 99, -1], np.int32)
    parts = x.reshape(4, heads, half, 2) if interleaved else x.reshape(4, heads, 2, half)
    pairs = parts if interleaved else parts.transpose(0, 1, 3, 2)
    turn = (cos + 1j * sin)[np.clip(place, 0, positions - 1)][:, None]
    turned = (pairs[..., 0] + 1j * pairs[..., 1]) * turn
    out = np.stack([turned.real, turned.imag], -1)
    out = out if interleaved else out.transpose(0, 1, 3, 2)
    check(
        wasm,
        "rope",
        {"heads": heads, "head_dim": 2 * half, "interleaved": interleaved},
        {"x": x, "place": place, "cos": cos, "sin": sin},
        {"rows": 4, "positions": positions},
        {"y": np.ascontiguousarray(out.reshape(x.shape)).astype(np.float32)},
    )


@pytest.mark.parametrize(
    ("dtype", "stored"), [("f32", "f4"), ("f16", "f2"), ("i32", "i4"), ("i8", "i1")]
)
def test_gather(wasm: WasmHost, dtype: str, stored: str) -> None:
    table = (normal(1, 5, 20) * 30).astype(stored)
    ids = np.array([4, 0, 5, -1, 2**31 - 1, -(2**31)], np.int32)
    wanted = table[np.clip(ids, 0, 4)].astype("f4" if dtype == "f16" else stored)
    parameters, extents = {"width": 20, "dtype": dtype}, {"rows": 6, "count": 5}
    check(wasm, "gather", parameters, {"table": table, "ids": ids}, extents, {"y": wanted}, 0)


@pytest.mark.parametrize("rows", [1, 7, 8])
def test_transpose(wasm: WasmHost, rows: int) -> None:
    x = normal(1, 2, rows, 12)
    wanted = np.ascontiguousarray(x.transpose(0, 2, 1))
    extents = {"batch": 2, "rows": rows}
    check(wasm, "transpose", {"width": 12}, {"x": x}, extents, {"y": wanted}, 0)


@pytest.mark.parametrize("operation", ["sum", "mean", "max", "min"])
def test_reduce(wasm: WasmHost, operation: str) -> None:
    x = normal(1, 3, 48)
    wanted = getattr(np, operation)(x.astype(np.float64), axis=1).astype(np.float32)
    parameters = {"width": 48, "operation": operation}
    check(wasm, "reduce", parameters, {"x": x}, {"rows": 3}, {"y": wanted}, 2e-6)


def test_elementwise(wasm: WasmHost) -> None:
    a, b, c = normal(1, 3, 24), normal(2, 3, 24), normal(3, 24)
    wanted = np.maximum(a + b, 0) * c - 0.5 * np.sqrt(np.abs(a)) / np.exp(-b)
    chain = "a b add relu c mul a abs sqrt b neg exp div 0.5 mul sub"
    parameters = {"width": 24, "chain": chain, "vectors": "c"}
    arrays = {"a": a, "b": b, "c": c}
    check(wasm, "elementwise", parameters, arrays, {"rows": 3}, {"y": wanted}, 4e-6)


@pytest.mark.parametrize("width", [12, 512])
@pytest.mark.parametrize("rows", [1, 3])
def test_silu_mul(wasm: WasmHost, rows: int, width: int) -> None:
    x = normal(1, rows, 2 * width) * 9
    x[0, 0] = -200
    gate, up = x[:, :width].astype(np.float64), x[:, width:]
    wanted = (gate / (1 + np.exp(-gate)) * up).astype(np.float32)
    check(wasm, "silu_mul", {"width": width}, {"x": x}, {"rows": rows}, {"y": wanted})


@pytest.mark.parametrize("rows", [1, 4])
def test_last_row(wasm: WasmHost, rows: int) -> None:
    x = normal(1, rows, 24)
    check(wasm, "last_row", {"width": 24}, {"x": x}, {"rows": rows}, {"y": x[-1:]}, 0)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("rows", [1, 8, 11])
def test_batched_matmul(wasm: WasmHost, rows: int, transposed: bool) -> None:
    a, b = normal(1, 2, rows, 8), normal(2, 2, 8, 16)
    stored = np.ascontiguousarray(b.transpose(0, 2, 1)) if transposed else b
    check(
        wasm,
        "batched_matmul",
        {"K": 8, "N": 16, "transposed": transposed, "scale": 0.25},
        {"a": a, "b": stored},
        {"batch": 2, "rows": rows},
        {"c": (a @ b * 0.25).astype(np.float32)},
    )


@pytest.mark.parametrize(
    ("kernel", "parameters", "message"),
    [
        ("rope", {"heads": 1, "head_dim": 12}, "head_dim = 12"),
        ("gather", {"width": 4, "dtype": "f8"}, "'f8' is none of"),
        ("transpose", {"width": 4, "dtype": "f16"}, "'f16' is neither"),
        ("reduce", {"width": 4, "operation": "median"}, "'median' is none of sum"),
        ("batched_matmul", {"K": 4, "N": 4}, "N = 4 none of 8"),
        ("elementwise", {"width": 4, "chain": "a b"}, "leaves 2 values"),
        ("elementwise", {"width": 4, "chain": "a add"}, "'add' in 'a add' lacks an operand"),
        ("elementwise", {"width": 4, "chain": "a log"}, "no operation 'log'"),
        ("elementwise", {"width": 4, "chain": "a", "vectors": "b"}, "vectors 'b'"),
    ],
)
def test_parameters_that_cannot_be_are_named(
    kernel: str, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(KernelError, match=message):
        recipes.default(kernel, parameters, "separate")
