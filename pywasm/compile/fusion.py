"""From a graph of operators to what an encoder is made of (fused.py).

Goes through the nodes in order and asks of each value: is it, seen from values that are
understood already, an embedding, a matrix product, an activation, a layer normalisation, an
attention, a sum? What is inside such a part is not understood by itself, and need not be. What
the output needs and is not understood is refused by name.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from pywasm.compile import attention_match, fused, regions, shapes, sizes
from pywasm.compile.fused import (
    Add,
    Attention,
    Embed,
    LayerNorm,
    Linear,
    Norm,
    Normalize,
    Op,
    Pool,
)
from pywasm.compile.graph import Array, Graph, Node
from pywasm.compile.regions import BATCH, LENGTHS, MASK, SEQ, Region, Regions
from pywasm.errors import UserError
from pywasm_jit import poly

INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
_ROWS = {("batch", "seq"): 1}
_VIEWS = ("Identity", "Dropout", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten")
_ELEMENTWISE = {
    *("Identity", "Dropout", "Cast", "Neg", "Abs", "Sqrt", "Reciprocal", "Exp", "Erf", "Tanh"),
    *("Sigmoid", "Relu", "Gelu", "Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Clip"),
}
_TELLING = ("Softmax", "LayerNormalization", "MatMul", "Gemm")  # of what a part was meant to be


def match(graph: Graph, output: str, positions: int) -> fused.Encoder:
    """What makes `output` of up to `positions` tokens: hidden states f32[batch, seq, width], or
    what a pooling in the graph makes of them, f32[batch, width].

    Raises UserError naming the node where it stops.
    """
    return _Matcher(graph, positions).match(output)


class _Matcher:
    def __init__(self, graph: Graph, positions: int) -> None:
        self._graph = graph
        self._positions = positions
        self._shapes = shapes.symbolic(graph)
        self._regions = Regions(graph, self._vocabulary())
        self._understood: dict[str, Op] = {}  # by the value of the graph

    def match(self, output: str) -> fused.Encoder:
        for node in self._graph.nodes:
            name = node.outputs[0]
            if name and self._width(name) is not None and (op := self._match(node, name)):
                self._understood[name] = op
        shape = self._shapes[output]
        if shape and len(shape) == 2 and shape[0] == sizes.BATCH:
            self._match_pooling(output)
        if output not in self._understood:
            raise self._refusal(output)
        ops: dict[str, Op] = {}
        self._collect(self._understood[output], ops)
        widths = {op.output: self._columns(op.output) for op in ops.values()}
        last = self._understood[output].output
        return fused.Encoder(self._graph.where, list(ops.values()), widths, last)

    def _match_pooling(self, output: str) -> None:
        """Mean or first row of hidden states, perhaps normalised: at the end of some exports."""
        region = self._regions.before(output, set(self._understood))
        ops = {self._understood[cut].output for cut in region.cuts} if region else set()
        if region is None or len(ops) != 1 or not self._may_run(region):
            return
        (x,) = ops
        width = self._known_width(x)
        sample = self._regions.rows(width)
        found = self._regions.run(region, dict.fromkeys(region.cuts, sample))
        states = sample.reshape(BATCH, SEQ, width) * MASK[:, :, None]
        kinds: dict[Literal["mean", "cls"], Array] = {
            "mean": states.sum(axis=1) / np.array(LENGTHS)[:, None],
            "cls": states[:, 0],
        }
        for kind, pooled in kinds.items():
            unit = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
            if self._agree(found, pooled):
                self._understood[output] = Pool(output, x, kind)
            elif self._agree(found, unit):
                name = f"{output}/pooled"
                self._shapes[name] = self._shapes[output]
                self._understood[name] = Pool(name, x, kind)
                self._understood[output] = Normalize(output, name)

    def _collect(self, last: Op, ops: dict[str, Op]) -> None:
        """`last` and all it needs, in the order of the graph."""
        by_output = {op.output: op for op in self._understood.values()}
        needed = {last.output}
        for op in reversed(list(by_output.values())):
            if op.output in needed:
                needed.update(fused.inputs_of(op))
        ops.update({name: op for name, op in by_output.items() if name in needed})

    def _vocabulary(self) -> int:
        """Rows of the largest table that is gathered from."""
        tables = [
            self._graph.constants[node.inputs[0]].shape[0]
            for node in self._graph.nodes
            if node.operator == "Gather"
            and node.inputs[0] in self._graph.constants
            and self._graph.constants[node.inputs[0]].ndim == 2
        ]
        return max(tables, default=1)

    # -- values -------------------------------------------------------------------------------

    def _width(self, name: str) -> int | None:
        """The columns of a value that is a row a token; None for others."""
        shape = self._shapes.get(name)
        if not shape or len(shape) < 2 or set(shape[-1]) != {()}:
            return None
        rows = poly.constant(1)
        for size in shape[:-1]:
            rows = poly.mul(rows, size)
        return shape[-1][()] if rows == _ROWS else None

    def _columns(self, name: str) -> int:
        """The last size of a value that is understood."""
        shape = self._shapes[name]
        assert shape is not None  # it would not be understood
        return shape[-1][()]

    def _known_width(self, name: str) -> int:
        width = self._width(name)
        assert width is not None  # every value that is understood has one
        return width

    def _vector(self, name: str, width: int) -> Array | None:
        """A constant that is one row of `width`, or a number for all of it, as f32[width]."""
        constant = self._graph.constants.get(name)
        if constant is None or constant.size not in (1, width) or constant.shape[-1:] == ():
            return None
        return np.broadcast_to(constant.reshape(-1), (width,)).astype(np.float32)

    def _matrix(self, name: str) -> Array | None:
        constant = self._graph.constants.get(name)
        is_matrix = constant is not None and constant.ndim == 2 and constant.dtype.kind == "f"
        return constant if is_matrix else None

    # -- what a node may be the end of --------------------------------------------------------

    def _match(self, node: Node, name: str) -> Op | None:
        x = self._understood.get(node.inputs[0]) if node.inputs else None
        if node.operator in _VIEWS and x and self._width(name) == self._width(x.output):
            return x
        if node.operator in ("MatMul", "Gemm"):
            product = self._linear(node, name)
            if product:
                return product
        if node.operator in ("Add", "Mul"):
            merged = self._sum_or_scaled(node, name)
            if merged:
                return merged
        if node.operator == "LayerNormalization" and x:
            return self._native_norm(node, name, x)
        region = self._regions.before(name, set(self._understood))
        if region is None or not self._may_run(region):
            return None
        try:
            return self._region(region)
        except (ValueError, IndexError, FloatingPointError):
            return None  # it can't be run on the sample, so it is none of these

    def _may_run(self, region: Region) -> bool:
        """Matrix products with weights are understood one by one or not at all."""
        weights = any(
            node.operator in ("MatMul", "Gemm") and self._matrix(node.inputs[1]) is not None
            for node in region.nodes
        )
        return not weights and self._regions.element_count(region, BATCH, SEQ) < 1 << 24

    def _region(self, region: Region) -> Op | None:
        ops = {self._understood[cut].output: self._understood[cut] for cut in region.cuts}
        if not ops and region.reads_ids:
            return self._word_embedding(region)
        operators = region.operators()
        if "Softmax" in operators:
            return self._attention(region, list(ops.values()))
        if len(ops) != 1:
            return None
        (x,) = ops.values()
        if "ReduceMean" in operators:
            return self._decomposed_norm(region, x)
        if isinstance(x, Linear) and operators <= _ELEMENTWISE:
            return self._activation(region, x)
        if isinstance(x, Embed) and x.norm is None:
            return self._position_embedding(region, x)
        return None

    def _linear(self, node: Node, name: str) -> Op | None:
        x, weight = self._understood.get(node.inputs[0]), self._matrix(node.inputs[1])
        if x is None or weight is None or node.attributes.get("transA", 0):
            return None
        if node.attributes.get("transB", 0):
            weight = weight.T
        weight = weight.astype(np.float32) * np.float32(node.attributes.get("alpha", 1.0))
        bias = None
        if len(node.inputs) > 2 and node.inputs[2]:
            bias = self._vector(node.inputs[2], weight.shape[1])
            if bias is None:
                return None
            bias = bias * np.float32(node.attributes.get("beta", 1.0))
        return Linear(name, x.output, weight, bias)

    def _sum_or_scaled(self, node: Node, name: str) -> Op | None:
        """Of two values that are understood, or of one and a row of constants."""
        found = [self._understood.get(value) for value in node.inputs]
        width = self._known_width(name)
        match found:
            case [None, None]:
                return None
            case [a, None] if a and (row := self._vector(node.inputs[1], width)) is not None:
                return self._with_row(node.operator, name, a, row)
            case [None, b] if b and (row := self._vector(node.inputs[0], width)) is not None:
                return self._with_row(node.operator, name, b, row)
            case [a, b] if a and b and node.operator == "Add":
                same = self._width(a.output) == self._width(b.output) == width
                return Add(name, a.output, b.output) if same else None
        return None

    def _with_row(self, operator: str, name: str, op: Op, row: Array) -> Op | None:
        """A bias added, or the scale and bias of a layer normalisation found one by one."""
        match op:
            case Linear(bias=None, activation="", residual=None) if operator == "Add":
                return replace(op, output=name, bias=row)
            case LayerNorm(norm=norm) if operator == "Add":
                return replace(op, output=name, norm=replace(norm, beta=norm.beta + row))
            case LayerNorm(norm=norm):
                scaled = replace(norm, gamma=norm.gamma * row, beta=norm.beta * row)
                return replace(op, output=name, norm=scaled)
        return None

    def _native_norm(self, node: Node, name: str, x: Op) -> Op | None:
        width = self._known_width(name)
        axis = node.attributes.get("axis", -1)
        shape = self._shapes[name]
        gamma = self._vector(node.inputs[1], width)
        beta = np.zeros(width, np.float32)
        if len(node.inputs) > 2 and node.inputs[2]:
            given = self._vector(node.inputs[2], width)
            if given is None:
                return None
            beta = given
        if gamma is None or shape is None or axis not in (-1, len(shape) - 1):
            return None
        epsilon = float(node.attributes.get("epsilon", 1e-5))
        return LayerNorm(name, x.output, Norm(gamma, beta, epsilon))

    def _decomposed_norm(self, region: Region, x: Op) -> Op | None:
        width = self._known_width(region.output)
        if width != self._width(x.output):
            return None
        names = {name for node in region.nodes for name in node.inputs}
        constants = [self._graph.constants[name] for name in names if name in self._graph.constants]
        epsilons = {float(array.ravel()[0]) for array in constants if array.size == 1}
        rows = sorted(
            (
                array.reshape(-1).astype(np.float32)
                for array in constants
                if array.shape == (width,)
            ),
            key=lambda row: row.tobytes(),
        )
        ones, zeros = np.ones(width, np.float32), np.zeros(width, np.float32)
        # Small values too, where epsilon shows.
        sample = self._regions.rows(width)
        sample[: SEQ // 2] *= 1e-3
        found = self._regions.run(region, dict.fromkeys(region.cuts, sample))
        for epsilon in sorted(value for value in epsilons if 0 < value < 1e-2):
            for gamma in [ones, *rows]:
                for beta in [zeros, *rows]:
                    norm = Norm(gamma, beta, epsilon)
                    if self._agree(found, fused.normalise(sample, norm)):
                        return LayerNorm(region.output, x.output, norm)
        return None

    def _activation(self, region: Region, x: Linear) -> Op | None:
        width = self._known_width(region.output)
        if x.activation or x.residual or width != self._width(x.output):
            return None
        sample = self._regions.rows(width)
        found = self._regions.run(region, dict.fromkeys(region.cuts, sample))
        by_name = {
            name: regions.difference(found, function(sample))
            for name, function in fused.ACTIVATIONS.items()
        }
        closest = min(by_name, key=lambda name: by_name[name])
        if by_name[closest] > self._regions.tolerance:
            return None
        return replace(x, output=region.output, activation=closest)

    def _word_embedding(self, region: Region) -> Op | None:
        """A table gathered from by the ids themselves."""
        node = region.nodes[-1]
        table = self._matrix(node.inputs[0])
        if node.operator != "Gather" or table is None or node.attributes.get("axis", 0) != 0:
            return None
        found = self._regions.run(region, {})
        ids = self._regions.sample_ids()
        if not np.array_equal(found, table[ids.ravel()].astype(np.float64)):
            return None
        width = table.shape[1]
        return Embed(region.output, table, np.zeros((self._positions, width), np.float32))

    def _position_embedding(self, region: Region, x: Embed) -> Op | None:
        """Something added that depends on the position alone, whatever the text and its padding."""
        width = self._known_width(region.output)
        sample = self._regions.rows(width)
        real = MASK.ravel()
        found = self._regions.run(region, dict.fromkeys(region.cuts, sample)) - sample
        seq = self._positions
        if self._regions.element_count(region, 1, seq) > 1 << 24:
            return None
        nothing = np.zeros((seq, width))
        table = self._regions.run(region, dict.fromkeys(region.cuts, nothing), 1, seq, (seq,))
        wanted = np.concatenate([table[:SEQ]] * BATCH)
        if not self._agree(found[real], wanted[real]):
            return None
        return replace(x, output=region.output, position=(x.position + table).astype(np.float32))

    def _attention(self, region: Region, ops: list[Op]) -> Op | None:
        """Of three matrix products of one value, or of one that gives all three: made one."""
        width = self._known_width(region.output)
        heads = self._heads(region)
        linears = [op for op in ops if isinstance(op, Linear)]
        plain = all(not op.activation and op.residual is None for op in linears)
        if heads is None or width % heads or len(linears) != len(ops) or not plain:
            return None
        if len({op.x for op in linears}) != 1:
            return None
        if sum(op.weight.shape[1] for op in linears) != 3 * width:
            return None
        samples = {op.output: self._regions.rows(op.weight.shape[1]) for op in linears}
        given = {cut: samples[self._understood[cut].output] for cut in region.cuts}
        padded = self._regions.run(region, given)
        values = self._regions.values(region, given, BATCH, SEQ, (SEQ,) * BATCH)
        found = [padded, values[region.output].reshape(padded.shape)]
        scores = values[_softmax(region).inputs[0]]
        joined = np.concatenate(list(samples.values()), axis=1)
        meaning = attention_match.identify(found, scores, joined, heads, self._regions.tolerance)
        if meaning is None:
            return None
        name = f"{region.output}/qkv"
        self._shapes[name] = (poly.name("batch"), poly.name("seq"), poly.constant(3 * width))
        self._understood[name] = _joined(name, linears, meaning.columns)
        return Attention(region.output, name, heads, meaning.scale)

    def _heads(self, region: Region) -> int | None:
        shape = self._regions.info(_softmax(region).outputs[0]).shape
        if len(shape) == 4:
            return shape[1]
        return shape[0] // BATCH if len(shape) == 3 and shape[0] % BATCH == 0 else None

    def _agree(self, found: Array, wanted: Array) -> bool:
        return regions.difference(found, wanted) <= self._regions.tolerance

    def _refusal(self, output: str) -> UserError:
        region = self._regions.before(output, set(self._understood))
        nodes = region.nodes if region else self._graph.nodes
        telling = [node for kind in _TELLING for node in nodes if node.operator == kind]
        working = [node for node in nodes if node.operator not in _VIEWS]
        node = [*telling, *working, *nodes][0]
        return UserError(
            f"{self._graph.where}: {node} is in no part of a transformer encoder that pywasm "
            "compiles (embeddings, linear layers, gelu, silu or relu, layer normalisation, "
            "self-attention over all tokens of a text)"
        )


def _softmax(region: Region) -> Node:
    return next(node for node in region.nodes if node.operator == "Softmax")


def _joined(name: str, linears: list[Linear], columns: Array) -> Linear:
    """One matrix product for several of the same value, its columns in the order of `columns`."""
    weight = np.concatenate([op.weight for op in linears], axis=1)[:, columns]
    zeros = [np.zeros(op.weight.shape[1], np.float32) for op in linears]
    biases = [zero if op.bias is None else op.bias for op, zero in zip(linears, zeros, strict=True)]
    bias = np.concatenate(biases)[columns]
    return Linear(name, linears[0].x, np.ascontiguousarray(weight), bias)
