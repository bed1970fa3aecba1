"""GGML's formats and our own: what is kept to the bit, what is rounded, and how far."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize
from gguf.quants import quantize as gguf_quantize

from pywasm.errors import UserError
from pywasm.generator.ggml import read_matrix, read_vector
from pywasm.generator.gguf_file import GgufFile
from pywasm.generator.matrix import (
    Dense,
    Quantised,
    packed,
    padded,
    quantised,
    stacked,
    taken,
    values,
)
from tests.generator_models import F32, Tiny, write_gguf

SHAPE = (16, 512)
NAME = "blk.0.ffn_down.weight"
_MODEL = Tiny(width=SHAPE[0], heads=2, kv_heads=1, ffn=SHAPE[1], layers=1)


def random_matrix(n: int = 16, k: int = 512, seed: int = 1) -> F32:
    return np.random.default_rng(seed).standard_normal((n, k)).astype(np.float32)


def random_blocks(kind: Type) -> npt.NDArray[np.uint8]:
    """Bytes of a matrix of SHAPE whose scales (two bytes each, f16) are ordinary numbers."""
    elements, size = GGML_QUANT_SIZES[kind]
    rng = np.random.default_rng(3)
    blocks = rng.integers(0, 256, (SHAPE[0], SHAPE[1] // elements, size), np.uint8)
    places = {Type.Q6_K: [size - 2], Type.Q5_0: [0], Type.Q8_0: [0], Type.Q4_0: [0]}
    for at in places.get(kind, [0, 2]):
        halves = rng.uniform(0.01, 0.1, blocks.shape[:2]).astype("<f2")
        blocks[:, :, at : at + 2] = halves[:, :, None].view(np.uint8)
    return blocks.reshape(SHAPE[0], -1)


def opened(folder: Path, kind: Type, raw: npt.NDArray[np.uint8]) -> GgufFile:
    return GgufFile(write_gguf(folder / "m.gguf", _MODEL, blocks={NAME: (kind, raw)}))


@pytest.mark.parametrize("kind", [Type.Q8_0, Type.Q4_0, Type.Q4_1, Type.Q4_K])
def test_formats_with_blocks_of_32_are_kept_to_the_bit(tmp_path: Path, kind: Type) -> None:
    raw = random_blocks(kind)
    matrix = read_matrix(opened(tmp_path, kind, raw), NAME, SHAPE)
    assert isinstance(matrix, Quantised) and matrix.bits == (8 if kind is Type.Q8_0 else 4)
    np.testing.assert_array_equal(values(matrix), dequantize(raw, kind))
    assert matrix.scales == ("f32" if kind is Type.Q4_K else "f16")


@pytest.mark.parametrize("kind", [Type.F32, Type.F16, Type.BF16])
def test_floating_point_is_kept_to_the_bit(tmp_path: Path, kind: Type) -> None:
    raw = gguf_quantize(random_matrix(), kind)
    file = GgufFile(write_gguf(tmp_path / "m.gguf", _MODEL, types={NAME: kind}))
    matrix = read_matrix(file, NAME, SHAPE)
    assert isinstance(matrix, Dense)
    given = _MODEL.weights()["model.layers.0.mlp.down_proj.weight"]
    np.testing.assert_array_equal(matrix.data, dequantize(gguf_quantize(given, kind), kind))
    assert raw.shape[0] == SHAPE[0]


@pytest.mark.parametrize("kind", [Type.Q6_K, Type.Q5_K, Type.Q5_0, Type.Q5_1])
def test_other_formats_are_quantised_again_to_8_bits(tmp_path: Path, kind: Type) -> None:
    raw = random_blocks(kind)
    matrix = read_matrix(opened(tmp_path, kind, raw), NAME, SHAPE)
    assert isinstance(matrix, Quantised) and matrix.bits == 8
    wanted = dequantize(raw, kind)
    blocks = np.abs(wanted).reshape(16, -1, 32).max(axis=2, keepdims=True)
    error = np.abs(values(matrix) - wanted).reshape(16, -1, 32)
    assert (error <= 0.502 * blocks / 127).all()


def test_types_that_are_not_known_are_named(tmp_path: Path) -> None:
    raw = np.zeros((SHAPE[0], SHAPE[1] // 256 * GGML_QUANT_SIZES[Type.Q2_K][1]), np.uint8)
    file = opened(tmp_path, Type.Q2_K, raw)
    with pytest.raises(UserError, match=rf"tensor {NAME} is in Q2_K; can be read: F32, F16"):
        read_matrix(file, NAME, SHAPE)
    file = GgufFile(
        write_gguf(tmp_path / "v.gguf", Tiny(width=64), types={"token_embd.weight": Type.Q8_0})
    )
    with pytest.raises(UserError, match="has no tensor nothing"):
        read_vector(file, "nothing", 4)


@pytest.mark.parametrize("kind", [Type.Q8_0, Type.Q4_1, Type.Q6_K])
def test_scales_that_are_no_numbers_are_refused(tmp_path: Path, kind: Type) -> None:
    raw = random_blocks(kind)
    raw[3, -2 if kind is Type.Q6_K else 0 :][:2] = np.array([np.inf], "<f2").view(np.uint8)
    with pytest.raises(UserError, match=rf"tensor {NAME} at byte [\d,]+: holds NaN or infinity"):
        read_matrix(opened(tmp_path, kind, raw), NAME, SHAPE)


@pytest.mark.parametrize("bits", [4, 8])
def test_quantising_errs_by_half_a_step(bits: int) -> None:
    matrix = random_matrix()
    matrix[2, 32:64] = 0.25
    matrix[5, 64:96] = 0
    made = quantised(Dense(matrix), 4 if bits == 4 else 8)
    assert made.bits == bits and made.scales == "f16"
    step = np.repeat(made.scale, 32, axis=1)
    assert (np.abs(values(made) - matrix) <= 0.51 * step + 1e-3 * np.abs(matrix)).all()
    assert quantised(made, made.bits) is made


def test_a_scale_that_f16_can_not_hold_stays_f32() -> None:
    made = quantised(Dense(random_matrix() * np.float32(1e9)), 8)
    assert made.scales == "f32" and np.isfinite(made.scale).all()


def test_stacking_takes_the_most_bits() -> None:
    four, eight = (quantised(Dense(random_matrix(seed=s)), b) for s, b in ((1, 4), (2, 8)))
    assert stacked([four, four]).shape == (32, 512)
    mixed = stacked([four, eight])
    assert isinstance(mixed, Quantised) and mixed.bits == 8
    np.testing.assert_array_equal(values(mixed)[16:], values(eight))
    assert np.abs(values(mixed)[:16] - values(four)).max() < 0.02
    dense = stacked([four, Dense(random_matrix(seed=3))])
    assert isinstance(dense, Dense)
    np.testing.assert_array_equal(dense.data[:16], values(four))


@pytest.mark.parametrize("bits", [4, 8, 32])
def test_rows_in_another_order_and_rows_of_zeros(bits: int) -> None:
    dense = Dense(random_matrix(13))
    matrix = dense if bits == 32 else quantised(dense, 4 if bits == 4 else 8)
    order = np.random.default_rng(0).permutation(13)
    np.testing.assert_array_equal(values(taken(matrix, order)), values(matrix)[order])
    more = padded(matrix)
    assert more.shape == (16, 512)
    np.testing.assert_array_equal(values(more)[:13], values(matrix))
    assert not values(more)[13:].any()
    assert padded(more) is more


@pytest.mark.parametrize("bits", [4, 8])
def test_packing_is_as_the_kernels_read_it(bits: int) -> None:
    matrix = quantised(Dense(random_matrix(24, 96)), 4 if bits == 4 else 8)
    made = packed("w", matrix)
    b = made["b"].data
    found = np.empty((24, 96), np.float32)
    for n in range(24):
        for k in range(96):
            panel, column, block, at = n // 8, n % 8, k // 32, k % 32
            if bits == 8:
                q = int(b[panel, k // 4, column, k % 4])
            else:
                word = int(b[panel, block, at % 16 // 4, column]) & 0xFFFFFFFF
                q = word >> 8 * (at % 4) + (4 if at >= 16 else 0) & 15
            found[n, k] = np.float32(q) * np.float32(made["scale"].data[panel, block, column])
            if bits == 4:
                found[n, k] += np.float32(made["offset"].data[panel, block, column])
    np.testing.assert_array_equal(found, values(matrix))
