"""What the operators of a model compute, in numpy: for constants, and to see what a part does.

Each takes (node, arrays), None for an input that is not given, and gives its results. Numbers
stay in the type they come in. Sizes were checked by shapes.py before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import helper

from pywasm.compile.contrib import OWN, mask_bias
from pywasm.compile.graph import Array, Node

Arrays = Sequence[Any]  # Array, or None where an input is not given
Compute = Callable[[Node, Arrays], list[Array]]


def axes_of(node: Node, given: Any, rank: int) -> tuple[int, ...] | None:
    """Axes from an input (later opsets) or the attribute, not negative; None where neither is."""
    axes = given if given is not None else node.attributes.get("axes")
    if axes is None:
        return None
    return tuple(int(axis) % rank if rank else 0 for axis in np.ravel(axes))


def slices(node: Node, arrays: Arrays, rank: int) -> tuple[slice, ...]:
    """The index that a Slice node takes; arrays 1 to 4 are starts, ends, axes, steps."""
    starts, ends = np.ravel(arrays[1]), np.ravel(arrays[2])
    axes = np.ravel(arrays[3]) if len(arrays) > 3 and arrays[3] is not None else range(len(starts))
    given_steps = len(arrays) > 4 and arrays[4] is not None
    steps = np.ravel(arrays[4]) if given_steps else [1] * len(starts)
    index = [slice(None)] * rank
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        # An end before the first element can't be said with a negative number in Python.
        stop = None if int(step) < 0 and int(end) < -(1 << 31) else int(end)
        index[int(axis)] = slice(int(start), stop, int(step))
    return tuple(index)


def reshaped(shape: tuple[int, ...], wanted: Any, allow_zero: bool) -> tuple[int, ...]:
    """The shape that Reshape gives: 0 keeps a size, -1 is what is left."""
    sizes = [int(size) for size in np.ravel(wanted)]
    if not allow_zero:
        sizes = [shape[i] if size == 0 and i < len(shape) else size for i, size in enumerate(sizes)]
    if -1 in sizes:
        rest = math.prod(size for size in sizes if size != -1)
        sizes[sizes.index(-1)] = math.prod(shape) // rest if rest else 0
    return tuple(sizes)


def split_sizes(node: Node, size: int, given: Any) -> list[int]:
    """How Split cuts an axis of `size`."""
    if given is not None:
        return [int(part) for part in np.ravel(given)]
    parts = len(node.outputs)
    step = -(-size // parts)
    return [min(step, size - start) for start in range(0, size, step)] if step else [0] * parts


def erf(x: Array) -> Array:
    """The error function, to 1.5e-7 (Abramowitz and Stegun, 7.1.26)."""
    t = 1 / (1 + 0.3275911 * np.abs(x))
    series = np.polyval([1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592, 0], t)
    return np.asarray(np.sign(x) * (1 - series * np.exp(-x * x)), x.dtype)


def gelu(x: Array) -> Array:
    """x * Phi(x) (Hendrycks and Gimpel, 2016)."""
    return np.asarray(x * 0.5 * (1 + erf(x / math.sqrt(2))))


def gelu_tanh(x: Array) -> Array:
    """Its approximation by tanh."""
    return np.asarray(x * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


def softmax(x: Array, axis: int = -1) -> Array:
    weights = np.exp(x - x.max(axis=axis, keepdims=True))
    result: Array = weights / weights.sum(axis=axis, keepdims=True)
    return result


def layer_norm(x: Array, epsilon: float, axis: int = -1) -> Array:
    """Without scale and bias. `axis` is the first of those normalised over."""
    axes = tuple(range(axis % x.ndim, x.ndim))
    centred = x - x.mean(axis=axes, keepdims=True)
    variance = (centred * centred).mean(axis=axes, keepdims=True)
    result: Array = centred / np.sqrt(variance + epsilon)
    return result


def _optional(arrays: Arrays, index: int) -> Any:
    return arrays[index] if len(arrays) > index else None


def _shape(node: Node, arrays: Arrays) -> list[Array]:
    sizes = arrays[0].shape[node.attributes.get("start", 0) : node.attributes.get("end")]
    return [np.array(sizes, np.int64)]


def _unary(function: Callable[[Any], Any]) -> Compute:
    return lambda node, arrays: [np.asarray(function(arrays[0]))]


def _binary(function: Callable[[Any, Any], Any]) -> Compute:
    return lambda node, arrays: [np.asarray(function(arrays[0], arrays[1]))]


def _chain(function: Callable[[Any, Any], Any]) -> Compute:
    def compute(node: Node, arrays: Arrays) -> list[Array]:
        result = arrays[0]
        for array in arrays[1:]:
            result = function(result, array)
        return [np.asarray(result)]

    return compute


def _reduce(function: Callable[..., Any]) -> Compute:
    def compute(node: Node, arrays: Arrays) -> list[Array]:
        x = arrays[0]
        axes = axes_of(node, _optional(arrays, 1), x.ndim)
        if axes is None and node.attributes.get("noop_with_empty_axes", 0):
            return [x]
        keep = bool(node.attributes.get("keepdims", 1))
        return [np.asarray(function(x, axis=axes, keepdims=keep))]

    return compute


def _divide(a: Array, b: Array) -> Array:
    """Integers round towards zero, as in C."""
    if np.issubdtype(np.result_type(a, b), np.integer):
        quotient: Array = np.abs(a) // np.abs(b)
        signed: Array = quotient * (np.sign(a) * np.sign(b))
        return signed.astype(a.dtype)
    result: Array = a / b
    return result


def _where(node: Node, arrays: Arrays) -> list[Array]:
    return [np.asarray(np.where(arrays[0], arrays[1], arrays[2]))]


def _cast(node: Node, arrays: Arrays) -> list[Array]:
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(node.attributes["to"]))
    # Models in half precision are computed in the precision of what they are given.
    if dtype.kind == "f" and arrays[0].dtype.kind == "f":
        return [arrays[0]]
    return [arrays[0].astype(dtype)]


def _gather(node: Node, arrays: Arrays) -> list[Array]:
    axis = node.attributes.get("axis", 0)
    return [np.take(arrays[0], arrays[1].astype(np.int64), axis=axis)]


def _split(node: Node, arrays: Arrays) -> list[Array]:
    axis = node.attributes.get("axis", 0)
    sizes = split_sizes(node, arrays[0].shape[axis], _optional(arrays, 1))
    return list(np.split(arrays[0], np.cumsum(sizes)[:-1], axis=axis))


def _squeeze(node: Node, arrays: Arrays) -> list[Array]:
    return [np.squeeze(arrays[0], axes_of(node, _optional(arrays, 1), arrays[0].ndim))]


def _unsqueeze(node: Node, arrays: Arrays) -> list[Array]:
    axes = np.ravel(arrays[1])
    rank = arrays[0].ndim + len(axes)
    return [np.expand_dims(arrays[0], tuple(int(axis) % rank for axis in axes))]


def _flatten(node: Node, arrays: Arrays) -> list[Array]:
    axis = node.attributes.get("axis", 1)
    return [arrays[0].reshape(math.prod(arrays[0].shape[:axis]), -1)]


def _expand(node: Node, arrays: Arrays) -> list[Array]:
    wanted = tuple(int(size) for size in np.ravel(arrays[1]))
    return [np.broadcast_to(arrays[0], np.broadcast_shapes(arrays[0].shape, wanted))]


def _constant_of_shape(node: Node, arrays: Arrays) -> list[Array]:
    value = node.attributes.get("value", np.zeros(1, np.float32))
    return [np.full(tuple(int(size) for size in np.ravel(arrays[0])), value.ravel()[0])]


def _cumsum(node: Node, arrays: Arrays) -> list[Array]:
    axis = int(arrays[1])
    x = arrays[0]
    if node.attributes.get("reverse", 0):
        x = np.flip(x, axis)
    total = np.cumsum(x, axis=axis, dtype=x.dtype)
    if node.attributes.get("exclusive", 0):
        total = total - x
    return [np.flip(total, axis) if node.attributes.get("reverse", 0) else total]


def _trilu(node: Node, arrays: Arrays) -> list[Array]:
    k = int(np.ravel(arrays[1])[0]) if _optional(arrays, 1) is not None else 0
    return [np.triu(arrays[0], k) if node.attributes.get("upper", 1) else np.tril(arrays[0], k)]


def _clip(node: Node, arrays: Arrays) -> list[Array]:
    low, high = _optional(arrays, 1), _optional(arrays, 2)
    return [arrays[0] if low is None and high is None else np.clip(arrays[0], low, high)]


def _gelu(node: Node, arrays: Arrays) -> list[Array]:
    tanh = node.attributes.get("approximate", "none") == "tanh"
    return [gelu_tanh(arrays[0]) if tanh else gelu(arrays[0])]


def _gemm(node: Node, arrays: Arrays) -> list[Array]:
    a = arrays[0].T if node.attributes.get("transA", 0) else arrays[0]
    b = arrays[1].T if node.attributes.get("transB", 0) else arrays[1]
    result = node.attributes.get("alpha", 1.0) * (a @ b)
    if _optional(arrays, 2) is not None:
        result = result + node.attributes.get("beta", 1.0) * arrays[2]
    return [result]


def _fused_matmul(node: Node, arrays: Arrays) -> list[Array]:
    a = np.swapaxes(arrays[0], -1, -2) if node.attributes.get("transA", 0) else arrays[0]
    b = np.swapaxes(arrays[1], -1, -2) if node.attributes.get("transB", 0) else arrays[1]
    return [node.attributes.get("alpha", 1.0) * (a @ b)]


def _layer_normalization(node: Node, arrays: Arrays) -> list[Array]:
    axis, epsilon = node.attributes.get("axis", -1), node.attributes.get("epsilon", 1e-5)
    result = layer_norm(arrays[0], epsilon, axis) * arrays[1]
    return [result if _optional(arrays, 2) is None else result + arrays[2]]


_UNARY: dict[str, Callable[[Any], Any]] = {
    "Identity": lambda x: x,
    "Dropout": lambda x: x,  # models are run, not trained
    "Neg": np.negative,
    "Abs": np.abs,
    "Sqrt": np.sqrt,
    "Reciprocal": lambda x: 1 / x,
    "Exp": np.exp,
    "Log": np.log,
    "Erf": erf,
    "Tanh": np.tanh,
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Relu": lambda x: np.maximum(x, 0),
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Not": np.logical_not,
    "IsNaN": np.isnan,
    "Size": lambda x: np.array(x.size, np.int64),
}
_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": _divide,
    "Pow": np.power,
    "Mod": np.mod,
    "Equal": np.equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "And": np.logical_and,
    "Or": np.logical_or,
    "MatMul": np.matmul,
}
COMPUTE: dict[tuple[str, str], Compute] = {
    **{("", name): _unary(function) for name, function in _UNARY.items()},
    **{("", name): _binary(function) for name, function in _BINARY.items()},
    ("", "Shape"): _shape,
    ("", "Min"): _chain(np.minimum),
    ("", "Max"): _chain(np.maximum),
    ("", "Where"): _where,
    ("", "ReduceMean"): _reduce(np.mean),
    ("", "ReduceSum"): _reduce(np.sum),
    ("", "ReduceMax"): _reduce(np.max),
    ("", "ReduceMin"): _reduce(np.min),
    ("", "ReduceL2"): _reduce(lambda x, **how: np.sqrt(np.sum(x * x, **how))),
    ("", "Cast"): _cast,
    ("", "Gather"): _gather,
    ("", "Slice"): lambda node, arrays: [arrays[0][slices(node, arrays, arrays[0].ndim)]],
    ("", "Concat"): lambda node, arrays: [np.concatenate(arrays, axis=node.attributes["axis"])],
    ("", "Split"): _split,
    ("", "Reshape"): lambda node, arrays: [
        arrays[0].reshape(
            reshaped(arrays[0].shape, arrays[1], bool(node.attributes.get("allowzero", 0)))
        )
    ],
    ("", "Transpose"): lambda node, arrays: [np.transpose(arrays[0], node.attributes.get("perm"))],
    ("", "Squeeze"): _squeeze,
    ("", "Unsqueeze"): _unsqueeze,
    ("", "Flatten"): _flatten,
    ("", "Expand"): _expand,
    ("", "Tile"): lambda node, arrays: [np.tile(arrays[0], np.ravel(arrays[1]))],
    ("", "ConstantOfShape"): _constant_of_shape,
    ("", "Range"): lambda node, arrays: [np.arange(*(np.ravel(array)[0] for array in arrays))],
    ("", "CumSum"): _cumsum,
    ("", "Trilu"): _trilu,
    ("", "Clip"): _clip,
    ("", "Softmax"): lambda node, arrays: [softmax(arrays[0], node.attributes.get("axis", -1))],
    ("", "Gelu"): _gelu,
    ("", "Gemm"): _gemm,
    ("", "LayerNormalization"): _layer_normalization,
    ("com.microsoft", "FusedMatMul"): _fused_matmul,
    (OWN, "MaskBias"): lambda node, arrays: [mask_bias(arrays[0], int(arrays[1][1]))],
}


def known(node: Node) -> bool:
    return (node.domain, node.operator) in COMPUTE
