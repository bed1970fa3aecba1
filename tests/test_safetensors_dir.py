"""Weights as others write them, and as nobody should."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pywasm.bert_onnx import convert
from pywasm.errors import UserError
from pywasm.safetensors_dir import read_weights, weight_files


def write(file: Path, header: dict[str, object] | bytes, data: bytes = b"") -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data)


def test_types_are_widened(tmp_path: Path) -> None:
    header = {
        "half": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]},
        "brain": {"dtype": "BF16", "shape": [1], "data_offsets": [4, 6]},
        "byte": {"dtype": "I8", "shape": [2], "data_offsets": [6, 8]},
    }
    halves = np.array([1.5, -2.0], np.float16).tobytes()
    write(tmp_path / "model.safetensors", header, halves + b"\xc0\x3f" + b"\x03\xfc")
    weights = read_weights(tmp_path)
    assert weights["half"].tolist() == [1.5, -2.0]
    assert weights["brain"].tolist() == [1.5] and weights["byte"].tolist() == [3, -4]


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ({"x": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4]}}, bytes(4)),
        ({"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, bytes(8)),
        ({"x": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, bytes(4)),
        (b"{not json", b""),
    ],
)
def test_a_hostile_or_cut_file_is_named(
    header: dict[str, object] | bytes, data: bytes, tmp_path: Path
) -> None:
    write(tmp_path / "model.safetensors", header, data)
    with pytest.raises(UserError, match=r"model\.safetensors: not a readable safetensors file"):
        read_weights(tmp_path)


def test_a_header_longer_than_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    with pytest.raises(UserError, match=r"model\.safetensors: not a readable safetensors file"):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("{", "expected JSON with a weight_map"),
        ("[]", "expected JSON with a weight_map"),
        ('{"weight_map": {"x": "../secret"}}', r"names '\.\./secret', which is no file"),
        ('{"weight_map": {"x": "missing"}}', "names 'missing', which is no file"),
    ],
)
def test_an_index_names_files_of_its_folder(index: str, message: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(b"x")
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(UserError, match=message):
        weight_files(folder)


CONFIG = {
    "model_type": "bert",
    "hidden_size": 8,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "not valid JSON"),
        ("[1]", "expected an object"),
        (json.dumps(CONFIG | {"hidden_size": "8"}), "hidden_size in config.json is '8', expected"),
        (json.dumps(CONFIG | {"num_attention_heads": 0}), "num_attention_heads .* is 0, expected"),
        (json.dumps(CONFIG | {"hidden_size": 16}), r"has the shape \[5, 8\], expected \[any, 16\]"),
        (json.dumps(CONFIG), "lack tensor embeddings.position_embeddings.weight"),
    ],
)
def test_a_configuration_that_does_not_fit_its_weights_is_named(
    config: str, message: str, tmp_path: Path
) -> None:
    words = np.zeros((5, 8), np.float32)
    save_file({"embeddings.word_embeddings.weight": words}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(UserError, match=message):
        convert(tmp_path, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
