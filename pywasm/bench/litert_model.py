"""A BERT encoder as a .tflite file of one shape, for LiteRT: written without its converter.

The graph is what the converter makes of the PyTorch model: fully connected layers with weights
[out, in], batched products for attention, layer norms spelled out; and two things folded that a
converter leaves in it: the scale of the scores is in the query weights, the token type in the
positions. Format: tensorflow/lite/schema/schema.fbs (slots below are its fields in order).
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from pywasm.safetensors_dir import read_weights

Array = NDArray[Any]
_FLOAT32, _INT32 = 0, 2
# Operator: (builtin code, type of its options in the union, version that has what is used here).
_OPERATORS = {
    "add": (0, 11, 1),
    "fully_connected": (9, 8, 2),
    "mul": (18, 21, 1),
    "reshape": (22, 17, 1),
    "softmax": (25, 9, 1),
    "gather": (36, 23, 1),
    "transpose": (39, 26, 1),
    "mean": (40, 27, 1),
    "sub": (41, 28, 1),
    "rsqrt": (76, 0, 1),
    "squared_difference": (99, 76, 1),
    "batch_matmul": (126, 101, 1),
    "gelu": (150, 116, 1),
}
Option = tuple[int, str, Any]  # (slot, kind, value)


@dataclasses.dataclass
class _Tensor:
    name: str
    shape: tuple[int, ...]
    dtype: int
    buffer: int  # 0: none


@dataclasses.dataclass
class _Operator:
    name: str
    inputs: list[int]
    output: int
    options: Sequence[Option]


class _Graph:
    def __init__(self) -> None:
        self.tensors: list[_Tensor] = []
        self.operators: list[_Operator] = []
        self.buffers: list[bytes] = [b""]
        self._constants: dict[bytes, int] = {}

    def tensor(
        self, name: str, shape: Sequence[int], dtype: int = _FLOAT32, buffer: int = 0
    ) -> int:
        self.tensors.append(_Tensor(name, tuple(shape), dtype, buffer))
        return len(self.tensors) - 1

    def constant(self, value: Array) -> int:
        """Of f32 or i32; equal small ones are one tensor."""
        kind = _INT32 if value.dtype == np.int32 else _FLOAT32
        data = np.ascontiguousarray(value).tobytes()
        key = data + repr((value.shape, kind)).encode() if len(data) < 256 else b""
        if key and key in self._constants:
            return self._constants[key]
        self.buffers.append(data)
        number = self.tensor(f"c{len(self.buffers)}", value.shape, kind, len(self.buffers) - 1)
        if key:
            self._constants[key] = number
        return number

    def op(self, name: str, inputs: Sequence[int], shape: Sequence[int], *options: Option) -> int:
        output = self.tensor(f"{name}_{len(self.operators)}", shape)
        self.operators.append(_Operator(name, list(inputs), output, options))
        return output

    def shape(self, tensor: int) -> tuple[int, ...]:
        return self.tensors[tensor].shape


def convert(directory: Path, target: Path, batch: int, seq: int) -> None:
    """Write the encoder of a Hugging Face directory (BERT) for i32[batch, seq] ids, none of them
    padding -> f32[batch, seq, hidden].
    """
    config = json.loads((directory / "config.json").read_text("utf-8"))
    graph = _Graph()
    ids = graph.tensor("ids", (batch, seq), _INT32)
    hidden = _Encoder(graph, config, read_weights(directory), batch, seq).build(ids)
    target.write_bytes(_flatbuffer(graph, ids, hidden))


class _Encoder:
    def __init__(
        self,
        graph: _Graph,
        config: dict[str, Any],
        weights: dict[str, NDArray[np.float32]],
        batch: int,
        seq: int,
    ) -> None:
        self._graph = graph
        self._config = config
        words = "embeddings.word_embeddings.weight"
        prefix = next(name[: -len(words)] for name in weights if name.endswith(words))
        self._weights = {name.removeprefix(prefix): value for name, value in weights.items()}
        self._batch, self._seq = batch, seq
        self._width = int(config["hidden_size"])

    def build(self, ids: int) -> int:
        graph, weights = self._graph, self._weights
        shape = (self._batch, self._seq, self._width)
        words = graph.constant(weights["embeddings.word_embeddings.weight"])
        positions = weights["embeddings.position_embeddings.weight"][: self._seq]
        positions = positions + weights["embeddings.token_type_embeddings.weight"][0]
        x = graph.op("gather", [words, ids], shape, (0, "Int32", 0))
        x = graph.op("add", [x, graph.constant(positions[None])], shape)
        x = self._norm("embeddings.LayerNorm", x)
        for layer in range(int(self._config["num_hidden_layers"])):
            x = self._layer(f"encoder.layer.{layer}.", x)
        return x

    def _layer(self, prefix: str, x: int) -> int:
        graph = self._graph
        attended = self._attention(prefix + "attention.", x)
        x = graph.op("add", [attended, x], graph.shape(x))
        x = self._norm(prefix + "attention.output.LayerNorm", x)
        inner = self._linear(prefix + "intermediate.dense", x)
        inner = graph.op("gelu", [inner], graph.shape(inner), (0, "Bool", False))
        outer = self._linear(prefix + "output.dense", inner)
        x = graph.op("add", [outer, x], graph.shape(x))
        return self._norm(prefix + "output.LayerNorm", x)

    def _attention(self, prefix: str, x: int) -> int:
        graph = self._graph
        heads = int(self._config["num_attention_heads"])
        size = self._width // heads
        batch, seq = self._batch, self._seq
        order = graph.constant(np.array([0, 2, 1, 3], np.int32))

        def split(name: str, scale: float = 1.0) -> int:
            rows = self._linear(prefix + f"self.{name}", x, scale)
            rows = self._reshape(rows, (batch, seq, heads, size))
            return graph.op("transpose", [rows, order], (batch, heads, seq, size))

        query, key, value = split("query", 1 / math.sqrt(size)), split("key"), split("value")
        shape = (batch, heads, seq, seq)
        scores = graph.op("batch_matmul", [query, key], shape, (1, "Bool", True))
        shares = graph.op("softmax", [scores], shape, (0, "Float32", 1.0))
        mixed = graph.op("batch_matmul", [shares, value], (batch, heads, seq, size))
        mixed = graph.op("transpose", [mixed, order], (batch, seq, heads, size))
        return self._linear(prefix + "output.dense", self._reshape(mixed, graph.shape(x)))

    def _reshape(self, x: int, shape: tuple[int, ...]) -> int:
        return self._graph.op(
            "reshape", [x, self._graph.constant(np.array(shape, np.int32))], shape
        )

    def _linear(self, name: str, x: int, scale: float = 1.0) -> int:
        graph = self._graph
        weight = self._weights[name + ".weight"] * np.float32(scale)  # [out, in]
        bias = self._weights[name + ".bias"] * np.float32(scale)
        inputs = [x, graph.constant(weight), graph.constant(bias)]
        shape = (*graph.shape(x)[:-1], weight.shape[0])
        return graph.op("fully_connected", inputs, shape, (2, "Bool", True))

    def _norm(self, name: str, x: int) -> int:
        graph = self._graph
        shape = graph.shape(x)
        one = (*shape[:-1], 1)
        axis = graph.constant(np.array([len(shape) - 1], np.int32))
        keep: Option = (0, "Bool", True)
        mean = graph.op("mean", [x, axis], one, keep)
        squares = graph.op("squared_difference", [x, mean], shape)
        variance = graph.op("mean", [squares, axis], one, keep)
        epsilon = np.array([self._config.get("layer_norm_eps", 1e-12)], np.float32)
        variance = graph.op("add", [variance, graph.constant(epsilon)], one)
        scale = graph.op("rsqrt", [variance], one)
        x = graph.op("sub", [x, mean], shape)
        x = graph.op("mul", [x, scale], shape)
        x = graph.op("mul", [x, graph.constant(self._weights[name + ".weight"])], shape)
        return graph.op("add", [x, graph.constant(self._weights[name + ".bias"])], shape)


def _flatbuffer(graph: _Graph, ids: int, hidden: int) -> bytes:
    """Children before parents, as flatbuffers are written."""
    builder = flatbuffers.Builder(1 << 20)

    def table(fields: Sequence[Option]) -> int:
        builder.StartObject(max((slot for slot, _, _ in fields), default=0) + 1)
        for slot, kind, value in fields:
            getattr(builder, f"Prepend{kind}Slot")(slot, value, None if kind == "Bool" else 0)
        return int(builder.EndObject())

    def ints(values: Sequence[int]) -> int:
        return int(builder.CreateNumpyVector(np.array(values, np.int32)))

    def offsets(values: Sequence[int]) -> int:
        builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            builder.PrependUOffsetTRelative(value)
        return int(builder.EndVector())

    def data(value: bytes) -> int:
        builder.StartVector(1, len(value), 16)
        head = builder.head - len(value)
        builder.head = head
        builder.Bytes[head : head + len(value)] = value
        return int(builder.EndVector())

    where = "UOffsetTRelative"
    buffers = [table([(0, where, data(value))] if value else []) for value in graph.buffers]
    tensors = []
    for tensor in graph.tensors:
        name, shape = builder.CreateString(tensor.name), ints(tensor.shape)
        fields: list[Option] = [(0, where, shape), (1, "Int8", tensor.dtype)]
        tensors.append(table([*fields, (2, "Uint32", tensor.buffer), (3, where, name)]))
    used = list(dict.fromkeys(operator.name for operator in graph.operators))
    operators = []
    for operator in graph.operators:
        inputs, outputs = ints(operator.inputs), ints([operator.output])
        kind = _OPERATORS[operator.name][1]
        fields = [(0, "Uint32", used.index(operator.name)), (1, where, inputs), (2, where, outputs)]
        if kind:
            fields += [(3, "Uint8", kind), (4, where, table(operator.options))]
        operators.append(table(fields))
    codes = []
    for name in used:
        code, _, version = _OPERATORS[name]
        fields = [(0, "Int8", min(code, 127)), (2, "Int32", version), (3, "Int32", code)]
        codes.append(table(fields))
    parts = [offsets(tensors), ints([ids]), ints([hidden]), offsets(operators)]
    parts.append(builder.CreateString("main"))
    subgraph = table([(slot, where, part) for slot, part in enumerate(parts)])
    lists = [offsets(codes), offsets([subgraph]), builder.CreateString("pywasm"), offsets(buffers)]
    fields = [(0, "Uint32", 3), *((slot, where, part) for slot, part in enumerate(lists, 1))]
    builder.Finish(table(fields), b"TFL3")
    return bytes(builder.Output())
