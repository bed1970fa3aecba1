"""ONNX files as others write them, and as nobody should: refused with file, place and reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pywasm.compile.onnx_import import import_onnx
from pywasm.compile.shapes import infer, symbolic
from pywasm.errors import UserError
from tests.encoder_graphs import HIDDEN, Spelling, build


@pytest.fixture
def model() -> onnx.ModelProto:
    return build(Spelling(layers=1))


def save(model: onnx.ModelProto, folder: Path) -> Path:
    file = folder / "model.onnx"
    file.write_bytes(model.SerializeToString())
    return file


def first_matrix(model: onnx.ModelProto) -> onnx.TensorProto:
    return next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 2)


def test_every_way_of_storing_numbers_is_read(tmp_path: Path) -> None:
    bf16 = helper.make_tensor("bf16", TensorProto.BFLOAT16, [2], [1.5, -2.0])
    tensors = [
        helper.make_tensor("f32", TensorProto.FLOAT, [2], [1.5, -2.0]),
        helper.make_tensor("f16", TensorProto.FLOAT16, [2], [1.5, -2.0]),
        helper.make_tensor("f64", TensorProto.DOUBLE, [2], [1.5, -2.0]),
        numpy_helper.from_array(np.array([1.5, -2.0], np.float16), "raw16"),
        bf16,
        helper.make_tensor("i64", TensorProto.INT64, [2], [3, -4]),
        helper.make_tensor("i8", TensorProto.INT8, [2], [3, -4]),
        helper.make_tensor("u8", TensorProto.UINT8, [2], [3, 252]),
        helper.make_tensor("bool", TensorProto.BOOL, [2], [True, False]),
    ]
    output = helper.make_tensor_value_info("f32", TensorProto.FLOAT, [2])
    graph = helper.make_graph([], "g", [], [output], tensors)
    opset = helper.make_opsetid("", 17)
    constants = import_onnx(
        save(helper.make_model(graph, opset_imports=[opset]), tmp_path)
    ).constants
    for name in ("f32", "f16", "f64", "raw16", "bf16"):
        assert constants[name].tolist() == [1.5, -2.0]
        assert constants[name].dtype in (np.float32, np.float64)
    assert constants["i64"].tolist() == constants["i8"].tolist() == [3, -4]
    assert constants["u8"].tolist() == [3, 252] and constants["bool"].tolist() == [True, False]


def test_external_data_is_read(tmp_path: Path, model: onnx.ModelProto) -> None:
    whole = import_onnx(save(model, tmp_path)).constants
    file = tmp_path / "apart.onnx"
    onnx.save(model, file, save_as_external_data=True, location="apart.bin", size_threshold=0)
    apart = import_onnx(file).constants
    assert whole.keys() == apart.keys()
    assert all(np.array_equal(whole[name], apart[name]) for name in whole)
    data = tmp_path / "apart.bin"
    data.write_bytes(data.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"apart\.bin: .* bytes, expected .* is it cut off\?"):
        import_onnx(file)
    data.unlink()
    with pytest.raises(UserError, match=r"apart\.bin: missing"):
        import_onnx(file)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "link.bin", ""])
def test_external_data_stays_beside_the_model(
    location: str, tmp_path: Path, model: onnx.ModelProto
) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(1 << 16))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    tensor = first_matrix(model)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    with pytest.raises(UserError, match="expected a file beside the model"):
        import_onnx(save(model, folder))


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, model: onnx.ModelProto) -> None:
    data = model.SerializeToString()
    file = tmp_path / "model.onnx"
    for size in [0, 1, 10, *range(len(data) // 40, len(data), len(data) // 40)]:
        file.write_bytes(data[:size])
        with pytest.raises(UserError, match=r"model\.onnx: "):
            import_onnx(file)


def test_bytes_that_are_no_model_are_refused(tmp_path: Path, model: onnx.ModelProto) -> None:
    with pytest.raises(UserError, match=r"nothing\.onnx: no such file"):
        import_onnx(tmp_path / "nothing.onnx")
    file = tmp_path / "noise.onnx"
    random = np.random.default_rng(1)
    data = model.SerializeToString()
    for _ in range(60):
        damaged = bytearray(data)
        for place in random.integers(0, len(data), 8):
            damaged[place] = random.integers(256)
        file.write_bytes(damaged)
        try:
            infer(import_onnx(file), 2, 3)
        except UserError as error:
            assert "noise.onnx" in str(error)


def test_shapes_are_compared_with_bytes_before_anything_is_allocated(
    tmp_path: Path, model: onnx.ModelProto
) -> None:
    tensor = first_matrix(model)
    tensor.dims[0] = 1 << 40
    with pytest.raises(UserError, match=r"its shape asks for 140,737,488,355,328"):
        import_onnx(save(model, tmp_path))
    tensor.dims[0] = -1
    with pytest.raises(UserError, match=r"has the shape \(-1, 32\)"):
        import_onnx(save(model, tmp_path))


def test_absurd_sizes_in_the_graph_are_refused(tmp_path: Path, model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([1 << 40, 1 << 20]), "huge"))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["huge"], ["filled"], "/bomb"))
    graph = import_onnx(save(model, tmp_path))
    with pytest.raises(UserError, match=r"node '/bomb' \(operator ConstantOfShape, opset 17\)"):
        infer(graph, 2, 3)


def test_old_opsets_and_broken_graphs_are_named(tmp_path: Path, model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 11
    with pytest.raises(UserError, match="made for opset 11, expected 13 or later"):
        import_onnx(save(model, tmp_path))
    model.opset_import[0].version = 17
    model.graph.node[3].input[0] = "nowhere"
    with pytest.raises(UserError, match="reads 'nowhere', which nothing before it makes"):
        import_onnx(save(model, tmp_path))


def test_a_node_that_does_not_fit_is_named(tmp_path: Path, model: onnx.ModelProto) -> None:
    product = next(node for node in model.graph.node if node.op_type == "MatMul")
    product.input[1] = next(
        tensor.name for tensor in model.graph.initializer if list(tensor.dims)[:1] == [48]
    )
    with pytest.raises(UserError, match=r"'/MatMul_\d+' .* does not fit its inputs"):
        infer(import_onnx(save(model, tmp_path)), 2, 3)


def test_symbolic_shapes(tmp_path: Path, model: onnx.ModelProto) -> None:
    shapes = symbolic(import_onnx(save(model, tmp_path)))
    batch, seq = {("batch",): 1}, {("seq",): 1}
    assert shapes["last_hidden_state"] == (batch, seq, {(): HIDDEN})
    softmax = next(node for node in model.graph.node if node.op_type == "Softmax").output[0]
    assert shapes[softmax] == (batch, {(): 4}, seq, seq)
