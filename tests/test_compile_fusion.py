"""Every way of writing an encoder is understood, and means what onnxruntime computes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from pywasm.compile import folding, fused, fusion, reference
from pywasm.compile.contrib import lower_contrib
from pywasm.compile.epilogues import fuse_epilogues, with_pooling
from pywasm.compile.onnx_import import from_proto
from pywasm.errors import UserError
from tests.encoder_graphs import HEADS, HIDDEN, SIZE, Spelling, build

ROWS = [[5, 9, 3, 17], [40, 2, 11, 30, 4, 8, 59, 31, 7], [1]]


def understood(model: onnx.ModelProto, positions: int = 20) -> fused.Encoder:
    graph = lower_contrib(from_proto(model, Path("test.onnx")))
    folding.check_operators(graph)
    return fuse_epilogues(fusion.match(folding.fold(graph), graph.outputs[0], positions))


def by_onnxruntime(model: onnx.ModelProto, row: list[int]) -> np.ndarray:
    """Hidden states of one text, without padding."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    ids = np.array([row], np.int64)
    feeds = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": np.zeros_like(ids),
    }
    names = [value.name for value in session.get_inputs()]
    return np.asarray(session.run(None, {name: feeds[name] for name in names})[0][0])


SPELLINGS = {
    "as bert_onnx": Spelling(),
    "norm of nine nodes": Spelling(norm="pow", gelu="half_first"),
    "squares by Mul": Spelling(norm="mul", gelu="tanh", linear="gemm"),
    "TensorFlow's norm": Spelling(norm="folded", mask="ten_thousand", shapes="computed"),
    "opset 20": Spelling(norm="pow", gelu="operator", opset=20, positions="gathered"),
    "scaled dot product": Spelling(attention="sdpa", mask="where", shapes="computed"),
    "one product for q, k, v": Spelling(attention="packed", positions="range"),
    "q, k, v by head": Spelling(attention="packed_by_head", gelu="silu"),
    "positions after padding": Spelling(positions="after_padding", gelu="relu"),
    "contrib operators": Spelling(norm="skip", gelu="bias"),
    "contrib approximation": Spelling(norm="skip", gelu="fast"),
    "contrib attention": Spelling(attention="contrib", mask="raw", norm="skip", gelu="bias"),
    "contrib embeddings": Spelling(attention="contrib", mask="lengths", positions="contrib"),
    "contrib heads": Spelling(attention="contrib_multi_head", mask="raw"),
    "norms first": Spelling(pre_norm=True),
    "norms first, decomposed": Spelling(pre_norm=True, norm="pow", linear="gemm"),
    "without mask": Spelling(mask="none"),
    "opset 13": Spelling(norm="pow", opset=13),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_spelling_is_understood(name: str) -> None:
    model = build(SPELLINGS[name])
    encoder = understood(model)
    kinds = Counter(type(op) for op in encoder.ops)
    assert kinds[fused.Linear] == 2 * 4, "q, k and v are one matrix product"
    assert kinds[fused.Attention] == 2 and kinds[fused.Add] == 0
    assert kinds[fused.LayerNorm] == 5 if SPELLINGS[name].pre_norm else 4
    assert {op.heads for op in encoder.ops if isinstance(op, fused.Attention)} == {HEADS}
    found = reference.run(encoder, ROWS)
    for row, states in zip(ROWS, found, strict=True):
        wanted = by_onnxruntime(model, row)
        # FastGelu of onnxruntime is single precision and approximate in its own way.
        assert np.abs(states[: len(row)] - wanted).max() < 2e-4


@pytest.mark.parametrize("name", ["as bert_onnx", "TensorFlow's norm", "scaled dot product"])
def test_what_onnxruntime_made_of_a_model_is_understood(name: str, tmp_path: Path) -> None:
    model = build(SPELLINGS[name])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(model.SerializeToString(), options)
    optimised = onnx.load(tmp_path / "optimised.onnx")
    assert {node.domain for node in optimised.graph.node} == {"", "com.microsoft"}
    found = reference.run(understood(optimised), ROWS)
    wanted = reference.run(understood(model), ROWS)
    for row, a, b in zip(ROWS, found, wanted, strict=True):
        assert np.abs(a[: len(row)] - b[: len(row)]).max() < 1e-5


@pytest.mark.parametrize(
    ("pooling", "last"),
    [("mean", [fused.Pool]), ("cls", [fused.Pool]), ("unit_mean", [fused.Pool, fused.Normalize])],
)
def test_pooling_in_the_graph_is_kept(pooling: str, last: list[type]) -> None:
    model = build(Spelling(pooling=pooling, layers=1))
    encoder = understood(model)
    assert [type(op) for op in encoder.ops[-len(last) :]] == last
    found = reference.run(encoder, ROWS)
    for row, embedding in zip(ROWS, found, strict=True):
        assert np.abs(embedding - by_onnxruntime(model, row)).max() < 1e-4
    # The configuration adds what is missing, and nothing that is there.
    pooled = with_pooling(encoder, "cls", normalize=True)
    assert [type(op) for op in pooled.ops[-2:]] == [fused.Pool, fused.Normalize]
    assert with_pooling(encoder, "cls", normalize=False).ops == encoder.ops


def test_epilogues_leave_what_a_layer_should_be() -> None:
    encoder = understood(build(Spelling(layers=1)))
    embed, qkv, attention, out, norm, up, down, last = encoder.ops
    assert isinstance(embed, fused.Embed) and embed.norm is not None
    assert isinstance(qkv, fused.Linear) and qkv.weight.shape == (HIDDEN, 3 * HIDDEN)
    assert isinstance(attention, fused.Attention)
    assert attention.scale == pytest.approx(SIZE**-0.5)
    assert isinstance(out, fused.Linear) and out.residual == embed.output
    assert isinstance(norm, fused.LayerNorm) and norm.residual is None
    assert isinstance(up, fused.Linear) and up.activation == "gelu" and up.residual is None
    assert isinstance(down, fused.Linear) and down.residual == norm.output
    assert isinstance(last, fused.LayerNorm) and last.output == encoder.output


def test_epsilon_is_told_from_small_rows() -> None:
    encoder = understood(build(Spelling(norm="pow", layers=1)))
    norms = [op.norm for op in encoder.ops if isinstance(op, fused.Embed | fused.LayerNorm)]
    assert {round(norm.epsilon, 9) for norm in norms if norm} == {1e-5}


def test_half_precision_is_widened() -> None:
    encoder = understood(build(Spelling(half=True, mask="ten_thousand")))
    plain = build(Spelling(mask="ten_thousand"))
    found = reference.run(encoder, ROWS[:1])[0]
    assert np.abs(found - by_onnxruntime(plain, ROWS[0])).max() < 2e-2


@pytest.mark.parametrize(
    ("spelling", "message"),
    [
        (
            Spelling(extra=["Selu"]),
            r"node '/Selu_\d+' \(operator Selu, opset 17\) is not supported",
        ),
        (Spelling(extra=["Abs"]), r"node '/Abs_\d+' \(operator Abs, opset 17\) is in no part"),
    ],
)
def test_what_is_not_understood_is_named(spelling: Spelling, message: str) -> None:
    with pytest.raises(UserError, match=message):
        understood(build(spelling))


def test_an_unknown_domain_is_named() -> None:
    model = build(Spelling(layers=1))
    model.graph.node[-1].CopyFrom(
        helper.make_node(
            "Whirl", [model.graph.node[-1].input[0]], ["last_hidden_state"], "/w", domain="my.ops"
        )
    )
    model.opset_import.append(helper.make_opsetid("my.ops", 3))
    with pytest.raises(UserError, match=r"'/w' \(operator my\.ops\.Whirl, opset 3\)"):
        understood(model)


def test_contrib_attention_of_another_kind_is_refused() -> None:
    model = build(Spelling(attention="contrib", mask="raw", layers=1))
    (node,) = [node for node in model.graph.node if node.op_type == "Attention"]
    node.attribute.append(helper.make_attribute("unidirectional", 1))
    with pytest.raises(UserError, match=r"com\.microsoft\.Attention, opset 1\): unidirectional"):
        understood(model)


def test_attention_that_is_not_over_all_tokens_is_refused() -> None:
    model = build(Spelling(mask="where", layers=1))
    # Scores that fall off with distance: no padding mask.
    (softmax,) = [node for node in model.graph.node if node.op_type == "Softmax"]
    triangle = helper.make_node("Trilu", [softmax.input[0]], ["lower"], "/tri", upper=0)
    softmax.input[0] = "lower"
    model.graph.node.insert(list(model.graph.node).index(softmax), triangle)
    with pytest.raises(UserError, match=r"operator Softmax, opset 17\) is in no part"):
        understood(model)


def test_more_positions_than_the_table_has_are_refused() -> None:
    with pytest.raises(UserError, match=r"Add_\d+' .* does not fit its inputs \[1, 64, 32\], \[40"):
        understood(build(Spelling()), positions=64)
