"""The converter against transformers' output for MiniLM, and against numpy for every family."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest

from pywasm.bert_onnx import FAMILIES, build_model, relative_buckets
from pywasm.encoder import Encoder
from pywasm.errors import UserError

F32 = npt.NDArray[np.float32]
HIDDEN, HEADS, LAYERS, INNER, WORDS, POSITIONS = 16, 4, 2, 24, 50, 24
BUCKETS = 32


def test_minilm_agrees_with_transformers(encoder: Encoder) -> None:
    golden = json.loads((Path(__file__).parent / "data" / "minilm.json").read_text("utf-8"))
    made = encoder.embed_documents([row["text"] for row in golden["rows"]])
    wanted = np.array([row["embedding"] for row in golden["rows"]])
    assert np.abs(made - wanted).max() < 1e-5


def config_of(kind: str) -> dict[str, Any]:
    family = FAMILIES[kind]
    return {
        "model_type": kind,
        family.hidden: HIDDEN,
        family.heads: HEADS,
        family.layers: LAYERS,
        family.activation: "gelu",
        "layer_norm_eps": 1e-5,
        "pad_token_id": 1,
    }


def random_weights(kind: str) -> dict[str, F32]:
    family = FAMILIES[kind]
    random = np.random.default_rng(7)

    def tensor(*shape: int) -> F32:
        return random.normal(0, 0.5, shape).astype(np.float32)

    weights = {
        "embeddings.word_embeddings.weight": tensor(WORDS, HIDDEN),
        "embeddings.position_embeddings.weight": tensor(POSITIONS, HIDDEN),
        "embeddings.LayerNorm.weight": tensor(HIDDEN),
        "embeddings.LayerNorm.bias": tensor(HIDDEN),
    }
    if family.token_types:
        weights["embeddings.token_type_embeddings.weight"] = tensor(2, HIDDEN)
    if family.relative_positions:
        weights["encoder.relative_attention_bias.weight"] = tensor(BUCKETS, HEADS)
    for layer in range(LAYERS):
        prefix = family.layer.format(i=layer)
        for name in (family.query, family.key, family.value, family.attention_out):
            weights[f"{prefix}{name}.weight"] = tensor(HIDDEN, HIDDEN)
            weights[f"{prefix}{name}.bias"] = tensor(HIDDEN)
        weights[f"{prefix}{family.up}.weight"] = tensor(INNER, HIDDEN)
        weights[f"{prefix}{family.up}.bias"] = tensor(INNER)
        weights[f"{prefix}{family.down}.weight"] = tensor(HIDDEN, INNER)
        weights[f"{prefix}{family.down}.bias"] = tensor(HIDDEN)
        for name in (family.attention_norm, family.norm):
            weights[f"{prefix}{name}.weight"] = tensor(HIDDEN)
            weights[f"{prefix}{name}.bias"] = tensor(HIDDEN)
    return weights


def by_definition(kind: str, weights: dict[str, F32], ids: list[int]) -> npt.NDArray[np.float64]:
    """One sequence through the network, in float64, straight from the papers."""
    family = FAMILIES[kind]
    w = {name: value.astype(np.float64) for name, value in weights.items()}

    def norm(name: str, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return scaled * w[name + ".weight"] + w[name + ".bias"]

    def linear(name: str, x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return x @ w[name + ".weight"].T + w[name + ".bias"]

    length = len(ids)
    positions = np.arange(length) + (2 if family.positions_after_padding else 0)
    x = w["embeddings.word_embeddings.weight"][ids]
    x = x + w["embeddings.position_embeddings.weight"][positions]
    if family.token_types:
        x = x + w["embeddings.token_type_embeddings.weight"][0]
    x = norm("embeddings.LayerNorm", x)
    size = HIDDEN // HEADS
    for layer in range(LAYERS):
        prefix = family.layer.format(i=layer)
        query, key, value = (
            linear(prefix + name, x).reshape(length, HEADS, size).transpose(1, 0, 2)
            for name in (family.query, family.key, family.value)
        )
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(size)
        if family.relative_positions:
            table = w["encoder.relative_attention_bias.weight"]
            scores = scores + table[relative_buckets(length, BUCKETS)].transpose(2, 0, 1)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (scores / scores.sum(-1, keepdims=True)) @ value
        mixed = mixed.transpose(1, 0, 2).reshape(length, HIDDEN)
        x = norm(prefix + family.attention_norm, x + linear(prefix + family.attention_out, mixed))
        inner = linear(prefix + family.up, x)
        inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        x = norm(prefix + family.norm, x + linear(prefix + family.down, inner))
    return x


@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_every_family_computes_its_definition_and_ignores_padding(kind: str) -> None:
    weights = random_weights(kind)
    model = build_model(config_of(kind), {"model." + k: v for k, v in weights.items()}, "test")
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    short, long = [5, 9, 3], [7, 2, 11, 30, 4, 8]
    feeds = {
        "input_ids": np.array([short + [1] * 3, long], np.int64),
        "attention_mask": np.array([[1, 1, 1, 0, 0, 0], [1] * 6], np.int64),
        "token_type_ids": np.zeros((2, 6), np.int64),
    }
    names = {value.name for value in session.get_inputs()}
    (states,) = session.run(None, {name: feeds[name] for name in names})
    assert np.abs(states[0, :3] - by_definition(kind, weights, short)).max() < 1e-4
    assert np.abs(states[1] - by_definition(kind, weights, long)).max() < 1e-4


def test_relative_buckets_split_directions_and_grow() -> None:
    buckets = relative_buckets(200, 32)
    assert buckets[10, 10] == 0
    assert buckets[10, 9] == 1 and buckets[10, 11] == 17  # before and after the query
    assert buckets[199, 0] == 15 and buckets[0, 199] == 31  # the farthest of each half
    assert (np.diff(buckets[0, :].astype(int)) >= 0)[1:].all()


def test_what_is_not_supported_is_said() -> None:
    with pytest.raises(UserError, match="model_type 'llama' is not supported"):
        build_model({"model_type": "llama"}, {}, "folder")
    with pytest.raises(UserError, match="not an encoder of this family"):
        build_model(config_of("bert"), {}, "folder")
    weights = random_weights("bert")
    del weights["encoder.layer.1.output.dense.bias"]
    with pytest.raises(UserError, match=r"lack tensor encoder\.layer\.1\.output\.dense\.bias"):
        build_model(config_of("bert"), weights, "folder")
