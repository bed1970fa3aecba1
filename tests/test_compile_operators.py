"""Operators in numpy, and the rules of their shapes, against onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from pywasm.compile import folding, operators, shapes
from pywasm.compile.onnx_import import from_proto

RANDOM = np.random.default_rng(5)
F = RANDOM.normal(0, 1, (2, 3, 4)).astype(np.float32)
G = RANDOM.normal(0, 1, (2, 3, 4)).astype(np.float32)
M = RANDOM.normal(0, 1, (4, 5)).astype(np.float32)
SQUARE = RANDOM.normal(0, 1, (2, 4, 4)).astype(np.float32)
K = RANDOM.integers(-5, 6, (2, 3)).astype(np.int64)
J = np.array([[2, -3, 4], [-1, 2, 3]], np.int64)
B = np.array([[True, False, True], [False, False, True]])
C = ~B


def i64(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def scalar(number: int) -> np.ndarray:
    return np.array(number, np.int64)


# (operator, inputs, attributes, opset, outputs)
Case = tuple[str, list[np.ndarray], dict[str, Any], int, int]


def case(
    operator: str, *inputs: np.ndarray, opset: int = 17, outputs: int = 1, **attributes: Any
) -> Case:
    return (operator, list(inputs), attributes, opset, outputs)


CASES = [
    *(
        case(name, F)
        for name in (
            *("Identity", "Dropout", "Neg", "Abs", "Exp", "Erf", "Tanh", "Sigmoid", "Relu"),
            *("Floor", "Ceil", "IsNaN", "Shape", "Size", "Reciprocal"),
        )
    ),
    *(case(name, np.abs(F)) for name in ("Sqrt", "Log")),
    case("Not", B),
    *(case(name, F, G[:, :1]) for name in ("Add", "Sub", "Mul", "Div", "Min", "Max")),
    case("Div", K, J),
    case("Mod", K, np.abs(J)),
    case("Pow", np.abs(F), np.float32(3.0)),
    *(
        case(name, K, J)
        for name in ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")
    ),
    case("And", B, C),
    case("Or", B, C),
    case("Where", B, K, J),
    case("Cast", F, to=TensorProto.INT64),
    case("Cast", K, to=TensorProto.FLOAT),
    case("Cast", K, to=TensorProto.BOOL),
    case("Clip", F, np.float32(-0.5), np.float32(0.5)),
    case("MatMul", F, M),
    case("Gemm", F[0], M.T.copy(), M[0], transB=1, alpha=0.5, beta=2.0),
    case("Gemm", M, M, transA=1),
    case("Softmax", F, axis=1),
    case("LayerNormalization", F, G[0, 0], G[0, 1], axis=-1),
    case("LayerNormalization", F, G[0], axis=1),
    case("Gelu", F, opset=20),
    case("Gelu", F, opset=20, approximate="tanh"),
    case("ReduceMean", F, axes=[-1]),
    case("ReduceMean", F, i64(0, 2), opset=18, keepdims=0),
    case("ReduceSum", F, i64(1)),
    case("ReduceSum", F, noop_with_empty_axes=1),
    case("ReduceMax", F, axes=[1], keepdims=0),
    case("ReduceMin", F),
    case("ReduceL2", F, axes=[2]),
    case("Shape", F, start=1),
    case("Shape", F, start=-2, end=-1),
    case("Reshape", F, i64(0, -1)),
    case("Reshape", F, i64(4, 3, 2)),
    case("Transpose", F, perm=[2, 0, 1]),
    case("Transpose", F),
    case("Squeeze", F[:1], i64(0)),
    case("Squeeze", F[:1]),
    case("Unsqueeze", F, i64(0, -1)),
    case("Flatten", F, axis=2),
    case("Expand", F[:, :1], i64(3, 1)),
    case("Tile", K, i64(2, 3)),
    case("Concat", F, G, axis=-1),
    case("Split", F, i64(1, 3), axis=2, outputs=2),
    case("Split", F, axis=2, outputs=2),
    case("Slice", F, i64(1), i64(3), i64(1)),
    case("Slice", F, i64(-1, 3), i64(-(1 << 60), 0), i64(1, 2), i64(-1, -2)),
    case("Gather", F, K % 3, axis=1),
    case("Gather", F, scalar(-1), axis=2),
    case("ConstantOfShape", i64(2, 3)),
    case("Range", scalar(2), scalar(11), scalar(3)),
    case("CumSum", K, scalar(1)),
    case("CumSum", K, scalar(0), exclusive=1, reverse=1),
    case("Trilu", SQUARE, scalar(1)),
    case("Trilu", SQUARE, upper=0),
]  # fmt: skip


def number(index: int) -> str:
    operator, _, attributes, *_ = CASES[index]
    return f"{index}-{operator}-{'-'.join(attributes)}"


@pytest.mark.parametrize("index", range(len(CASES)), ids=number)
def test_an_operator_computes_what_onnxruntime_does(index: int) -> None:
    operator, arrays, attributes, opset, outputs = CASES[index]
    names = [f"in{position}" for position in range(len(arrays))]
    made = [f"out{position}" for position in range(outputs)]
    node = helper.make_node(operator, names, made, "/node", **attributes)
    tensors = [
        numpy_helper.from_array(array, name) for array, name in zip(arrays, names, strict=True)
    ]
    infos = [helper.make_empty_tensor_value_info(name) for name in made]
    graph = helper.make_graph([node], "g", [], infos, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    wanted = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {})
    imported = from_proto(model, Path("one.onnx"))
    inferred = shapes.infer(imported, 2, 3)
    found = folding.run(imported.nodes, imported.constants)
    for name, result in zip(made, wanted, strict=True):
        assert found[name].shape == result.shape == inferred[name].shape
        assert np.allclose(found[name].astype(np.float64), result.astype(np.float64), atol=1e-5)
        value = inferred[name].value
        assert value is not None and np.array_equal(value, found[name])


def test_every_operator_has_a_rule_for_its_shape_and_a_case() -> None:
    assert operators.COMPUTE.keys() == shapes.RULES.keys()
    tried = {name for name, *_ in CASES}
    assert {name for domain, name in operators.COMPUTE if not domain} == tried
