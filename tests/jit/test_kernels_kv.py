"""The KV arena: what is written there, and attention over it, against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernel_check import NUMERICS, check
from wasm_host import WasmHost

from pywasm_jit import recipes
from pywasm_jit.ir import KernelError, Numeric

Array = np.ndarray[Any, Any]
HEADS, KV_HEADS, DIM, LAYERS = 4, 2, 8, 2
SHAPE = {"heads": HEADS, "kv_heads": KV_HEADS, "head_dim": DIM, "layers": LAYERS}
TABLE = np.array([4, 1, 6, 3], np.int32)  # of a sequence, in an arena of 7 blocks
POSITIONS = 128
HALF = KV_HEADS * DIM * 32  # elements of the keys of a layer's block


def angles() -> tuple[Array, Array]:
    angle = np.arange(POSITIONS)[:, None] * 100.0 ** (-np.arange(DIM // 2) / (DIM // 2))
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def turned(x: Array, first: int) -> Array:
    """[rows, heads, DIM] as complex numbers times those of positions from `first` on"""
    cos, sin = angles()
    pairs = x[..., : DIM // 2] + 1j * x[..., DIM // 2 :]
    pairs = pairs * (cos + 1j * sin)[first : first + len(x), None]
    return np.concatenate([pairs.real, pairs.imag], -1).astype(np.float32)


def arena(rng: np.random.Generator) -> Array:
    return rng.standard_normal((7, LAYERS * 2 * HALF)).astype(np.float16)


def halves(kv: Array) -> tuple[Array, Array]:
    """(keys [blocks, kv_heads, DIM, 32], values [blocks, kv_heads, 32, DIM]) of layer 0, views"""
    keys = kv[:, :HALF].reshape(-1, KV_HEADS, DIM, 32)
    return keys, kv[:, HALF : 2 * HALF].reshape(-1, KV_HEADS, 32, DIM)


@pytest.mark.parametrize(("rows", "first"), [(1, 0), (1, 63), (5, 30)])
def test_kv_write(wasm: WasmHost, rows: int, first: int) -> None:
    rng = np.random.default_rng(1)
    qkv = rng.standard_normal((rows, HEADS + 2 * KV_HEADS, DIM)).astype(np.float32)
    qkv[0, -1, :3] = 1e6, -1e6, 1e-9
    q = turned(qkv[:, :HEADS], first)
    before = arena(rng)
    kv = before.copy()
    keys, values = halves(kv)
    turned_keys = turned(qkv[:, HEADS : HEADS + KV_HEADS], first)
    for row in range(rows):
        block, token = TABLE[(first + row) // 32], (first + row) % 32
        keys[block, :, :, token] = turned_keys[row]
        values[block, :, token] = np.clip(qkv[row, HEADS + KV_HEADS :], -65504, 65504)
    cos, sin = angles()
    arrays = {"qkv": qkv, "cos": cos, "sin": sin, "place": np.array([first, 0], np.int32)}
    arrays |= {"table": TABLE, "kv": before}
    extents = {"rows": rows, "positions": POSITIONS, "blocks": len(TABLE), "kv_blocks": 7}
    # Keys are rounded twice, to f32 and to f16: one unit of the latter is 2**-10.
    outputs = {"q": q.reshape(rows, -1)}
    made = check(wasm, "kv_write", SHAPE, arrays, extents, outputs)
    found = np.frombuffer(bytes(made["kv"]), np.float16).reshape(kv.shape)
    np.testing.assert_allclose(found.astype(float), kv.astype(float), rtol=2**-10)
    changed = (found != before).any(0).sum() if rows == 1 else None
    assert changed in (None, 2 * KV_HEADS * DIM)


def test_places_that_are_none_stay_inside_the_arena(wasm: WasmHost) -> None:
    """The guards around every buffer are `WasmHost`'s."""
    qkv = np.ones((2, HEADS + 2 * KV_HEADS, DIM), np.float32)
    cos, sin = angles()
    for table, first in (([-7, 99], 0), ([0, 1], 1 << 20), ([0, 1], -5)):
        arrays = {"qkv": qkv, "cos": cos, "sin": sin, "place": np.array([first, 0], np.int32)}
        arrays |= {"table": np.array(table, np.int32), "kv": arena(np.random.default_rng(1))}
        recipe = recipes.default("kv_write", SHAPE, "separate")
        buffers = {name: array.tobytes() for name, array in arrays.items()}
        buffers["q"] = bytes(2 * HEADS * DIM * 4)
        extents = {"rows": 2, "positions": POSITIONS, "blocks": 2, "kv_blocks": 7}
        wasm.run(recipes.build(recipe), buffers, extents)


def attended(q: Array, kv: Array, first: int, scale: float) -> Array:
    keys, values = (part.astype(np.float64) for part in halves(kv))
    out = np.zeros(q.shape)
    heads = q.shape[1]
    for row in range(len(q)):
        place = np.arange(first + row + 1)
        for head in range(heads):
            at = TABLE[place // 32], head // (heads // KV_HEADS)
            score = keys[at[0], at[1], :, place % 32] @ q[row, head].astype(np.float64) * scale
            power = np.exp(score - score.max())
            out[row, head] = power @ values[at[0], at[1], place % 32] / power.sum()
    return out.reshape(len(q), -1).astype(np.float32)


@pytest.mark.parametrize(
    ("heads", "rows", "first", "scale"),
    [
        (4, 1, 0, None),
        (4, 11, 28, 1.5),
        *((KV_HEADS * group, rows, 31, None) for group in (1, 3, 5) for rows in (1, 2)),
    ],
)
def test_paged_attention(
    wasm: WasmHost, heads: int, rows: int, first: int, scale: float | None
) -> None:
    """Key heads are shared by 1, 2, 3 and 5 query heads."""
    rng = np.random.default_rng(2)
    q, kv = rng.standard_normal((rows, heads, DIM)).astype(np.float32), arena(rng)
    wanted = attended(q, kv, first, DIM**-0.5 if scale is None else scale)
    arrays = {"q": q, "place": np.array([first, 0], np.int32), "table": TABLE, "kv": kv}
    extents = {"rows": rows, "blocks": len(TABLE), "kv_blocks": 7}
    parameters = {**SHAPE, "heads": heads, "scale": scale}
    check(wasm, "paged_attention", parameters, arrays, extents, {"out": wanted}, 4e-6)


@pytest.mark.parametrize("numeric", NUMERICS)
def test_a_row_has_the_same_bits_whatever_is_run_with_it_and_lies_behind_it(
    wasm: WasmHost, numeric: Numeric
) -> None:
    rng = np.random.default_rng(3)
    rows, first = 37, 20
    q, kv = rng.standard_normal((rows, HEADS * DIM)).astype(np.float32), arena(rng)
    kernel = recipes.build(recipes.default("paged_attention", SHAPE, numeric))

    def run(start: int, end: int, content: Array) -> bytes:
        buffers = {"q": q[start:end].tobytes(), "kv": content.tobytes(), "table": TABLE.tobytes()}
        buffers["place"] = np.array([first + start, 0], np.int32).tobytes()
        buffers["out"] = bytes(q[start:end].nbytes)
        extents = {"rows": end - start, "blocks": len(TABLE), "kv_blocks": 7}
        return bytes(wasm.run(kernel, buffers, extents)["out"])

    together = run(0, rows, kv)
    for row in range(rows):
        behind = kv.copy()
        keys, values = halves(behind)
        # Bits of infinities and NaNs, as memory that was never written may have.
        for token in range(first + row + 1, 128):
            keys[TABLE[token // 32], :, :, token % 32] = np.nan
            values[TABLE[token // 32], :, token % 32] = -np.inf
        assert run(row, row + 1, behind) == together[row * q[0].nbytes : (row + 1) * q[0].nbytes]


def test_a_layer_is_where_its_address_says(wasm: WasmHost) -> None:
    """Layer 1 of an arena is layer 0 of the memory that begins there."""
    rng = np.random.default_rng(4)
    q, kv = rng.standard_normal((1, HEADS * DIM)).astype(np.float32), arena(rng)
    swapped = np.concatenate([kv[:, 2 * HALF :], kv[:, : 2 * HALF]], 1)
    shifted = np.concatenate([kv.ravel()[2 * HALF :], kv.ravel()[: 2 * HALF]])
    kernel = recipes.build(recipes.default("paged_attention", SHAPE, "fused"))
    results = []
    for content in (swapped, shifted):
        buffers = {"q": q.tobytes(), "kv": content.tobytes(), "table": TABLE.tobytes()}
        buffers |= {"place": np.array([77, 0], np.int32).tobytes(), "out": bytes(q.nbytes)}
        extents = {"rows": 1, "blocks": len(TABLE), "kv_blocks": 7}
        results.append(wasm.run(kernel, buffers, extents)["out"])
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("kernel", "changed", "message"),
    [
        ("kv_write", {"head_dim": 12}, "head_dim = 12"),
        ("paged_attention", {"head_dim": 12}, "head_dim = 12"),
        ("paged_attention", {"kv_heads": 3}, "4 heads can't share 3"),
    ],
)
def test_parameters_that_cannot_be_are_named(
    kernel: str, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(KernelError, match=message):
        recipes.default(kernel, SHAPE | changed, "separate")
