"""onnxruntime's own operators, in the operators they stand for.

Models that went through onnxruntime's optimiser hold them (domain com.microsoft); with them
rewritten, what follows knows ONNX's operators only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from pywasm.compile.graph import Graph, Node

Rewrite = Callable[[Node], Iterator[Node]]


def lower_contrib(graph: Graph) -> Graph:
    """`graph` with every contrib operator that has a rewrite replaced."""
    nodes: list[Node] = []
    for node in graph.nodes:
        rewrite = _REWRITES.get(node.operator) if node.domain == "com.microsoft" else None
        nodes.extend(rewrite(node) if rewrite else [node])
    return replace(graph, nodes=nodes)


def _plain(node: Node, operator: str, inputs: tuple[str, ...], output: str) -> Node:
    """A node of ONNX's own; it keeps the name, for messages."""
    return Node(node.name, operator, inputs, (output,), {}, "", node.opset)


def _input(node: Node, index: int) -> str:
    return node.inputs[index] if len(node.inputs) > index else ""


def _output(node: Node, index: int, otherwise: str) -> str:
    given = node.outputs[index] if len(node.outputs) > index else ""
    return given or f"{node.outputs[0]}/{otherwise}"


def _gelu(node: Node) -> Iterator[Node]:
    """Gelu(x), FastGelu(x[, bias]) and BiasGelu(x, bias)."""
    x, bias = _input(node, 0), _input(node, 1)
    if bias:
        total = _output(node, 1, "biased")
        yield _plain(node, "Add", (x, bias), total)
        x = total
    gelu = _plain(node, "Gelu", (x,), node.outputs[0])
    how = "tanh" if node.operator == "FastGelu" else "none"
    yield replace(gelu, attributes={"approximate": how})


def _skip_layer_normalization(node: Node) -> Iterator[Node]:
    """(x, skip, gamma, beta, bias) -> normalised, -, -, x + skip + bias."""
    total = _output(node, 3, "sum")
    bias = _input(node, 4)
    plain_sum = f"{total}/unbiased" if bias else total
    # The bias is that of the matrix product before it, x: there it is fused.
    x = node.inputs[0]
    if bias:
        yield _plain(node, "Add", (x, bias), plain_sum)
        x = plain_sum
    yield _plain(node, "Add", (x, node.inputs[1]), total)
    inputs = (total, node.inputs[2], *([_input(node, 3)] if _input(node, 3) else []))
    norm = _plain(node, "LayerNormalization", inputs, node.outputs[0])
    epsilon = node.attributes.get("epsilon", 1e-12)
    yield replace(norm, attributes={"axis": -1, "epsilon": epsilon})


_REWRITES: dict[str, Rewrite] = {
    "Gelu": _gelu,
    "FastGelu": _gelu,
    "BiasGelu": _gelu,
    "SkipLayerNormalization": _skip_layer_normalization,
}
