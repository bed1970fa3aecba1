"""onnxruntime's own operators, in the operators they stand for.

Models that went through onnxruntime's optimiser hold them (domain com.microsoft); with them
rewritten, what follows knows ONNX's operators only, and one that has no counterpart there:
MaskBias, which makes of a padding mask in any of its forms what is added to attention's scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from pywasm.compile.graph import Array, Graph, Node
from pywasm.errors import UserError

OWN = "pywasm"  # the domain of MaskBias


def lower_contrib(graph: Graph) -> Graph:
    """`graph` with every contrib operator that has a rewrite replaced. Raises UserError."""
    lowering = _Lowering(graph)
    for node in graph.nodes:
        rewrite = _REWRITES.get(node.operator) if node.domain == "com.microsoft" else None
        if rewrite is None:
            lowering.nodes.append(node)
        else:
            lowering.nodes.extend(rewrite(_Part(lowering, node)))
    return replace(graph, nodes=lowering.nodes, constants=lowering.constants)


class _Lowering:
    def __init__(self, graph: Graph) -> None:
        self.where = graph.where
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = dict(graph.constants)


class _Part:
    """A contrib node being rewritten. New nodes keep its name, for messages."""

    def __init__(self, lowering: _Lowering, node: Node) -> None:
        self._lowering = lowering
        self._node = node
        self._count = 0
        self.operator = node.operator

    def input(self, index: int) -> str:
        return self._node.inputs[index] if len(self._node.inputs) > index else ""

    def output(self, index: int) -> str:
        """The output, or a name for it where nobody wants it."""
        given = self._node.outputs[index] if len(self._node.outputs) > index else ""
        return given or self.name()

    def wants(self, index: int) -> bool:
        return len(self._node.outputs) > index and bool(self._node.outputs[index])

    def name(self) -> str:
        self._count += 1
        return f"{self._node.name}/{self._count}"

    def attribute(self, name: str, default: Any = None) -> Any:
        return self._node.attributes.get(name, default)

    def constant(self, value: Any) -> str:
        name = self.name()
        self._lowering.constants[name] = np.asarray(value)
        return name

    def node(
        self, operator: str, inputs: list[str], output: str, domain: str = "", **attributes: Any
    ) -> Node:
        return Node(
            self._node.name,
            operator,
            tuple(inputs),
            (output,),
            attributes,
            domain,
            self._node.opset if domain else 17,
        )

    def refuse(self, what: str) -> UserError:
        return UserError(f"{self._lowering.where}: {self._node}: {what} is not supported")


def _gelu(part: _Part) -> Iterator[Node]:
    """Gelu(x), FastGelu(x[, bias]) and BiasGelu(x, bias)."""
    x, bias = part.input(0), part.input(1)
    if bias:
        total = part.name()
        yield part.node("Add", [x, bias], total)
        x = total
    how = "tanh" if part.operator == "FastGelu" else "none"
    yield part.node("Gelu", [x], part.output(0), approximate=how)


def _skip_layer_normalization(part: _Part) -> Iterator[Node]:
    """(x, skip, gamma, beta, bias) -> normalised, -, -, x + skip + bias."""
    x = part.input(0)
    if bias := part.input(4):
        # The bias is that of the matrix product before it, x: there it is fused.
        total = part.name()
        yield part.node("Add", [x, bias], total)
        x = total
    total = part.output(3)
    yield part.node("Add", [x, part.input(1)], total)
    inputs = [total, part.input(2), *([part.input(3)] if part.input(3) else [])]
    epsilon = part.attribute("epsilon", 1e-12)
    yield part.node("LayerNormalization", inputs, part.output(0), axis=-1, epsilon=epsilon)


def _embed_layer_normalization(part: _Part) -> Iterator[Node]:
    """(ids, segments, words, positions, segment table, gamma, beta, mask, position ids) ->
    normalised, number of tokens of each text, the sum."""
    ids, segments, words, positions, kinds, gamma, beta, mask, places = map(part.input, range(9))
    total = part.name()
    yield part.node("Gather", [words, ids], total)
    if not places:
        shape, length, places = part.name(), part.name(), part.name()
        yield part.node("Shape", [ids], shape)
        yield part.node("Gather", [shape, part.constant(np.int64(1))], length)
        bounds = [part.constant(np.int64(0)), length, part.constant(np.int64(1))]
        yield part.node("Range", bounds, places)
    for table, index in ((positions, places), (kinds, segments)):
        if table and index:
            rows, more = part.name(), part.name()
            yield part.node("Gather", [table, index], rows)
            yield part.node("Add", [total, rows], more)
            total = more
    if part.wants(2):
        yield part.node("Identity", [total], part.output(2))
    epsilon = part.attribute("epsilon", 1e-12)
    yield part.node(
        "LayerNormalization", [total, gamma, beta], part.output(0), axis=-1, epsilon=epsilon
    )
    if part.wants(1):
        axes = part.constant(np.array([1]))
        yield part.node("ReduceSum", [mask or ids, axes], part.output(1), keepdims=0)


def _attention(part: _Part) -> Iterator[Node]:
    """(x, weights of q | k | v, bias, mask) -> mixed values."""
    for index, what in ((4, "a past"), (5, "a bias of attention")):
        if part.input(index):
            raise part.refuse(what)
    for name in ("unidirectional", "do_rotary", "qkv_hidden_sizes"):
        if part.attribute(name):
            raise part.refuse(name)
    made, total = part.name(), part.name()
    yield part.node("MatMul", [part.input(0), part.input(1)], made)
    if part.input(2):
        yield part.node("Add", [made, part.input(2)], total)
    else:
        yield part.node("Identity", [made], total)
    parts = [part.name() for _ in range(3)]
    split = part.node("Split", [total], parts[0], axis=-1)
    yield replace(split, outputs=tuple(parts))
    yield from _mixed(part, parts, part.input(3), part.input(0))


def _multi_head_attention(part: _Part) -> Iterator[Node]:
    """(q, k, v, bias of q | k | v, mask) -> mixed values."""
    if not part.input(1) or not part.input(2):
        raise part.refuse("a packed query, key or value")
    for index, what in ((5, "a bias of attention"), (6, "a past"), (7, "a past")):
        if part.input(index):
            raise part.refuse(what)
    if part.attribute("unidirectional"):
        raise part.refuse("unidirectional")
    values = [part.input(index) for index in range(3)]
    if part.input(3):
        biases = [part.name() for _ in range(3)]
        split = part.node("Split", [part.input(3)], biases[0], axis=-1)
        yield replace(split, outputs=tuple(biases))
        for index, (value, bias) in enumerate(zip(values, biases, strict=True)):
            values[index] = part.name()
            yield part.node("Add", [value, bias], values[index])
    yield from _mixed(part, values, part.input(4), part.input(0))


def _mixed(part: _Part, values: list[str], mask: str, like: str) -> Iterator[Node]:
    """softmax(q k^T scale + mask) v of [batch, sequence, width] each; `like`: of that length."""
    heads = part.attribute("num_heads")
    if not isinstance(heads, int) or heads < 1:
        raise part.refuse(f"num_heads {heads!r}")
    apart = part.constant(np.array([0, 0, heads, -1]))
    split = []
    for value, order in zip(values, ((0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3)), strict=True):
        rows, turned = part.name(), part.name()
        yield part.node("Reshape", [value, apart], rows)
        yield part.node("Transpose", [rows], turned, perm=order)
        split.append(turned)
    query, key, value = split
    scores, weights, mixed, turned = (part.name() for _ in range(4))
    yield part.node("MatMul", [query, key], scores)
    scaled = part.name()
    if scale := part.attribute("scale", 0.0):
        yield part.node("Mul", [scores, part.constant(np.float32(scale))], scaled)
    else:
        # 1 / sqrt(size of a head), which is the last size of the query.
        shape, size, whole, root = (part.name() for _ in range(4))
        yield part.node("Shape", [query], shape)
        yield part.node("Gather", [shape, part.constant(np.int64(-1))], size)
        yield part.node("Cast", [size], whole, to=1)
        yield part.node("Sqrt", [whole], root)
        yield part.node("Div", [scores, root], scaled)
    if mask:
        sizes, bias, masked = part.name(), part.name(), part.name()
        yield part.node("Shape", [like], sizes)
        yield part.node("MaskBias", [mask, sizes], bias, domain=OWN)
        yield part.node("Add", [scaled, bias], masked)
        scaled = masked
    yield part.node("Softmax", [scaled], weights, axis=-1)
    yield part.node("MatMul", [weights, value], mixed)
    yield part.node("Transpose", [mixed], turned, perm=(0, 2, 1, 3))
    joined = part.constant(np.array([0, 0, -1]))
    yield part.node("Reshape", [turned, joined], part.output(0))


def mask_bias(mask: Array, length: int) -> Array:
    """f32[batch, 1, 1, length]: 0 where there is a token, very little where there is none.

    `mask` is i[batch], the number of tokens of a text, or [batch, length], not 0 for a token.
    """
    real = np.arange(length)[None] < mask[:, None] if mask.ndim == 1 else mask != 0
    return np.where(real, np.float32(0), np.float32(-math.inf))[:, None, None, :]


_REWRITES: dict[str, Callable[[_Part], Iterator[Node]]] = {
    "Gelu": _gelu,
    "FastGelu": _gelu,
    "BiasGelu": _gelu,
    "SkipLayerNormalization": _skip_layer_normalization,
    "EmbedLayerNormalization": _embed_layer_normalization,
    "Attention": _attention,
    "MultiHeadAttention": _multi_head_attention,
}
