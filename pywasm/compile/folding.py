"""Computing at compile time what does not depend on the texts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from pywasm.compile import shapes
from pywasm.compile.graph import Array, Graph, Node
from pywasm.compile.operators import COMPUTE, known
from pywasm.errors import UserError


def check_operators(graph: Graph) -> None:
    """Raises UserError naming the first node whose operator is not supported."""
    for node in graph.nodes:
        if not known(node):
            raise UserError(f"{graph.where}: {node} is not supported")


def fold(graph: Graph) -> Graph:
    """`graph` with a constant for every value that is the same for all inputs and sizes.

    That is what depends on constants alone, and what is computed from shapes without depending on
    batch or sequence, such as the root of a head's size.
    """
    first, second = shapes.infer(graph, 2, 3), shapes.infer(graph, 3, 7)
    constants = dict(graph.constants)
    nodes: list[Node] = []
    for node in graph.nodes:
        if all(name in constants for name in node.inputs if name):
            values = run([node], constants)
            constants.update({name: values[name] for name in node.outputs if name})
            continue
        same = [
            first[name].value
            for name in node.outputs
            if name and _equal(first[name].value, second[name].value)
        ]
        if len(same) == sum(1 for name in node.outputs if name):
            made = zip((name for name in node.outputs if name), same, strict=True)
            constants.update({name: value for name, value in made if value is not None})
        else:
            nodes.append(node)
    return replace(graph, nodes=nodes, constants=constants).reduced_to(graph.outputs)


def run(nodes: Iterable[Node], values: dict[str, Array]) -> dict[str, Array]:
    """`values` and what `nodes` make of them."""
    values = dict(values)
    for node in nodes:
        arrays = [values[name] if name else None for name in node.inputs]
        with np.errstate(all="ignore"):  # a branch that Where leaves out may divide by zero
            results = COMPUTE[node.domain, node.operator](node, arrays)
        values.update(zip(node.outputs, results, strict=False))
    return values


def _equal(a: Array | None, b: Array | None) -> bool:
    return a is not None and b is not None and a.shape == b.shape and bool(np.array_equal(a, b))
