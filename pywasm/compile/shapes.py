"""Shapes of every value of a graph, for given sizes of the inputs, without computing the data.

What a model computes about sizes (Shape, Gather, Concat, ...) is computed; of the rest only the
shape is followed. So a shape holds before anything of that size is allocated, and a graph that
asks for absurd sizes is refused by name. Symbolic shapes, polynomials in "batch" and "seq", come
from running this at a few sizes and fitting: exact for all that is a polynomial of this degree,
and what is not shows at the sizes that were not fitted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pywasm.compile.contrib import OWN
from pywasm.compile.graph import Array, Graph, Node
from pywasm.compile.operators import (
    COMPUTE,
    axes_of,
    known,
    reshaped,
    slices,
    split_sizes,
)
from pywasm.errors import UserError
from pywasm_jit.poly import Poly

MAX_ELEMENTS = 1 << 28  # of one value
_MAX_KNOWN = 1 << 12  # elements of a value that is computed, not only followed
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Info:
    """`value` where it depends on nothing but constants and sizes, and is small."""

    shape: Shape
    value: Array | None = None


Infos = Sequence[Info | None]
Rule = Callable[[Node, Infos], list[Shape]]


class _UnknownError(Exception):
    """A size depends on data."""


def infer(graph: Graph, batch: int, seq: int) -> dict[str, Info]:
    """Shapes of all values where the inputs are [batch, seq]. Raises UserError."""
    infos = {name: _constant(array) for name, array in graph.constants.items()}
    for value in graph.inputs:
        infos[value.name] = Info((batch, seq))
    for node in graph.nodes:
        if not known(node):
            raise UserError(f"{graph.where}: {node} is not supported")
        inputs = [infos[name] if name else None for name in node.inputs]
        try:
            found = _node(node, inputs)
        except _UnknownError as error:
            raise UserError(
                f"{graph.where}: {node}: {error} depends on the data; it must follow from the "
                "sizes of the inputs"
            ) from error
        except (ValueError, IndexError, TypeError, KeyError, ArithmeticError) as error:
            shapes = ", ".join(str(list(info.shape)) if info else "-" for info in inputs)
            raise UserError(
                f"{graph.where}: {node} does not fit its inputs {shapes} ({error})"
            ) from error
        for name, info in zip(node.outputs, found, strict=False):
            infos[name] = info
    return infos


def symbolic(graph: Graph) -> dict[str, tuple[Poly, ...] | None]:
    """Shapes as polynomials in "batch" and "seq"; None where one is not such a polynomial."""
    samples = [((b, s), infer(graph, b, s)) for b, s in ((2, 3), (3, 3), (2, 5), (3, 5), (5, 7))]
    shapes: dict[str, tuple[Poly, ...] | None] = {}
    for name in samples[0][1]:
        found = [(point, infos[name].shape) for point, infos in samples]
        if len({len(shape) for _, shape in found}) > 1:
            shapes[name] = None
            continue
        polys = [
            _fit([(*point, shape[axis]) for point, shape in found])
            for axis in range(len(found[0][1]))
        ]
        whole = [poly for poly in polys if poly is not None]
        shapes[name] = tuple(whole) if len(whole) == len(polys) else None
    return shapes


def _fit(samples: list[tuple[int, int, int]]) -> Poly | None:
    """c + x b + y s + z b s through the first four (b, s, size), if the last agrees."""
    rows = np.array([[1, b, s, b * s] for b, s, _ in samples], np.float64)
    sizes = np.array([size for *_, size in samples], np.float64)
    factors = np.round(np.linalg.solve(rows[:4], sizes[:4]))
    if not np.array_equal(rows @ factors, sizes):
        return None
    terms = ((), ("batch",), ("seq",), ("batch", "seq"))
    return {term: int(factor) for term, factor in zip(terms, factors, strict=True) if factor}


def _constant(array: Array) -> Info:
    return Info(array.shape, array if array.size <= _MAX_KNOWN else None)


def _node(node: Node, inputs: Infos) -> list[Info]:
    shapes = RULES[node.domain, node.operator](node, inputs)
    for shape in shapes:
        if any(size < 0 for size in shape) or math.prod(shape) > MAX_ELEMENTS:
            raise ValueError(f"a value of shape {list(shape)}, expected at most {MAX_ELEMENTS:,}")
    small = all(math.prod(shape) <= _MAX_KNOWN for shape in shapes)
    if node.operator == "Shape":
        only = inputs[0]
        assert only is not None
        sizes = only.shape[node.attributes.get("start", 0) : node.attributes.get("end")]
        return [Info((len(sizes),), np.array(sizes, np.int64))]
    if small and all(info is None or info.value is not None for info in inputs):
        values = [None if info is None else info.value for info in inputs]
        results = COMPUTE[node.domain, node.operator](node, values)
        return [_constant(result) for result in results]
    return [Info(shape) for shape in shapes]


def _shape(inputs: Infos, index: int = 0) -> Shape:
    info = inputs[index]
    if info is None:
        raise ValueError(f"input {index} is missing")
    return info.shape


def _value(inputs: Infos, index: int, what: str) -> Array:
    info = inputs[index] if len(inputs) > index else None
    if info is None:
        raise ValueError(f"input {index} ({what}) is missing")
    if info.value is None:
        raise _UnknownError(what)
    return info.value


def _optional(inputs: Infos, index: int, what: str) -> Array | None:
    given = len(inputs) > index and inputs[index] is not None
    return _value(inputs, index, what) if given else None


def _same(node: Node, inputs: Infos) -> list[Shape]:
    return [_shape(inputs)] * len(node.outputs)


def _broadcast(node: Node, inputs: Infos) -> list[Shape]:
    return [np.broadcast_shapes(*(info.shape for info in inputs if info is not None))]


def _reduce(node: Node, inputs: Infos) -> list[Shape]:
    shape = _shape(inputs)
    axes = axes_of(node, _optional(inputs, 1, "axes"), len(shape))
    if axes is None:
        axes = () if node.attributes.get("noop_with_empty_axes", 0) else tuple(range(len(shape)))
    if node.attributes.get("keepdims", 1):
        return [tuple(1 if axis in axes else size for axis, size in enumerate(shape))]
    return [tuple(size for axis, size in enumerate(shape) if axis not in axes)]


def _matmul(node: Node, inputs: Infos) -> list[Shape]:
    a, b = _shape(inputs, 0), _shape(inputs, 1)
    if len(a) < 2 or len(b) < 2:
        raise ValueError("expected two or more dimensions")
    if node.attributes.get("transA", 0):
        a = (*a[:-2], a[-1], a[-2])
    if node.attributes.get("transB", 0):
        b = (*b[:-2], b[-1], b[-2])
    if a[-1] != b[-2]:
        raise ValueError(f"{a[-1]} columns times {b[-2]} rows")
    return [(*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1])]


def _gather(node: Node, inputs: Infos) -> list[Shape]:
    data, index = _shape(inputs, 0), _shape(inputs, 1)
    axis = range(len(data))[node.attributes.get("axis", 0)]
    return [(*data[:axis], *index, *data[axis + 1 :])]


def _slice(node: Node, inputs: Infos) -> list[Shape]:
    shape = _shape(inputs)
    names = ("", "starts", "ends", "axes", "steps")
    values = [None, *(_optional(inputs, index, names[index]) for index in range(1, 5))]
    index = slices(node, values, len(shape))
    return [tuple(len(range(size)[part]) for size, part in zip(shape, index, strict=True))]


def _concat(node: Node, inputs: Infos) -> list[Shape]:
    shapes = [_shape(inputs, index) for index in range(len(inputs))]
    axis = range(len(shapes[0]))[node.attributes["axis"]]
    if len({(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}) > 1:
        raise ValueError("sizes differ along other axes")
    total = sum(shape[axis] for shape in shapes)
    return [(*shapes[0][:axis], total, *shapes[0][axis + 1 :])]


def _split(node: Node, inputs: Infos) -> list[Shape]:
    shape = _shape(inputs)
    axis = range(len(shape))[node.attributes.get("axis", 0)]
    sizes = split_sizes(node, shape[axis], _optional(inputs, 1, "split"))
    if sum(sizes) != shape[axis] or len(sizes) != len(node.outputs):
        raise ValueError(f"{shape[axis]} elements split into {sizes}")
    return [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]


def _reshape(node: Node, inputs: Infos) -> list[Shape]:
    shape = _shape(inputs)
    allow_zero = bool(node.attributes.get("allowzero", 0))
    wanted = reshaped(shape, _value(inputs, 1, "shape"), allow_zero)
    if math.prod(wanted) != math.prod(shape):
        raise ValueError(f"{list(shape)} can't become {list(wanted)}")
    return [wanted]


def _transpose(node: Node, inputs: Infos) -> list[Shape]:
    shape = _shape(inputs)
    order = node.attributes.get("perm", tuple(reversed(range(len(shape)))))
    if sorted(order) != list(range(len(shape))):
        raise ValueError(f"perm {order} of {len(shape)} dimensions")
    return [tuple(shape[axis] for axis in order)]


def _squeeze(node: Node, inputs: Infos) -> list[Shape]:
    shape = _shape(inputs)
    axes = axes_of(node, _optional(inputs, 1, "axes"), len(shape))
    if axes is None:
        axes = tuple(axis for axis, size in enumerate(shape) if size == 1)
    if any(shape[axis] != 1 for axis in axes):
        raise ValueError(f"axes {list(axes)} are not all of size 1")
    return [tuple(size for axis, size in enumerate(shape) if axis not in axes)]


def _unsqueeze(node: Node, inputs: Infos) -> list[Shape]:
    shape = list(_shape(inputs))
    given = np.ravel(_value(inputs, 1, "axes"))
    rank = len(shape) + len(given)
    for axis in sorted(range(rank)[int(axis)] for axis in given):
        shape.insert(axis, 1)
    return [tuple(shape)]


def _flatten(node: Node, inputs: Infos) -> list[Shape]:
    shape, axis = _shape(inputs), node.attributes.get("axis", 1)
    return [(math.prod(shape[:axis]), math.prod(shape[axis:]))]


def _expand(node: Node, inputs: Infos) -> list[Shape]:
    wanted = tuple(int(size) for size in np.ravel(_value(inputs, 1, "shape")))
    return [np.broadcast_shapes(_shape(inputs), wanted)]


def _tile(node: Node, inputs: Infos) -> list[Shape]:
    repeats = np.ravel(_value(inputs, 1, "repeats"))
    return [tuple(size * int(n) for size, n in zip(_shape(inputs), repeats, strict=True))]


def _constant_of_shape(node: Node, inputs: Infos) -> list[Shape]:
    return [tuple(int(size) for size in np.ravel(_value(inputs, 0, "shape")))]


def _range(node: Node, inputs: Infos) -> list[Shape]:
    start, limit, delta = (np.ravel(_value(inputs, i, "a bound"))[0].item() for i in range(3))
    return [(max(0, math.ceil((limit - start) / delta)),)]


def _gemm(node: Node, inputs: Infos) -> list[Shape]:
    if len(_shape(inputs, 0)) != 2 or len(_shape(inputs, 1)) != 2:
        raise ValueError("expected two dimensions")
    return _matmul(node, inputs)


RULES: dict[tuple[str, str], Rule] = {
    **{
        ("", name): _same
        for name in (
            *("Identity", "Dropout", "Neg", "Abs", "Sqrt", "Reciprocal", "Exp", "Log", "Erf"),
            *("Tanh", "Sigmoid", "Relu", "Floor", "Ceil", "Not", "IsNaN", "Cast", "CumSum"),
            *("Trilu", "Clip", "Softmax", "Gelu", "LayerNormalization"),
        )
    },
    **{
        ("", name): _broadcast
        for name in (
            *("Add", "Sub", "Mul", "Div", "Pow", "Mod", "Equal", "Less", "LessOrEqual", "Greater"),
            *("GreaterOrEqual", "And", "Or", "Min", "Max", "Where"),
        )
    },
    **{
        ("", name): _reduce
        for name in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2")
    },
    ("", "Shape"): lambda node, inputs: [(len(_shape(inputs)),)],
    ("", "Size"): lambda node, inputs: [()],
    ("", "MatMul"): _matmul,
    ("", "Gemm"): _gemm,
    ("", "Gather"): _gather,
    ("", "Slice"): _slice,
    ("", "Concat"): _concat,
    ("", "Split"): _split,
    ("", "Reshape"): _reshape,
    ("", "Transpose"): _transpose,
    ("", "Squeeze"): _squeeze,
    ("", "Unsqueeze"): _unsqueeze,
    ("", "Flatten"): _flatten,
    ("", "Expand"): _expand,
    ("", "Tile"): _tile,
    ("", "ConstantOfShape"): _constant_of_shape,
    ("", "Range"): _range,
    ("com.microsoft", "FusedMatMul"): _matmul,
    (OWN, "MaskBias"): lambda node, inputs: [
        (_shape(inputs)[0], 1, 1, int(_value(inputs, 1, "a length")[1]))
    ],
}
