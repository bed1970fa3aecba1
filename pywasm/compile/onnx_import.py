"""From an .onnx file to a Graph.

The file is anyone's: sizes are compared with what is there before anything of them is allocated,
external data may only lie beside the model, and every refusal names file, place and what was
expected.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto, helper

from pywasm.compile.graph import Array, Graph, Input, Node
from pywasm.errors import UserError

OLDEST_OPSET = 13
_DOMAINS = {"": "", "ai.onnx": "", "com.microsoft": "com.microsoft"}
_MAX_DIMENSIONS = 8

# Element types: numpy's, the field that holds elements where there is no raw_data, and whether
# that field holds bit patterns instead of numbers.
_TYPES: dict[int, tuple[np.dtype[Any], str, bool]] = {
    TensorProto.FLOAT: (np.dtype("<f4"), "float_data", False),
    TensorProto.DOUBLE: (np.dtype("<f8"), "double_data", False),
    TensorProto.FLOAT16: (np.dtype("<f2"), "int32_data", True),
    TensorProto.BFLOAT16: (np.dtype("<u2"), "int32_data", True),
    TensorProto.INT64: (np.dtype("<i8"), "int64_data", False),
    TensorProto.INT32: (np.dtype("<i4"), "int32_data", False),
    TensorProto.INT8: (np.dtype("i1"), "int32_data", False),
    TensorProto.UINT8: (np.dtype("u1"), "int32_data", False),
    TensorProto.BOOL: (np.dtype("?"), "int32_data", False),
}


def import_onnx(file: Path) -> Graph:
    """The graph of `file`, opset 13 or later. Raises UserError."""
    try:
        model = onnx.load_model_from_string(file.read_bytes())
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such file; expected an ONNX model") from error
    except DecodeError as error:
        raise UserError(f"{file}: not an ONNX model, or cut off ({error})") from error
    return from_proto(model, file)


def from_proto(model: onnx.ModelProto, file: Path) -> Graph:
    """As import_onnx; `file` is where external data is looked for, and the name in messages."""
    opsets = _opsets(model, file)
    if model.functions:
        try:
            model = onnx.inliner.inline_local_functions(model)
        except Exception as error:  # the inliner raises what its C++ raises
            raise UserError(f"{file}: its functions can't be inlined ({error})") from error
    graph = _Importer(file, opsets).graph(model.graph)
    if not graph.outputs:
        raise UserError(f"{file}: the graph has no output; expected an ONNX model, is it cut off?")
    return graph


def _opsets(model: onnx.ModelProto, file: Path) -> dict[str, int]:
    opsets = {
        _DOMAINS.get(entry.domain, entry.domain): entry.version for entry in model.opset_import
    }
    if not model.HasField("graph") or "" not in opsets:
        raise UserError(f"{file}: no graph or no opset in it; expected an ONNX model")
    if opsets[""] < OLDEST_OPSET:
        raise UserError(
            f"{file}: made for opset {opsets['']}, expected {OLDEST_OPSET} or later; convert it "
            "with onnx.version_converter"
        )
    return opsets


class _Importer:
    def __init__(self, file: Path, opsets: dict[str, int]) -> None:
        self._file = file
        self._opsets = opsets
        self._half = False

    def graph(self, graph: onnx.GraphProto) -> Graph:
        if graph.sparse_initializer:
            raise UserError(f"{self._file}: sparse initializers are not supported")
        constants = {
            tensor.name: self._tensor(tensor, f"initializer {tensor.name!r}")
            for tensor in graph.initializer
        }
        inputs = [self._input(value) for value in graph.input if value.name not in constants]
        known = {"", *constants, *(value.name for value in inputs)}
        nodes: list[Node] = []
        for number, proto in enumerate(graph.node):
            node = self._node(proto, number)
            for name in node.inputs:
                if name not in known:
                    raise UserError(
                        f"{self._file}: {node} reads {name!r}, which nothing before it makes"
                    )
            for name in node.outputs:
                if name and name in known:
                    raise UserError(f"{self._file}: {node} makes {name!r} for the second time")
                known.add(name)
            if node.operator == "Constant" and not node.domain:
                constants[node.outputs[0]] = self._constant(node)
            else:
                nodes.append(node)
        outputs = [value.name for value in graph.output]
        for name in outputs:
            if name not in known:
                raise UserError(f"{self._file}: output {name!r} is made by nothing")
        return Graph(str(self._file), nodes, constants, inputs, outputs, self._half)

    def _input(self, value: onnx.ValueInfoProto) -> Input:
        tensor = value.type.tensor_type
        if tensor.elem_type not in _TYPES:
            raise UserError(f"{self._file}: input {value.name!r} is no tensor of a known type")
        shape = tuple(
            dimension.dim_value if dimension.HasField("dim_value") else None
            for dimension in tensor.shape.dim
        )
        return Input(value.name, _TYPES[tensor.elem_type][0], shape)

    def _node(self, proto: onnx.NodeProto, number: int) -> Node:
        domain = _DOMAINS.get(proto.domain, proto.domain)
        node = Node(
            name=proto.name or f"{proto.op_type}#{number}",
            operator=proto.op_type,
            inputs=tuple(proto.input),
            outputs=tuple(proto.output),
            domain=domain,
            opset=self._opsets.get(domain, 0),
        )
        if not node.outputs:
            raise UserError(f"{self._file}: {node} has no output")
        for attribute in proto.attribute:
            node.attributes[attribute.name] = self._attribute(attribute, node)
        return node

    def _attribute(self, attribute: onnx.AttributeProto, node: Node) -> Any:
        kinds = onnx.AttributeProto
        if attribute.type in (kinds.GRAPH, kinds.GRAPHS):
            raise UserError(f"{self._file}: {node} has a subgraph: it is not supported")
        if attribute.type == kinds.TENSOR:
            return self._tensor(attribute.t, f"attribute {attribute.name!r} of {node}")
        try:
            value = helper.get_attribute_value(attribute)
        except ValueError as error:
            raise UserError(f"{self._file}: {node}: {error}") from error
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        return tuple(value) if attribute.type in (kinds.INTS, kinds.FLOATS) else value

    def _constant(self, node: Node) -> Array:
        attributes = node.attributes
        for name, dtype in (("value_float", np.float32), ("value_int", np.int64)):
            for key in (name, name + "s"):
                if key in attributes:
                    return np.array(attributes[key], dtype)
        if isinstance(attributes.get("value"), np.ndarray):
            value: Array = attributes["value"]
            return value
        raise UserError(f"{self._file}: {node} has no value of a known kind")

    def _tensor(self, tensor: onnx.TensorProto, what: str) -> Array:
        """An array on the bytes of `tensor`, where they are raw and of numpy's kinds."""
        if tensor.data_type not in _TYPES:
            kinds = TensorProto.DataType
            known = tensor.data_type in kinds.values()
            name = kinds.Name(tensor.data_type) if known else str(tensor.data_type)
            raise UserError(f"{self._file}: {what} has type {name}, which is not supported")
        dtype, typed_field, bits = _TYPES[tensor.data_type]
        shape = tuple(tensor.dims)
        if any(size < 0 for size in shape) or len(shape) > _MAX_DIMENSIONS:
            raise UserError(f"{self._file}: {what} has the shape {shape}")
        expected = math.prod(shape) * dtype.itemsize
        if tensor.data_location == TensorProto.EXTERNAL:
            raw = self._external(tensor, expected, what)
        elif tensor.HasField("raw_data"):
            raw = bytes(tensor.raw_data)
        else:
            numbers = getattr(tensor, typed_field)
            self._check(len(numbers) * dtype.itemsize, expected, what)
            wide = np.array(numbers, np.int64 if dtype.kind != "f" or bits else dtype)
            narrow = wide.astype(np.uint16).view(dtype) if bits else wide.astype(dtype)
            raw = narrow.tobytes()
        self._check(len(raw), expected, what)
        array: Array = np.frombuffer(raw, dtype).reshape(shape)
        if tensor.data_type == TensorProto.BFLOAT16:  # the upper half of a float32
            array = (array.astype(np.uint32) << 16).view(np.float32)
        # Half precision is how weights are stored; everything is computed in single precision.
        if array.dtype == np.float16:
            self._half = True
            return array.astype(np.float32)
        return array

    def _external(self, tensor: onnx.TensorProto, expected: int, what: str) -> bytes:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        folder = self._file.parent.resolve()
        location = entries.get("location", "")
        data = (folder / location).resolve()
        if not location or not data.is_relative_to(folder):
            raise UserError(
                f"{self._file}: {what} lies in {location!r}, expected a file beside the model"
            )
        if not data.is_file():
            raise UserError(f"{data}: missing; {self._file.name} keeps {what} in it")
        try:
            offset, length = int(entries.get("offset", 0)), int(entries.get("length", expected))
        except ValueError as error:
            raise UserError(f"{self._file}: {what}: offset or length is no number") from error
        self._check(length, expected, what)
        size = data.stat().st_size
        if offset < 0 or offset + length > size:
            raise UserError(
                f"{data}: {size:,} bytes, expected {offset + length:,} for {what}; is it cut off?"
            )
        with data.open("rb") as stream:
            stream.seek(offset)
            return bytes(stream.read(length))

    def _check(self, found: int, expected: int, what: str) -> None:
        if found != expected:
            raise UserError(
                f"{self._file}: {what} has {found:,} bytes, its shape asks for {expected:,}"
            )
