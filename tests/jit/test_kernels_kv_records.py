"""Moving tokens in the KV arena, and records of 8 and 4 bits, against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernel_check import NUMERICS, memory
from test_kernels_kv import DIM, KV_HEADS, LAYERS, POSITIONS, TABLE, angles
from wasm_host import WasmHost, grid_size, interpreted

from pywasm_jit import recipes
from pywasm_jit.ir import KernelError, Numeric
from pywasm_jit.kernels.kv_records import layout

Array = np.ndarray[Any, Any]
SHAPE = {"kv_heads": KV_HEADS, "head_dim": DIM, "layers": LAYERS}
TO = np.array([0, 2, 5, 7], np.int32)  # blocks that TABLE has not
KV_BLOCKS = 8


def arena(rng: np.random.Generator) -> Array:
    return rng.standard_normal((KV_BLOCKS, LAYERS, 2, KV_HEADS * DIM * 32)).astype(np.float16)


def tokens(kv: Array, table: Array, first: int, rows: int) -> tuple[Array, Array]:
    """(keys, values) [rows, LAYERS, KV_HEADS, DIM] of positions from `first` on"""
    keys = kv[:, :, 0].reshape(KV_BLOCKS, LAYERS, KV_HEADS, DIM, 32)
    values = kv[:, :, 1].reshape(KV_BLOCKS, LAYERS, KV_HEADS, 32, DIM)
    at = [(table[place // 32], place % 32) for place in range(first, first + rows)]
    return (
        np.array([keys[block, :, :, :, token] for block, token in at]).astype(np.float64),
        np.array([values[block, :, :, token] for block, token in at]).astype(np.float64),
    )


def turned(keys: Array, by: int | Array) -> Array:
    cos, sin = angles()
    turn = (cos + 1j * sin)[np.abs(by)]
    turn = np.where(np.asarray(by)[..., None] < 0, turn.conj(), turn)
    pairs = (keys[..., : DIM // 2] + 1j * keys[..., DIM // 2 :]) * turn.reshape(-1, 1, 1, DIM // 2)
    return np.concatenate([pairs.real, pairs.imag], -1)


def run(
    wasm: WasmHost,
    name: str,
    parameters: dict[str, Any],
    arrays: dict[str, Array],
    extents: dict[str, int],
    outputs: dict[str, Array],
    numeric: Numeric,
) -> dict[str, bytearray]:
    """The interpreter's result, which is Wasm's, whole and in two slices of the grid."""
    recipe = recipes.default(name, parameters, numeric)
    naive, scheduled = recipes.naive(recipe), recipes.build(recipe)
    buffers = memory(naive, arrays, outputs)
    result = interpreted(naive, buffers, extents)
    assert wasm.run(scheduled, buffers, extents) == result
    size = grid_size(scheduled, extents)
    first = wasm.run(scheduled, buffers, extents, (0, size // 2))
    assert wasm.run(scheduled, first, extents, (size // 2, size)) == result
    return result


def as_arena(content: bytearray) -> Array:
    return np.frombuffer(bytes(content), np.float16).reshape(KV_BLOCKS, LAYERS, 2, -1)


@pytest.mark.parametrize(("start", "end", "rows"), [(5, 60, 9), (90, 30, 5), (33, 33, 2)])
@pytest.mark.parametrize("numeric", NUMERICS)
def test_kv_move(wasm: WasmHost, numeric: Numeric, start: int, end: int, rows: int) -> None:
    kv = arena(np.random.default_rng(1))
    cos, sin = angles()
    arrays = {"cos": cos, "sin": sin, "places": np.array([start, end], np.int32)}
    arrays |= {"source": TABLE, "table": TO, "kv": kv}
    extents = {"rows": rows, "positions": POSITIONS, "source_blocks": 4, "blocks": 4}
    extents["kv_blocks"] = KV_BLOCKS
    made = as_arena(run(wasm, "kv_move", SHAPE, arrays, extents, {}, numeric)["kv"])
    keys, values = tokens(kv, TABLE, start, rows)
    moved_keys, moved_values = tokens(made, TO, end, rows)
    np.testing.assert_array_equal(moved_values, values)
    tolerance = 0 if start == end else 2**-9
    np.testing.assert_allclose(moved_keys, turned(keys, end - start), rtol=0, atol=tolerance * 2)
    assert (made != kv).sum() <= rows * LAYERS * 2 * KV_HEADS * DIM  # and nothing else


def record(rows: int, bits: int) -> dict[str, Array]:
    """Buffers of that many bytes, of what type the kernels have."""
    sizes = layout(rows, bits=bits, **SHAPE)
    types = {"keys": np.uint8, "values": np.uint8}
    return {
        name: np.zeros(size // np.dtype(types.get(name, np.float16)).itemsize, types.get(name))
        if name in types
        else np.zeros(size // 2, np.float16)
        for name, (_, size) in sizes.items()
        if name != "end"
    }


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("rows", [1, 7])
@pytest.mark.parametrize("numeric", NUMERICS)
def test_a_record_comes_back_at_another_place(
    wasm: WasmHost, numeric: Numeric, rows: int, bits: int
) -> None:
    """Every element within half a step, of the range of its channel or token."""
    kv = arena(np.random.default_rng(2))
    start, end = 29, 62
    cos, sin = angles()
    shared = {"cos": cos, "sin": sin}
    extents = {"rows": rows, "positions": POSITIONS, "blocks": 4, "kv_blocks": KV_BLOCKS}
    arrays = {**shared, "place": np.array([start, 0], np.int32), "table": TABLE, "kv": kv}
    parameters = {**SHAPE, "bits": bits}
    empty = record(rows, bits)
    packed = run(wasm, "kv_pack", parameters, arrays, extents, empty, numeric)
    arrays = {name: np.frombuffer(bytes(packed[name]), empty[name].dtype) for name in empty}
    arrays |= {**shared, "place": np.array([end, 0], np.int32), "table": TO, "kv": kv}
    made = as_arena(run(wasm, "kv_unpack", parameters, arrays, extents, {}, numeric)["kv"])
    keys, values = tokens(kv, TABLE, start, rows)
    keys = turned(keys, -np.arange(start, start + rows))
    found_keys, found_values = tokens(made, TO, end, rows)
    found_keys = turned(found_keys, -np.arange(end, end + rows))
    for found, wanted, axis in ((found_keys, keys, 0), (found_values, values, -1)):
        step = np.ptp(wanted, axis=axis, keepdims=True) / ((1 << bits) - 1)
        assert (np.abs(found - wanted) <= step * 0.51 + 0.004).all()
        assert rows == 1 or np.abs(found - wanted).max() > 1e-6


def test_channels_of_one_value_have_no_scale(wasm: WasmHost) -> None:
    kv = np.full((KV_BLOCKS, LAYERS, 2, KV_HEADS * DIM * 32), 0.75, np.float16)
    cos, sin = angles()
    arrays = {"cos": cos, "sin": sin, "place": np.zeros(2, np.int32), "table": TABLE, "kv": kv}
    extents = {"rows": 1, "positions": POSITIONS, "blocks": 4, "kv_blocks": KV_BLOCKS}
    packed = run(wasm, "kv_pack", SHAPE, arrays, extents, record(1, 8), "fused")
    for name, value in (("keys", 0), ("values", 0)):
        assert set(packed[name]) == {value}
    for name, number in (("key_scale", 0), ("key_low", 0.75), ("value_low", 0.75)):
        assert (np.frombuffer(bytes(packed[name]), np.float16) == number).all()


def test_buffers_of_a_record_begin_at_multiples_of_16() -> None:
    found = layout(3, kv_heads=3, head_dim=8, layers=1, bits=4)
    assert found["keys"] == (0, 36)
    assert found["values"] == (48, 36)
    assert found["key_scale"] == (96, 48)
    assert found["value_low"] == (224, 18)
    assert found["end"] == (256, 0)


@pytest.mark.parametrize("kernel", ["kv_pack", "kv_unpack"])
def test_parameters_that_cannot_be_are_named(kernel: str) -> None:
    with pytest.raises(KernelError, match="3 bits"):
        recipes.default(kernel, SHAPE | {"bits": 3}, "fused")
    with pytest.raises(KernelError, match="head_dim = 12"):
        recipes.default(kernel, SHAPE | {"head_dim": 12}, "fused")
