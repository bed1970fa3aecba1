"""One small encoder, written as ONNX in the many ways that exporters write it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

F32 = npt.NDArray[np.float32]
HIDDEN, HEADS, INNER, WORDS, POSITIONS = 32, 4, 48, 60, 40
SIZE = HIDDEN // HEADS
EPSILON = 1e-5


@dataclass
class Spelling:
    """How each part is written. The defaults are what `bert_onnx.py` does."""

    norm: str = "native"  # native, pow, mul, folded, skip
    gelu: str = "erf"  # erf, half_first, tanh, operator, bias, fast, relu, silu
    attention: str = "three"  # three, sdpa, packed, packed_by_head, contrib, contrib_multi_head
    mask: str = "minimum"  # minimum, where, ten_thousand, none; raw, lengths (contrib)
    linear: str = "matmul"  # matmul, gemm
    shapes: str = "constant"  # constant, computed
    positions: str = "slice"  # slice, range, gathered, after_padding, contrib
    pre_norm: bool = False
    pooling: str = ""  # mean, cls, unit_mean
    layers: int = 2
    opset: int = 17
    half: bool = False
    extra: list[str] = field(default_factory=list)


class Writer:
    """Collects nodes and constants."""

    def __init__(self, half: bool = False) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.random = np.random.default_rng(11)
        self._half = half

    def node(
        self, operator: str, inputs: Sequence[str], outputs: int = 1, domain: str = "", **how: Any
    ) -> Any:
        names = [f"{operator.lower()}_{len(self.nodes)}_{index}" for index in range(outputs)]
        name = f"/{operator}_{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(operator, list(inputs), names, name, domain=domain, **how)
        )
        return names[0] if outputs == 1 else names

    def constant(self, value: Any, name: str = "") -> str:
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        if self._half and array.dtype == np.float32:
            array = array.astype(np.float16)
        name = name or f"c{len(self.constants)}"
        self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def weight(self, *shape: int, spread: float = 0.5, around: float = 0.0) -> str:
        return self.constant(self.random.normal(around, spread, shape).astype(np.float32))


def build(spelling: Spelling) -> onnx.ModelProto:
    """input_ids, attention_mask[, token_type_ids] -> last_hidden_state."""
    return _Encoder(spelling).model()


class _Encoder:
    def __init__(self, spelling: Spelling) -> None:
        self.how = spelling
        self.w = Writer(spelling.half)
        self.types = spelling.positions in ("slice", "gathered", "contrib")
        self.lengths = ""

    def model(self) -> onnx.ModelProto:
        w = self.w
        x = self.embeddings()
        mask = self.mask()
        for _ in range(self.how.layers):
            x = self.layer(x, mask)
        if self.how.pre_norm:
            x = self.norm(x)
        for operator in self.how.extra:
            x = w.node(operator, [x])
        kind = TensorProto.FLOAT16 if self.how.half else TensorProto.FLOAT
        if self.how.pooling:
            x = self.pooled(x)
        w.nodes.append(helper.make_node("Identity", [x], ["last_hidden_state"], "/out"))
        names = ["input_ids", "attention_mask"] + ["token_type_ids"] * self.types
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
            for name in names
            if name != "attention_mask" or self.how.mask != "none"
        ]
        shape = ["b", HIDDEN] if self.how.pooling else ["b", "s", HIDDEN]
        output = helper.make_tensor_value_info("last_hidden_state", kind, shape)
        graph = helper.make_graph(w.nodes, "g", inputs, [output], list(w.constants.values()))
        opsets = [helper.make_opsetid("", self.how.opset), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets)
        model.ir_version = 8
        return model

    def pooled(self, x: str) -> str:
        w = self.w
        if self.how.pooling == "cls":
            return str(w.node("Gather", [x, w.constant(np.int64(0))], axis=1))
        axes, last = w.constant(np.array([1])), w.constant(np.array([-1]))
        mask = w.node("Unsqueeze", ["attention_mask", last])
        mask = w.node("Expand", [w.node("Cast", [mask], to=1), w.node("Shape", [x])])
        total = w.node("ReduceSum", [w.node("Mul", [x, mask]), axes], keepdims=0)
        count = w.node("Clip", [w.node("ReduceSum", [mask, axes], keepdims=0), w.constant(1e-9)])
        mean = w.node("Div", [total, count])
        if self.how.pooling == "mean":
            return str(mean)
        length = w.node("ReduceL2", [mean], axes=[1])
        length = w.node("Clip", [length, w.constant(1e-12)])
        return str(w.node("Div", [mean, w.node("Expand", [length, w.node("Shape", [mean])])]))

    # -- embeddings and mask ------------------------------------------------------------------

    def length(self) -> str:
        shape = self.w.node("Shape", ["input_ids"])
        return str(self.w.node("Gather", [shape, self.w.constant(np.int64(1))]))

    def embeddings(self) -> str:
        w = self.w
        if self.how.positions == "contrib":
            names = ("input_ids", "token_type_ids", "attention_mask")
            ids, kinds, mask = (w.node("Cast", [name], to=TensorProto.INT32) for name in names)
            tables = [w.weight(rows, HIDDEN) for rows in (WORDS, POSITIONS, 2)]
            norm = [w.weight(HIDDEN, spread=0.2, around=1.0), w.weight(HIDDEN)]
            inputs = [ids, kinds, *tables, *norm, mask]
            made, self.lengths = w.node(
                "EmbedLayerNormalization", inputs, 2, "com.microsoft", epsilon=EPSILON
            )
            return str(made)
        words = w.node("Gather", [w.weight(WORDS, HIDDEN), "input_ids"])
        table = w.weight(POSITIONS, HIDDEN)
        kinds = w.weight(2, HIDDEN)
        if self.how.positions == "range":
            zero, one = w.constant(np.int64(0)), w.constant(np.int64(1))
            ids = w.node("Range", [zero, self.length(), one])
            total = w.node("Add", [words, w.node("Gather", [table, ids])])
        elif self.how.positions == "after_padding":
            padding = w.constant(np.int64(1))
            real = w.node("Cast", ["attention_mask"], to=TensorProto.INT32)
            count = w.node("CumSum", [real, w.constant(np.int64(1))])
            count = w.node("Cast", [w.node("Mul", [count, real])], to=TensorProto.INT64)
            ids = w.node("Add", [count, padding])
            total = w.node("Add", [words, w.node("Gather", [table, ids])])
        elif self.how.positions == "gathered":  # torch: a buffer of positions, cut
            buffer = w.constant(np.arange(POSITIONS)[None])
            axes = w.constant(np.array([0]))
            end = w.node("Unsqueeze", [self.length(), axes])
            cut = [w.constant(np.array([0])), end, w.constant(np.array([1]))]
            ids = w.node("Slice", [buffer, *cut])
            kind = w.node("Gather", [kinds, "token_type_ids"])
            total = w.node("Add", [w.node("Gather", [table, ids]), kind])
            total = w.node("Add", [words, total])
        else:
            axes = w.constant(np.array([0]))
            end = w.node("Unsqueeze", [self.length(), axes])
            rows = w.node("Slice", [table, w.constant(np.array([0])), end, axes])
            kind = w.node("Gather", [kinds, "token_type_ids"])
            total = w.node("Add", [w.node("Add", [words, kind]), rows])
        return total if self.how.pre_norm else self.norm(total)

    def mask(self) -> str:
        """f32 or bool [batch, 1, 1 or sequence, sequence]."""
        w = self.w
        if self.how.mask == "none":
            return ""
        if self.how.mask == "lengths":
            return self.lengths
        if self.how.mask == "raw":
            return str(w.node("Cast", ["attention_mask"], to=TensorProto.INT32))
        axes = w.constant(np.array([1, 2]))
        if self.how.mask == "where":  # scaled_dot_product_attention: expanded, then compared
            wide = w.node("Cast", [w.node("Unsqueeze", ["attention_mask", axes])], to=9)
            shape = w.node("Shape", ["input_ids"])
            batch = w.node("Slice", [shape, w.constant(np.array([0])), w.constant(np.array([1]))])
            length = w.node("Slice", [shape, w.constant(np.array([1])), w.constant(np.array([2]))])
            one = w.constant(np.array([1]))
            target = w.node("Concat", [batch, one, length, length], axis=0)
            return str(w.node("Expand", [wide, target]))
        kind = TensorProto.FLOAT16 if self.how.half else TensorProto.FLOAT
        real = w.node("Cast", [w.node("Unsqueeze", ["attention_mask", axes])], to=kind)
        hidden = w.node("Sub", [w.constant(1.0), real])
        lowest = np.finfo(np.float32).min if self.how.mask == "minimum" else -10000.0
        return str(w.node("Mul", [hidden, w.constant(np.float32(lowest))]))

    # -- a layer ------------------------------------------------------------------------------

    def layer(self, x: str, mask: str) -> str:
        if self.how.pre_norm:
            x = self.w.node("Add", [x, self.attention(self.norm(x), mask)])
            return str(self.w.node("Add", [self.feed_forward(self.norm(x)), x]))
        x = self.norm(self.attention(x, mask), x)
        return self.norm(self.feed_forward(x), x)

    def feed_forward(self, x: str) -> str:
        return self.linear(self.activation(x), INNER, HIDDEN)

    def linear(self, x: str, k: int, n: int, bias: bool = True) -> str:
        w = self.w
        if self.how.linear == "gemm":
            flat = w.node("Reshape", [x, w.constant(np.array([-1, k]))])
            made = w.node("Gemm", [flat, w.weight(n, k, spread=0.2), w.weight(n)], transB=1)
            shape = w.node("Shape", [x])
            front = w.node("Slice", [shape, w.constant(np.array([0])), w.constant(np.array([2]))])
            whole = w.node("Concat", [front, w.constant(np.array([n]))], axis=0)
            return str(w.node("Reshape", [made, whole]))
        made = w.node("MatMul", [x, w.weight(k, n, spread=0.2)])
        return str(w.node("Add", [made, w.weight(n)])) if bias else str(made)

    def attention(self, x: str, mask: str) -> str:
        w = self.w
        if self.how.attention == "contrib":
            weight, bias = w.weight(HIDDEN, 3 * HIDDEN, spread=0.2), w.weight(3 * HIDDEN)
            inputs = [x, weight, bias, mask]
            made = w.node("Attention", inputs, domain="com.microsoft", num_heads=HEADS)
            return self.linear(made, HIDDEN, HIDDEN)
        if self.how.attention == "contrib_multi_head":
            parts = [self.linear(x, HIDDEN, HIDDEN, bias=False) for _ in range(3)]
            inputs = [*parts, w.weight(3 * HIDDEN), mask]
            made = w.node(
                "MultiHeadAttention", inputs, domain="com.microsoft", num_heads=HEADS, scale=0.3
            )
            return self.linear(made, HIDDEN, HIDDEN)
        if self.how.attention.startswith("packed"):
            q, k, v = self.packed(x)
        else:
            q, k, v = (self.heads(self.linear(x, HIDDEN, HIDDEN)) for _ in range(3))
        if self.how.attention == "sdpa":
            # The root of the scale on both sides, worked out from shapes.
            shape = w.node("Shape", [q])
            size = w.node("Gather", [shape, w.constant(np.int64(-1))])
            size = w.node("Sqrt", [w.node("Cast", [size], to=1)])
            root = w.node("Sqrt", [w.node("Div", [w.constant(1.0), size])])
            keys = w.node("Mul", [w.node("Transpose", [k], perm=[0, 1, 3, 2]), root])
            scores = w.node("MatMul", [w.node("Mul", [q, root]), keys])
        else:
            keys = w.node("Transpose", [k], perm=[0, 1, 3, 2])
            scores = w.node("MatMul", [q, keys])
            scores = w.node("Div", [scores, w.constant(math.sqrt(SIZE))])
        if self.how.mask == "where":
            zero, low = w.constant(0.0), w.constant(np.float32(-np.inf))
            scores = w.node("Add", [scores, w.node("Where", [mask, zero, low])])
        elif mask:
            scores = w.node("Add", [scores, mask])
        mixed = w.node("MatMul", [w.node("Softmax", [scores], axis=-1), v])
        mixed = w.node("Transpose", [mixed], perm=[0, 2, 1, 3])
        return self.linear(w.node("Reshape", [mixed, self.shape(x, HIDDEN)]), HIDDEN, HIDDEN)

    def heads(self, x: str) -> str:
        shape = self.shape(x, HEADS, SIZE)
        return str(
            self.w.node("Transpose", [self.w.node("Reshape", [x, shape])], perm=[0, 2, 1, 3])
        )

    def packed(self, x: str) -> list[str]:
        """q, k, v [batch, heads, sequence, size] of one product."""
        w = self.w
        made = self.linear(x, HIDDEN, 3 * HIDDEN)
        if self.how.attention == "packed":
            parts = w.node("Split", [made, w.constant(np.array([HIDDEN] * 3))], 3, axis=-1)
            return [self.heads(part) for part in parts]
        rows = w.node("Reshape", [made, self.shape(x, HEADS, 3 * SIZE)])
        rows = w.node("Transpose", [rows], perm=[0, 2, 1, 3])
        return list(w.node("Split", [rows, w.constant(np.array([SIZE] * 3))], 3, axis=-1))

    def shape(self, x: str, *sizes: int) -> str:
        w = self.w
        if self.how.shapes == "constant":
            return w.constant(np.array([0, 0, *sizes]))
        whole = w.node("Shape", [x])
        parts = []
        for axis in (0, 1):
            size = w.node("Gather", [whole, w.constant(np.int64(axis))])
            parts.append(w.node("Unsqueeze", [size, w.constant(np.array([0]))]))
        parts += [w.constant(np.array([size])) for size in sizes]
        return str(w.node("Concat", parts, axis=0))

    # -- parts --------------------------------------------------------------------------------

    def norm(self, x: str, residual: str = "") -> str:
        w = self.w
        gamma, beta = w.weight(HIDDEN, spread=0.2, around=1.0), w.weight(HIDDEN)
        if self.how.norm == "skip" and residual:
            made = w.node(
                "SkipLayerNormalization",
                [x, residual, gamma, beta],
                domain="com.microsoft",
                epsilon=EPSILON,
            )
            return str(made)
        if residual:
            x = w.node("Add", [x, residual])
        if self.how.norm in ("native", "skip"):
            made = w.node("LayerNormalization", [x, gamma, beta], axis=-1, epsilon=EPSILON)
            return str(made)
        mean = self.mean(x)
        centred = w.node("Sub", [x, mean])
        if self.how.norm == "mul":
            square = w.node("Mul", [centred, centred])
        else:
            square = w.node("Pow", [centred, w.constant(2.0)])
        variance = w.node("Add", [self.mean(square), w.constant(EPSILON)])
        if self.how.norm == "folded":  # TensorFlow: x * s + (beta - mean * s)
            inverse = w.node("Reciprocal", [w.node("Sqrt", [variance])])
            factor = w.node("Mul", [inverse, gamma])
            shift = w.node("Sub", [beta, w.node("Mul", [mean, factor])])
            return str(w.node("Add", [w.node("Mul", [x, factor]), shift]))
        scaled = w.node("Div", [centred, w.node("Sqrt", [variance])])
        return str(w.node("Add", [w.node("Mul", [scaled, gamma]), beta]))

    def mean(self, x: str) -> str:
        if self.how.opset >= 18:
            return str(self.w.node("ReduceMean", [x, self.w.constant(np.array([-1]))]))
        return str(self.w.node("ReduceMean", [x], axes=[-1]))

    def activation(self, x: str) -> str:
        w, how = self.w, self.how.gelu
        if how in ("bias", "fast"):
            x = self.linear(x, HIDDEN, INNER, bias=False)
            operator = "BiasGelu" if how == "bias" else "FastGelu"
            return str(w.node(operator, [x, w.weight(INNER)], domain="com.microsoft"))
        x = self.linear(x, HIDDEN, INNER)
        half, one = w.constant(0.5), w.constant(1.0)
        if how == "operator":
            return str(w.node("Gelu", [x]))
        if how == "relu":
            return str(w.node("Relu", [x]))
        if how == "silu":
            return str(w.node("Mul", [x, w.node("Sigmoid", [x])]))
        if how == "tanh":
            cube = w.node("Mul", [w.node("Pow", [x, w.constant(3.0)]), w.constant(0.044715)])
            inner = w.node("Mul", [w.node("Add", [x, cube]), w.constant(math.sqrt(2 / math.pi))])
            grown = w.node("Add", [one, w.node("Tanh", [inner])])
            return str(w.node("Mul", [w.node("Mul", [half, x]), grown]))
        inner = w.node("Erf", [w.node("Div", [x, w.constant(math.sqrt(2))])])
        grown = w.node("Add", [inner, one])
        if how == "half_first":
            return str(w.node("Mul", [w.node("Mul", [x, half]), grown]))
        return str(w.node("Mul", [w.node("Mul", [x, grown]), half]))
