"""The weights of a Hugging Face model directory as float32, whatever type they are stored in."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors

from pywasm.errors import UserError

_NUMPY_TYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def weight_files(directory: Path) -> list[Path]:
    """`model.safetensors`, or the shards that `model.safetensors.index.json` lists, by name."""
    whole = directory / "model.safetensors"
    if whole.is_file():
        return [whole]
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise UserError(f"{index}: expected JSON with a weight_map of file names") from error
        for name in names:
            if Path(name).name != name or not (directory / name).is_file():
                raise UserError(f"{index}: names {name!r}, which is no file in {directory}")
        return [directory / name for name in names]
    raise UserError(
        f"{directory}: no model.safetensors here; pywasm reads safetensors weights or an .onnx "
        "file (convert a pytorch_model.bin with `safetensors.torch.save_file`)"
    )


def read_weights(directory: Path) -> dict[str, npt.NDArray[np.float32]]:
    """Every tensor of the directory by name. bfloat16 is widened exactly."""
    weights: dict[str, npt.NDArray[np.float32]] = {}
    for file in weight_files(directory):
        try:
            tensors = safetensors.deserialize(file.read_bytes())  # type: ignore[no-untyped-call]
        except safetensors.SafetensorError as error:
            raise UserError(f"{file}: not a readable safetensors file ({error})") from error
        for name, tensor in tensors:
            weights[name] = _to_f32(file, name, tensor["dtype"], tensor["shape"], tensor["data"])
    return weights


def _to_f32(
    file: Path, name: str, dtype: str, shape: list[int], data: bytearray
) -> npt.NDArray[np.float32]:
    if dtype == "BF16":  # the upper half of a float32
        words = np.frombuffer(data, np.uint16).astype(np.uint32) << 16
        return words.view(np.float32).reshape(shape)
    if dtype not in _NUMPY_TYPES:
        raise UserError(f"{file}: tensor {name} has type {dtype}, which pywasm does not read")
    return np.frombuffer(data, _NUMPY_TYPES[dtype]).reshape(shape).astype(np.float32)
