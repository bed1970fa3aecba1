"""The peers' models: GGUF blocks as codes, and the graph against a decoder written out in numpy."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import pytest
from numpy.typing import NDArray

from pywasm.bench.answers_models import matrix
from pywasm.bench.answers_onnx import EMBEDDING, Floats, Form, Matrix, Shape, export, halves

Q4, Q8 = gguf.GGMLQuantizationType.Q4_1, gguf.GGMLQuantizationType.Q8_0
SHAPE = Shape(layers=2, width=64, heads=4, kv_heads=2, context=64, epsilon=1e-5, rope_base=10000.0)
FFN, VOCAB = 96, 50
MATRICES = {
    "attn_q": (64, 64),
    "attn_k": (32, 64),
    "attn_v": (32, 64),
    "attn_output": (64, 64),
    "ffn_gate": (FFN, 64),
    "ffn_up": (FFN, 64),
    "ffn_down": (64, FFN),
}


def packed(random: np.random.Generator, rows: int, columns: int, kind: object = Q4) -> Matrix:
    values = random.standard_normal((rows, columns), np.float32) / np.sqrt(columns)
    return matrix(gguf.quantize(values.astype(np.float32), kind), kind)


def weights() -> tuple[dict[str, Floats], dict[str, Matrix]]:
    random = np.random.default_rng(3)
    vectors = {"output_norm.weight": random.random(64, np.float32) + 0.5}
    matrices = {EMBEDDING: packed(random, VOCAB, 64, Q8)}
    for layer in range(SHAPE.layers):
        for name, (rows, columns) in MATRICES.items():
            matrices[f"blk.{layer}.{name}.weight"] = packed(random, rows, columns)
        for name in ("attn_norm", "ffn_norm"):
            vectors[f"blk.{layer}.{name}.weight"] = random.random(64, np.float32) + 0.5
    return vectors, matrices


@pytest.mark.parametrize("kind", [Q4, Q8])
def test_codes_scales_and_zero_points_are_the_weights(kind: object) -> None:
    found = packed(np.random.default_rng(1), 8, 64, kind)
    blocks = found.scale[:, :, None] * (found.codes - found.zero[:, :, None])
    assert np.abs(blocks.reshape(8, 64) - found.values).max() < 1e-6
    assert int(found.codes.max()) < 2**found.bits


def test_other_types_are_refused() -> None:
    with pytest.raises(ValueError, match="expected Q4_1 or Q8_0"):
        matrix(np.zeros((1, 18), np.uint8), gguf.GGMLQuantizationType.Q4_0)


def test_pairs_of_neighbours_become_halves() -> None:
    given = packed(np.random.default_rng(2), 8, 32)
    found = halves(given, 2)  # two heads of four outputs
    assert np.array_equal(found.values, given.values[[0, 2, 1, 3, 4, 6, 5, 7]])
    assert np.array_equal(found.codes, given.codes[[0, 2, 1, 3, 4, 6, 5, 7]])


def expected(ids: list[int], vectors: dict[str, Floats], matrices: dict[str, Matrix]) -> Floats:
    """Logits of the last token, in float64, RoPE on neighbours as GGUF has it."""

    def norm(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + SHAPE.epsilon) * vectors[name]

    def rotated(x: NDArray[np.float64]) -> NDArray[np.float64]:
        half = SHAPE.head_dim // 2
        rates = SHAPE.rope_base ** -(np.arange(half) / half)
        turns = np.exp(1j * np.arange(len(x))[:, None, None] * rates)
        turned = (x[..., 0::2] + 1j * x[..., 1::2]) * turns
        return np.stack([turned.real, turned.imag], -1).reshape(x.shape)

    values = {name: given.values.astype(np.float64) for name, given in matrices.items()}
    x = values[EMBEDDING][ids]
    mask = np.triu(np.full((len(ids), len(ids)), -np.inf), 1)
    for layer in range(SHAPE.layers):
        block = f"blk.{layer}"
        h = norm(x, f"{block}.attn_norm.weight")
        q, k, v = (
            (h @ values[f"{block}.attn_{name}.weight"].T).reshape(len(ids), -1, SHAPE.head_dim)
            for name in "qkv"
        )
        q, k = rotated(q), rotated(k)
        k, v = (np.repeat(part, SHAPE.heads // SHAPE.kv_heads, axis=1) for part in (k, v))
        scores = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(SHAPE.head_dim) + mask
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        mixed = np.einsum("hij,jhd->ihd", shares, v).reshape(len(ids), -1)
        x = x + mixed @ values[f"{block}.attn_output.weight"].T
        h = norm(x, f"{block}.ffn_norm.weight")
        gate = h @ values[f"{block}.ffn_gate.weight"].T
        up = h @ values[f"{block}.ffn_up.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ values[f"{block}.ffn_down.weight"].T
    logits = norm(x[-1], "output_norm.weight") @ values[EMBEDDING].T
    return logits.astype(np.float32)


@pytest.mark.parametrize(("form", "close"), [("q4", 0.05), ("int8", 0.15)])
def test_the_graph_is_the_decoder_at_once_and_token_by_token(
    tmp_path: Path, form: Form, close: float
) -> None:
    vectors, matrices = weights()
    export(vectors, matrices, SHAPE, form, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(
        str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    empty = np.zeros((1, SHAPE.kv_heads, 0, SHAPE.head_dim), np.float32)
    past = {name.replace("present", "past"): empty for name in names[1:]}
    ids = [3, 14, 15, 9, 26, 5]

    def run(given: list[int], total: int, past: dict[str, Floats]) -> dict[str, Floats]:
        mask = np.ones((1, total), np.int64)
        feeds = {"input_ids": np.array([given]), "attention_mask": mask, **past}
        return dict(zip(names, session.run(None, feeds), strict=True))

    right = expected(ids, vectors, matrices)
    whole = run(ids, len(ids), past)["logits"][0, 0]
    assert np.abs(whole - right).max() < close * np.abs(right).max()
    for end in range(1, len(ids) + 1):
        found = run([ids[end - 1]], end, past)
        past = {name.replace("present", "past"): found[name] for name in names[1:]}
    assert np.abs(found["logits"][0, 0] - right).max() < close * np.abs(right).max()
