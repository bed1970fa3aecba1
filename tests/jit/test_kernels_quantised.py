"""Activations and weights quantised in blocks of 32, against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernel_check import NUMERICS, check
from test_kernels_block import by_panels, packed
from wasm_host import WasmHost

from pywasm_jit import recipes
from pywasm_jit.ir import KernelError, Numeric

Array = np.ndarray[Any, Any]


def blocks(
    x: Array, bits: int, planes: int, numeric: Numeric = "fused"
) -> tuple[Array, Array, Array, Array]:
    """(words, scale, sum) as `quantize_blocks` defines them, and the integers"""
    low = 1 << bits
    levels = low // 2 - 1 if planes == 1 else 32639 if bits == 8 else 8191
    parts = x.reshape(len(x), -1, 32)
    largest = np.abs(parts).max(2)
    some = largest > 1e-30
    factor = np.float32(levels) / np.where(some, largest, 1)
    q = np.rint(parts * np.where(some, factor, 0).astype(np.float32)[..., None]).astype(np.int32)
    scale = np.where(some, largest * np.float32(1 / levels), 0).astype(np.float32)
    sums = (q.sum(2) * scale).astype(np.float32)
    return words(q, bits, planes, numeric), scale, sums, q.reshape(x.shape)


def words(q: Array, bits: int, planes: int, numeric: Numeric = "fused") -> Array:
    """Integers [rows, blocks, 32] as words of the bytes of their planes, high ones first"""
    if bits == 8 and planes == 2 and numeric == "separate":
        halves = q.astype(np.int16).reshape(*q.shape[:2], 8, 2, 2).transpose(0, 1, 4, 2, 3)
        return np.ascontiguousarray(halves).view(np.int32)[..., 0]
    if bits == 7:
        q = q + (64 if planes == 1 else 8192)
        found = [q >> 7, q & 127] if planes == 2 else [q]
    else:
        low = q.astype(np.int8).astype(np.int32)
        found = [(q - low) // 256, low] if planes == 2 else [q]
    assert all(part.min() >= -128 and part.max() <= 127 for part in found)
    return np.ascontiguousarray(np.stack(found, 2).astype(np.int8)).view(np.int32)


def product(
    rng: np.random.Generator,
    bits: int,
    rows: int,
    K: int,
    N: int,
    planes: int = 1,
    numeric: Numeric = "fused",
) -> dict[str, Array]:
    """What `matmul_q` is given, by name, "exact": the product in double precision, and "plain":
    the weights.
    """
    x, width = rng.standard_normal((rows, K)).astype(np.float32), 8 if bits == 4 else 7
    _, a_scale, a_sum, q = blocks(x, width, planes)
    low, high = (0, 16) if bits == 4 else (-128, 128)
    weights = rng.integers(low, high, (K, N)).astype(np.int32)
    weights[:, 0], q[0, :32] = (low if bits == 8 else 15), -np.abs(q).max()  # the largest sums
    a_sum[0, 0] = a_scale[0, 0] * q[0, :32].sum()
    scale = (rng.random((K // 32, N)) / 16).astype(np.float16).astype(np.float32)
    offset = rng.standard_normal((K // 32, N)).astype(np.float16).astype(np.float32)
    plain = weights * np.repeat(scale, 32, 0).astype(np.float64)
    given = {
        "a": words(q.reshape(rows, -1, 32), width, planes, numeric),
        "a_scale": a_scale,
        "b": packed(weights, bits),
    }
    given["scale"] = by_panels(scale)
    if bits == 4:
        plain = plain + np.repeat(offset, 32, 0)
        given |= {"a_sum": a_sum, "offset": by_panels(offset)}
    return given | {
        "exact": (q * np.repeat(a_scale, 32, 1).astype(np.float64)) @ plain,
        "plain": plain,
    }


@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize("bits", [7, 8])
@pytest.mark.parametrize("width", [32, 96])
def test_quantize_blocks(wasm: WasmHost, width: int, bits: int, planes: int) -> None:
    x = np.random.default_rng(1).standard_normal((5, width)).astype(np.float32)
    x[1], x[2], x[3, 0] = 0, 1e-31, 1e30
    integers = blocks(x, bits, planes)[-1]
    assert np.abs(integers).max() == {1: {7: 63, 8: 127}, 2: {7: 8191, 8: 32639}}[planes][bits]
    parameters = {"K": width, "bits": bits, "planes": planes}
    for numeric in NUMERICS:
        q, scale, sums, _ = blocks(x, bits, planes, numeric)
        wanted = {"q": q, "scale": scale, "sum": sums}
        check(wasm, "quantize_blocks", parameters, {"x": x}, {"rows": 5}, wanted, 0, (numeric,))


@pytest.mark.parametrize("planes", [1, 2])
def test_what_is_no_number_still_gives_bytes_a_dot_product_may_have(
    wasm: WasmHost, planes: int
) -> None:
    x = np.full((1, 32), np.nan, np.float32)
    x[0, 3:5] = np.inf, -np.inf
    for numeric in NUMERICS:
        parameters = {"K": 32, "bits": 7, "planes": planes}
        recipe = recipes.default("quantize_blocks", parameters, numeric)
        buffers = {"x": x.tobytes(), "q": bytes(32 * planes), "scale": bytes(4), "sum": bytes(4)}
        assert max(wasm.run(recipes.build(recipe), buffers, {"rows": 1})["q"]) < 128


@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("rows", "K", "N", "added"), [(1, 32, 8, False), (7, 64, 24, True)])
def test_matmul_q(
    wasm: WasmHost, rows: int, K: int, N: int, added: bool, bits: int, planes: int
) -> None:
    parameters = {"K": K, "N": N, "bits": bits, "planes": planes}
    parameters |= {"bias": added, "residual": added}
    for numeric in NUMERICS:
        rng = np.random.default_rng(1)
        given = product(rng, bits, rows, K, N, planes, numeric)
        wanted = given.pop("exact")
        if added:
            given["bias"] = rng.standard_normal(N).astype(np.float32)
            given["residual"] = rng.standard_normal((rows, N)).astype(np.float32)
            wanted = wanted + given["bias"] + given["residual"]
        outputs, extents = {"c": wanted.astype(np.float32)}, {"rows": rows}
        check(wasm, "matmul_q", parameters, given, extents, outputs, 2e-5, (numeric,))


def halves(given: dict[str, Array]) -> dict[str, Array]:
    """The same with scales and offsets stored as f16."""
    names = {"scale", "offset"} & given.keys()
    return given | {name: given[name].astype(np.float16) for name in names}


@pytest.mark.parametrize("bits", [4, 8])
def test_scales_of_16_bits_give_the_same(wasm: WasmHost, bits: int) -> None:
    given = product(np.random.default_rng(4), bits, 5, 64, 16)
    wanted = {"c": given.pop("exact").astype(np.float32)}
    parameters, extents = {"K": 64, "N": 16, "bits": bits}, {"rows": 5}
    wide = check(wasm, "matmul_q", parameters, given, extents, wanted, 2e-5)
    parameters["scales"] = "f16"
    narrow = check(wasm, "matmul_q", parameters, halves(given), extents, wanted, 2e-5)
    assert wide["c"] == narrow["c"]


@pytest.mark.parametrize("scales", ["f32", "f16"])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("rows", [1, 8])
def test_matmul_dequant(wasm: WasmHost, rows: int, bits: int, scales: str) -> None:
    rng = np.random.default_rng(5)
    given = product(rng, bits, 1, 64, 16)
    given["a"] = rng.standard_normal((rows, 64)).astype(np.float32)
    given["bias"] = rng.standard_normal(16).astype(np.float32)
    given["residual"] = rng.standard_normal((rows, 16)).astype(np.float32)
    wanted = given["a"] @ given["plain"] + given["bias"] + given["residual"]
    arrays = halves(given) if scales == "f16" else given
    parameters = {"K": 64, "N": 16, "bits": bits, "scales": scales}
    parameters |= {"bias": True, "residual": True}
    outputs = {"c": wanted.astype(np.float32)}
    check(wasm, "matmul_dequant", parameters, arrays, {"rows": rows}, outputs, 2e-5)


@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("numeric", NUMERICS)
def test_a_row_has_the_same_bits_whatever_stands_beside_it(
    wasm: WasmHost, numeric: Numeric, bits: int, planes: int
) -> None:
    given = product(np.random.default_rng(2), bits, 13, 96, 16, planes, numeric)
    parameters = {"K": 96, "N": 16, "bits": bits, "planes": planes}
    recipe = recipes.default("matmul_q", parameters, numeric)
    kernel = recipes.build(recipe)
    names = {b.name for b in kernel.buffers if b.space == "global"} - {"c"}

    def run(start: int, end: int) -> bytes:
        rows = {name: given[name][start:end] for name in names if name.startswith("a")}
        buffers = {name: array.tobytes() for name, array in ({**given, **rows}).items()}
        buffers = {name: buffers[name] for name in names} | {"c": bytes((end - start) * 64)}
        return bytes(wasm.run(kernel, buffers, {"rows": end - start})["c"])

    assert run(0, 13) == b"".join(run(row, row + 1) for row in range(13))


@pytest.mark.parametrize("scales", ["f32", "f16"])
@pytest.mark.parametrize("bits", [4, 8])
def test_embed_block(wasm: WasmHost, bits: int, scales: str) -> None:
    given = product(np.random.default_rng(3), bits, 1, 64, 24)
    ids = np.array([0, 23, 7, 9, -5, 24, 2**31 - 1], np.int32)
    wanted = given["plain"].T[np.clip(ids, 0, 23)].astype(np.float32)
    arrays = {"ids": ids, **(halves(given) if scales == "f16" else given)}
    parameters = {"K": 64, "bits": bits, "scales": scales}
    extents = {"rows": len(ids), "vocab": 24}
    check(wasm, "embed_block", parameters, arrays, extents, {"x": wanted})


@pytest.mark.parametrize(
    ("kernel", "parameters", "message"),
    [
        ("quantize_blocks", {"K": 48}, "K = 48"),
        ("quantize_blocks", {"K": 32, "bits": 4}, "1 planes of 4 bits are not"),
        ("quantize_blocks", {"K": 32, "planes": 3}, "3 planes of 8 bits are not"),
        ("matmul_q", {"K": 32, "N": 8, "planes": 3}, "3 planes are neither"),
        ("matmul_q", {"K": 48, "N": 8}, "K = 48"),
        ("matmul_q", {"K": 32, "N": 8, "bits": 5}, "5 bits"),
        ("matmul_q", {"K": 32, "N": 8, "scales": "f8"}, "'f8' are neither"),
        ("matmul_dequant", {"K": 32, "N": 4}, "N = 4 none of 8"),
        ("embed_block", {"K": 33}, "K = 33"),
        ("embed_block", {"K": 32, "bits": 7}, "7 bits"),
    ],
)
def test_parameters_that_cannot_be_are_named(
    kernel: str, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(KernelError, match=message):
        recipes.default(kernel, parameters, "separate")
