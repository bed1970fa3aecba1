"""The .tflite files that LiteRT is measured on, read by the rules of the format, run in numpy."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from pywasm.bench.litert_model import convert
from tests.test_bert_onnx import by_definition, config_of, random_weights

Array = npt.NDArray[Any]
ERF = np.vectorize(math.erf)


class Table:
    """A table of a flatbuffer: fields by their number in the schema."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at
        self._fields = at - self.number("<i", at)

    def number(self, form: str, at: int) -> int:
        value: int = struct.unpack_from(form, self.data, at)[0]
        return value

    def _slot(self, field: int) -> int | None:
        offset = 4 + 2 * field
        if offset >= self.number("<H", self._fields):
            return None
        found = self.number("<H", self._fields + offset)
        return self.at + found if found else None

    def scalar(self, field: int, form: str, default: int = 0) -> int:
        at = self._slot(field)
        return default if at is None else self.number(form, at)

    def _follow(self, at: int) -> int:
        return at + self.number("<I", at)

    def vector(self, field: int, dtype: str) -> Array:
        at = self._slot(field)
        if at is None:
            return np.zeros(0, dtype)
        start = self._follow(at)
        assert (start + 4) % np.dtype(dtype).itemsize == 0
        return np.frombuffer(self.data, dtype, self.number("<I", start), start + 4)

    def tables(self, field: int) -> list[Table]:
        at = self._slot(field)
        assert at is not None
        start = self._follow(at)
        places = [start + 4 + 4 * i for i in range(self.number("<I", start))]
        return [Table(self.data, self._follow(place)) for place in places]

    def table(self, field: int) -> Table:
        at = self._slot(field)
        assert at is not None
        return Table(self.data, self._follow(at))


def run(model: bytes, ids: Array) -> Array:
    """The output for the one input; operators as TensorFlow documents them."""
    assert model[4:8] == b"TFL3"
    root = Table(model, struct.unpack_from("<I", model)[0])
    codes = [code.scalar(3, "<i") for code in root.tables(1)]
    (graph,) = root.tables(2)
    buffers = root.tables(4)
    tensors = graph.tables(0)
    values: dict[int, Array] = {}
    for number, tensor in enumerate(tensors):
        data = buffers[tensor.scalar(2, "<I")].vector(0, "u1")
        if data.size:
            dtype = {0: "<f4", 2: "<i4"}[tensor.scalar(1, "<b")]
            values[number] = data.view(dtype).reshape(tensor.vector(0, "<i4"))
    values[int(graph.vector(1, "<i4")[0])] = ids
    for operator in graph.tables(3):
        given = [values[int(number)] for number in operator.vector(1, "<i4")]
        output = int(operator.vector(2, "<i4")[0])
        code = codes[operator.scalar(0, "<I")]
        made = compute(code, given, operator)
        assert made.shape == tuple(tensors[output].vector(0, "<i4")), code
        values[output] = made
    return values[int(graph.vector(2, "<i4")[0])]


def compute(code: int, given: list[Array], operator: Table) -> Array:
    a = given[0]
    b = given[1] if len(given) > 1 else a
    match code:
        case 0:
            return np.asarray(a + b)
        case 9:  # keep_num_dims
            assert operator.table(4).scalar(2, "<?")
            return np.asarray(a @ b.T + given[2])
        case 18:
            return np.asarray(a * b)
        case 22:
            return a.reshape(b)
        case 25:
            shares = np.exp(a - a.max(-1, keepdims=True))
            return np.asarray(shares / shares.sum(-1, keepdims=True))
        case 36:
            return a[b]
        case 39:
            return a.transpose(b)
        case 40:  # keep_dims
            assert operator.table(4).scalar(0, "<?")
            return np.asarray(a.mean(tuple(b), keepdims=True))
        case 41:
            return np.asarray(a - b)
        case 76:
            return np.asarray(1 / np.sqrt(a))
        case 99:
            return np.asarray((a - b) ** 2)
        case 126:  # adj_y
            return np.asarray(a @ (b.swapaxes(-1, -2) if operator.table(4).scalar(1, "<?") else b))
        case 150:
            assert not operator.table(4).scalar(0, "<?")  # not the approximation
            return np.asarray(a * (1 + ERF(a / math.sqrt(2))) / 2)
    raise AssertionError(f"operator {code}")


def test_a_converted_encoder_computes_what_the_papers_say(tmp_path: Path) -> None:
    weights = random_weights("bert")
    config = {**config_of("bert"), "type_vocab_size": 2}
    (tmp_path / "config.json").write_text(json.dumps(config))
    safetensors.numpy.save_file(weights, tmp_path / "model.safetensors")
    ids = np.random.default_rng(3).integers(2, 50, (2, 7), np.int32)
    convert(tmp_path, tmp_path / "model.tflite", *ids.shape)
    made = run((tmp_path / "model.tflite").read_bytes(), ids)
    wanted = np.stack([by_definition("bert", weights, row.tolist()) for row in ids])
    assert np.abs(made - wanted).max() < 2e-5
