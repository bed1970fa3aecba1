"""Parts of a graph, recognised by what they compute rather than by how they are written.

Exporters spell the same function in many ways: a layer normalisation is one node or nine, a mask
is added, multiplied or selected, heads are split by Reshape or by Split. So a part is cut out
between values that are understood already, run in numpy on a small sample in double precision,
and compared with what it should be. Two texts are the sample, the second one padded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pywasm.compile import folding
from pywasm.compile.graph import Array, Graph, Node
from pywasm.compile.shapes import Info, infer

BATCH, SEQ = 2, 5
LENGTHS = (5, 3)
MASK = np.arange(SEQ)[None, :] < np.array(LENGTHS)[:, None]
# Constants of a model, such as the root of 2, are rounded to single or half precision.
_TOLERANCE, _HALF_TOLERANCE = 2e-5, 5e-3
_LARGEST = 400  # nodes of a region

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Region:
    """`nodes` make `output` of the values `cuts`, the inputs of the graph and constants.

    `sizes` are shapes of values, which follow from batch and seq alone.
    """

    output: str
    nodes: list[Node]
    cuts: list[str]
    sizes: list[str]
    reads_ids: bool

    def operators(self) -> set[str]:
        return {node.operator for node in self.nodes}


def difference(found: Array, wanted: Array) -> float:
    """The largest, absolute; infinite where one is not finite or shapes differ."""
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return math.inf
    return float(np.abs(found - wanted).max(initial=0.0))


class Regions:
    """Cuts regions out of a graph and runs them."""

    def __init__(self, graph: Graph, vocabulary: int) -> None:
        self._graph = graph
        self.tolerance = _HALF_TOLERANCE if graph.half else _TOLERANCE
        self._producers = graph.producers()
        self._order = {id(node): index for index, node in enumerate(graph.nodes)}
        self._infos: dict[tuple[int, int], dict[str, Info]] = {}
        self._random = np.random.default_rng(3)
        self._vocabulary = vocabulary

    def before(self, output: str, understood: set[str]) -> Region | None:
        """All that lies between `output` and what is understood; None if that is too much."""
        nodes: dict[int, Node] = {}
        cuts: list[str] = []
        sizes: list[str] = []
        reads_ids = False
        pending = [output]
        while pending:
            name = pending.pop()
            if name in understood and name != output:
                cuts.append(name)
                continue
            node = self._producers.get(name)
            if node is not None and node.operator == "Shape":
                sizes.append(name)
                continue
            if node is None:
                reads_ids = reads_ids or name == "input_ids"
                continue
            if id(node) in nodes:
                continue
            nodes[id(node)] = node
            if len(nodes) > _LARGEST:
                return None
            pending += [name for name in node.inputs if name]
        ordered = sorted(nodes.values(), key=lambda node: self._order[id(node)])
        return Region(output, ordered, list(dict.fromkeys(cuts)), sizes, reads_ids)

    def info(self, name: str, batch: int = BATCH, seq: int = SEQ) -> Info:
        if (batch, seq) not in self._infos:
            self._infos[batch, seq] = infer(self._graph, batch, seq)
        return self._infos[batch, seq][name]

    def rows(self, width: int, batch: int = BATCH, seq: int = SEQ) -> F64:
        """Random hidden states f64[batch * seq, width]."""
        return self._random.normal(0, 1.5, (batch * seq, width))

    def run(
        self,
        region: Region,
        given: dict[str, F64],
        batch: int = BATCH,
        seq: int = SEQ,
        lengths: tuple[int, ...] = LENGTHS,
    ) -> F64:
        """The region's result, f64[rows, its last size].

        `given`: for each cut its rows. Raises what numpy raises where the region does not fit.
        """
        result = self.values(region, given, batch, seq, lengths)[region.output]
        return result.reshape(-1, result.shape[-1]).astype(np.float64)

    def values(
        self,
        region: Region,
        given: dict[str, F64],
        batch: int,
        seq: int,
        lengths: tuple[int, ...],
    ) -> dict[str, Array]:
        """As `run`: every value of the region, in its own shape."""
        values: dict[str, Array] = self._inputs(batch, seq, lengths)
        for name in region.sizes:
            known = self.info(name, batch, seq).value
            assert known is not None  # a shape is never too large to be worked out
            values[name] = known
        for name, rows in given.items():
            values[name] = rows.reshape(self.info(name, batch, seq).shape)
        for node in region.nodes:
            for name in node.inputs:
                if name in self._graph.constants and name not in values:
                    constant = self._graph.constants[name]
                    is_float = np.issubdtype(constant.dtype, np.floating)
                    values[name] = constant.astype(np.float64) if is_float else constant
        return folding.run(region.nodes, values)

    def sample_ids(self) -> Array:
        """The ids of the sample, i64[BATCH, SEQ]."""
        return self._inputs(BATCH, SEQ, LENGTHS)["input_ids"]

    def _inputs(self, batch: int, seq: int, lengths: tuple[int, ...]) -> dict[str, Array]:
        mask = (np.arange(seq)[None, :] < np.array(lengths)[:, None]).astype(np.int64)
        # Ordinary tokens are in the upper half of a vocabulary, special ones at its start.
        half = self._vocabulary // 2
        ids = half + np.arange(batch * seq).reshape(batch, seq) % max(1, self._vocabulary - half)
        values: dict[str, Array] = {
            "input_ids": np.where(mask == 1, ids, 0),
            "attention_mask": mask,
            "token_type_ids": np.zeros((batch, seq), np.int64),
            "position_ids": np.broadcast_to(np.arange(seq), (batch, seq)),
        }
        for given in self._graph.inputs:
            values[given.name] = values[given.name].astype(given.dtype)
        return values

    def element_count(self, region: Region, batch: int, seq: int) -> int:
        """Elements of the largest value of a region, so that it is known before it is run."""
        names = [name for node in region.nodes for name in node.outputs if name]
        return max(math.prod(self.info(name, batch, seq).shape) for name in names)
