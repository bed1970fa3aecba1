"""A model as its importer left it: nodes in the order of the computation, constants as arrays.

Values are named by strings, as in ONNX; "" is an input that is not given.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Node:
    """An application of an operator. `domain` is "" for ONNX's own; `opset` is its version."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    domain: str = ""
    opset: int = 0

    def __str__(self) -> str:
        """For messages: which node, which operator, which opset."""
        operator = f"{self.domain}.{self.operator}" if self.domain else self.operator
        return f"node {self.name!r} (operator {operator}, opset {self.opset})"


@dataclass(frozen=True)
class Input:
    """A tensor that is given at run time; None is a size not known before."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]


@dataclass
class Graph:
    """`where` is the file, for messages. `half`: some of its numbers were in half precision."""

    where: str
    nodes: list[Node]
    constants: dict[str, Array]
    inputs: list[Input]
    outputs: list[str]
    half: bool = False

    def producers(self) -> dict[str, Node]:
        """The node that makes a value, for every value that a node makes."""
        return {output: node for node in self.nodes for output in node.outputs if output}

    def reduced_to(self, outputs: Iterable[str]) -> Graph:
        """What `outputs` need; constants and nodes that nothing needs are left out."""
        outputs = list(outputs)
        needed = set(outputs)
        nodes = []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                nodes.append(node)
                needed.update(name for name in node.inputs if name)
        constants = {name: array for name, array in self.constants.items() if name in needed}
        return replace(self, nodes=nodes[::-1], constants=constants, outputs=outputs)
