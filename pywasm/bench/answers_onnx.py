"""SmolLM2's weights as the ONNX graphs that onnxruntime-web is measured on.

The graph is the one that transformers.js runs for such models: GroupQueryAttention with its own
RoPE and past/present KV, SimplifiedLayerNormalization, one product a projection. In the peer's
favour the output head sees the last position only, and rows of the embedding stay in 8 bits.

`q4` is MatMulNBits with the GGUF file's own codes, scales and (floating) zero points: the same
weights to the bit. `int8` is dynamic quantisation: signed weights with a scale a column, unsigned
activations with one scale a tensor. As one token's activations set that scale for all tokens, the
products in FLOAT_DOWN stay in f32: with them in 8 bits the model says something else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Floats = NDArray[np.float32]
Form = Literal["int8", "q4"]
BLOCK = 32
EMBEDDING = "token_embd.weight"
# Layers before whose second product of the FFN one activation, mostly of the first token, is 10 to
# 1800 times the largest of a usual token (Sun et al. 2024, "Massive activations").
FLOAT_DOWN = (1, 2, 9, 10, 11, 27, 28, 29)


@dataclasses.dataclass(frozen=True)
class Shape:
    """Numbers of a Llama decoder."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    context: int
    epsilon: float
    rope_base: float

    @property
    def head_dim(self) -> int:
        return self.width // self.heads


@dataclasses.dataclass(frozen=True)
class Matrix:
    """f32[outputs, inputs] with the codes it came from: a weight is
    scale * (code - zero), code u8[outputs, inputs/32, 32] below 2^bits, scale and zero
    f32[outputs, inputs/32].
    """

    values: Floats
    bits: Literal[4, 8]
    codes: NDArray[np.uint8]
    scale: Floats
    zero: Floats

    def rows(self, order: NDArray[np.int64]) -> Matrix:
        """Its outputs in another order."""
        return Matrix(
            self.values[order], self.bits, self.codes[order], self.scale[order], self.zero[order]
        )


def export(
    vectors: Mapping[str, Floats],
    matrices: Mapping[str, Matrix],
    shape: Shape,
    form: Form,
    target: Path,
) -> None:
    """Write the model. vectors f32[width] and matrices by their names in the GGUF file."""
    graph = _Graph(form)
    positions = np.arange(shape.context)[:, None]
    half = shape.head_dim // 2
    angles = positions / shape.rope_base ** (np.arange(half) / half)
    graph.constant("cos", np.cos(angles).astype(np.float32))
    graph.constant("sin", np.sin(angles).astype(np.float32))
    graph.embedding(matrices[EMBEDDING])
    # What GroupQueryAttention wants to know of the lengths, from that of the whole sequence.
    graph.node("Shape", ["attention_mask"], ["mask_shape"])
    graph.node("Gather", ["mask_shape", graph.constant("one_index", np.array(1))], ["total64"])
    graph.node("Cast", ["total64"], ["total"], to=TensorProto.INT32)
    graph.node("ReduceSum", ["attention_mask", graph.constant("axis", np.array([1]))], ["lengths"])
    graph.node("Sub", ["lengths", graph.constant("one", np.array([[1]]))], ["last64"])
    graph.node("Cast", ["last64"], ["last"], to=TensorProto.INT32)
    x = "embedded"
    for layer in range(shape.layers):
        x = _layer(graph, vectors, matrices, shape, layer, x)
    ends = [graph.constant(f"end_{n}", np.array([v])) for n, v in (("from", -1), ("to", 1 << 30))]
    graph.node("Slice", [x, *ends, graph.constant("rows", np.array([1]))], ["last_row"])
    final = graph.norm("last_row", vectors["output_norm.weight"], "final", shape.epsilon)
    graph.product(final, matrices[EMBEDDING], "logits")
    model = graph.model(shape)
    onnx.save(model, str(target))


def _layer(
    graph: _Graph,
    vectors: Mapping[str, Floats],
    matrices: Mapping[str, Matrix],
    shape: Shape,
    layer: int,
    x: str,
) -> str:
    def vector(name: str) -> Floats:
        return vectors[f"blk.{layer}.{name}.weight"]

    def matrix(name: str) -> Matrix:
        return matrices[f"blk.{layer}.{name}.weight"]

    def named(name: str) -> str:
        return f"{name}.{layer}"

    normal = graph.norm(x, vector("attn_norm"), named("attn_norm"), shape.epsilon)
    # GGUF files of Llama pair neighbours in RoPE, ONNX's operator the two halves of a head.
    q = graph.product(normal, halves(matrix("attn_q"), shape.heads), named("q"))
    k = graph.product(normal, halves(matrix("attn_k"), shape.kv_heads), named("k"))
    v = graph.product(normal, matrix("attn_v"), named("v"))
    past = [named("past_key"), named("past_value")]
    present = [named("present_key"), named("present_value")]
    graph.node(
        "GroupQueryAttention",
        [q, k, v, *past, "last", "total", "cos", "sin"],
        [named("attention"), *present],
        domain="com.microsoft",
        num_heads=shape.heads,
        kv_num_heads=shape.kv_heads,
        do_rotary=1,
        rotary_interleaved=0,
    )
    out = graph.product(named("attention"), matrix("attn_output"), named("o"))
    graph.node("Add", [x, out], [named("middle")])
    normal = graph.norm(named("middle"), vector("ffn_norm"), named("ffn_norm"), shape.epsilon)
    gate = graph.product(normal, matrix("ffn_gate"), named("gate"))
    up = graph.product(normal, matrix("ffn_up"), named("up"))
    graph.node("Sigmoid", [gate], [named("sigmoid")])
    graph.node("Mul", [gate, named("sigmoid")], [named("silu")])
    graph.node("Mul", [named("silu"), up], [named("gated")])
    down = graph.product(
        named("gated"), matrix("ffn_down"), named("down"), exact=layer in FLOAT_DOWN
    )
    graph.node("Add", [named("middle"), down], [named("hidden")])
    return named("hidden")


def halves(matrix: Matrix, heads: int) -> Matrix:
    """Outputs [heads * head_dim] of which a head's neighbours were pairs, so that its first half
    pairs with its second.
    """
    rows = len(matrix.values)
    pairs = np.arange(rows).reshape(heads, rows // heads // 2, 2)
    return matrix.rows(pairs.swapaxes(1, 2).ravel())


def columns8(values: Floats) -> tuple[NDArray[np.int8], Floats]:
    """i8[inputs, outputs] and f32[outputs] of f32[outputs, inputs]: symmetric, one scale a column,
    as onnxruntime's own dynamic quantisation makes them.
    """
    scale = np.abs(values).max(axis=1) / 127
    step = np.where(scale == 0, 1, scale)
    codes = np.clip(np.round(values / step[:, None]), -127, 127).astype(np.int8)
    return np.ascontiguousarray(codes.T), step.astype(np.float32)


class _Graph:
    """Nodes and constants as they come."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._quantised: dict[str, tuple[str, str]] = {}  # activations: (u8, scale and zero)

    def constant(self, name: str, value: NDArray[Any]) -> str:
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def node(self, op: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        self._nodes.append(helper.make_node(op, inputs, outputs, name=outputs[0], **attributes))

    def norm(self, x: str, weight: Floats, name: str, epsilon: float) -> str:
        inputs = [x, self.constant(f"{name}.weight", weight)]
        attributes = {"axis": -1, "epsilon": epsilon, "stash_type": 1}
        self.node("SimplifiedLayerNormalization", inputs, [name], **attributes)
        return name

    def product(self, x: str, matrix: Matrix, name: str, exact: bool = False) -> str:
        """f32[..., inputs] times a matrix [outputs, inputs]; exact: not with 8-bit activations.
        The operator of blocks takes 4 bits only in WebAssembly: the head is dynamic in both forms.
        """
        if self._form == "q4" and matrix.bits == 4:
            self._product_blocks(x, matrix, name)
        elif exact:
            weight = self.constant(f"{name}.weight", np.ascontiguousarray(matrix.values.T))
            self.node("MatMul", [x, weight], [name])
        else:
            self._product8(x, matrix.values, name)
        return name

    def _product_blocks(self, x: str, matrix: Matrix, name: str) -> None:
        low, high = matrix.codes[:, :, 0::2], matrix.codes[:, :, 1::2]
        inputs = [
            x,
            self.constant(f"{name}.codes", (low | high << np.uint8(4)).astype(np.uint8)),
            self.constant(f"{name}.scales", matrix.scale),
            self.constant(f"{name}.zeros", matrix.zero),
        ]
        outputs, width = matrix.values.shape
        sizes = {"K": width, "N": outputs, "bits": 4, "block_size": BLOCK}
        attributes = {"domain": "com.microsoft", "accuracy_level": 4, **sizes}
        self.node("MatMulNBits", inputs, [name], **attributes)

    def _product8(self, x: str, matrix: Floats, name: str) -> None:
        """What quantize_dynamic writes, which onnxruntime fuses to MatMulIntegerToFloat."""
        codes, scale = columns8(matrix)
        if x not in self._quantised:
            parts = (f"{x}.u8", f"{x}.scale", f"{x}.zero")
            self.node("DynamicQuantizeLinear", [x], list(parts))
            self._quantised[x] = parts[0], parts[1]
        given, x_scale = self._quantised[x]
        weight = self.constant(f"{name}.codes", codes)
        zero = self.constant(f"{name}.zero", np.zeros(codes.shape[1], np.int8))
        self.node("MatMulInteger", [given, weight, f"{x}.zero", zero], [f"{name}.i32"])
        self.node("Cast", [f"{name}.i32"], [f"{name}.sums"], to=TensorProto.FLOAT)
        self.node("Mul", [x_scale, self.constant(f"{name}.scales", scale)], [f"{name}.step"])
        self.node("Mul", [f"{name}.sums", f"{name}.step"], [name])

    def embedding(self, matrix: Matrix) -> None:
        """Rows of 8-bit blocks: input_ids i64[batch, seq] -> embedded f32[batch, seq, width]."""
        width = matrix.values.shape[1]
        codes = (matrix.codes.astype(np.int16) - 128).astype(np.int8)
        step = matrix.scale[:, :, None]
        self.node("Gather", [self.constant("rows.codes", codes), "input_ids"], ["row_codes"])
        self.node("Gather", [self.constant("rows.scales", step), "input_ids"], ["row_scales"])
        self.node("Cast", ["row_codes"], ["row_floats"], to=TensorProto.FLOAT)
        self.node("Mul", ["row_floats", "row_scales"], ["row_blocks"])
        flat = self.constant("row_shape", np.array([0, 0, width]))
        self.node("Reshape", ["row_blocks", flat], ["embedded"])

    def model(self, shape: Shape) -> onnx.ModelProto:
        def value(name: str, kind: int, *dims: str | int) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, kind, dims)

        ids = [
            value("input_ids", TensorProto.INT64, "batch", "seq"),
            value("attention_mask", TensorProto.INT64, "batch", "total"),
        ]
        kv = [
            value(
                f"{time}_{part}.{layer}",
                TensorProto.FLOAT,
                *("batch", shape.kv_heads, time, shape.head_dim),
            )
            for layer in range(shape.layers)
            for time in ("past", "present")
            for part in ("key", "value")
        ]
        past = [value for value in kv if value.name.startswith("past")]
        present = [value for value in kv if value.name.startswith("present")]
        logits = value("logits", TensorProto.FLOAT, "batch", 1, "vocab")
        graph = helper.make_graph(
            self._nodes, "decoder", ids + past, [logits, *present], list(self._constants.values())
        )
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)
