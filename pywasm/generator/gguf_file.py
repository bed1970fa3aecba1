"""The header of a GGUF file: its metadata, and where its tensors lie.

Nothing in the file is believed: counts and lengths are compared with the bytes that are left before
anything of their size is made, and tensors must lie inside of the file without touching each other.
Errors say the file, what was being read, the offset, and what was expected.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType

from pywasm.errors import UserError

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_ALIGNMENT = 32  # of tensors, where the file says nothing else
_LARGEST_ALIGNMENT = 1 << 20
_MOST_DIMENSIONS = 4
_MOST_ELEMENTS = 1 << 40
_SMALLEST_PAIR = 8 + 4 + 1  # bytes of a key and its value: an empty name, a type, a byte
_SMALLEST_TENSOR = 8 + 4 + 8 + 4 + 8

_SCALARS = {
    GGUFValueType.UINT8: "<u1",
    GGUFValueType.INT8: "<i1",
    GGUFValueType.UINT16: "<u2",
    GGUFValueType.INT16: "<i2",
    GGUFValueType.UINT32: "<u4",
    GGUFValueType.INT32: "<i4",
    GGUFValueType.FLOAT32: "<f4",
    GGUFValueType.BOOL: "?",
    GGUFValueType.UINT64: "<u8",
    GGUFValueType.INT64: "<i8",
    GGUFValueType.FLOAT64: "<f8",
}


@dataclass(frozen=True)
class GgufTensor:
    """`shape` has the rows first, as numpy has it: the reverse of the file's. `offset`: in the
    file, bytes."""

    name: str
    type: GGMLQuantizationType
    shape: tuple[int, ...]
    offset: int
    bytes: int


class GgufFile:
    """`metadata` and `tensors` by name. Raises UserError for what is no sound GGUF file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.stat().st_size < len(MAGIC) + 4 + 8 + 8:
            raise UserError(f"{path}: too short for a GGUF file")
        self._bytes: npt.NDArray[np.uint8] = np.memmap(path, np.uint8, "r")
        cursor = _Cursor(path, self._bytes)
        tensors, pairs = _read_counts(cursor)
        self.metadata: dict[str, Any] = {}
        for number in range(pairs):
            key = cursor.text(f"key {number} of the metadata")
            if key in self.metadata:
                cursor.fail(f"metadata {key!r} stands here twice")
            self.metadata[key] = _read_value(cursor, key)
        infos = [_read_tensor(cursor, number) for number in range(tensors)]
        alignment = self.whole("general.alignment", _ALIGNMENT)
        if not 1 <= alignment <= _LARGEST_ALIGNMENT or alignment & (alignment - 1):
            self.fail(f"general.alignment is {alignment}; expected a power of two")
        begin = -(-cursor.offset // alignment) * alignment
        self._asked: set[str] = set()
        self.tensors = _placed(path, infos, begin, alignment, len(self._bytes))

    def fail(self, problem: str) -> NoReturn:
        raise UserError(f"{self.path}: {problem}")

    def data(self, tensor: GgufTensor) -> npt.NDArray[np.uint8]:
        """u8[rows, bytes of a row], rows being all but the last dimension."""
        flat = self._bytes[tensor.offset : tensor.offset + tensor.bytes]
        return flat.reshape(math.prod(tensor.shape[:-1]), -1)

    def tensor(self, name: str, shape: Sequence[int]) -> GgufTensor:
        """The tensor of that name, which must have that shape."""
        self._asked.add(name)
        found = self.tensors.get(name)
        if found is None:
            self.fail(f"has no tensor {name}; expected one of shape {list(shape)}")
        if found.shape != tuple(shape):
            self.fail(
                f"tensor {name} has shape {list(found.shape)}, expected {list(shape)} (rows first)"
            )
        return found

    def check_all_asked(self) -> None:
        """Raises UserError for a tensor that nobody asked for: the model computes more."""
        left = sorted(self.tensors.keys() - self._asked)
        if left:
            self.fail(f"tensor {left[0]} belongs to no model of this kind that can be read")

    def whole(self, key: str, default: int | None = None) -> int:
        """A whole number, not negative. Without a default the key must be there."""
        value = self.metadata.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            self.fail(f"metadata {key} is {_shown(value)}; expected a whole number")
        return value

    def real(self, key: str, default: float | None = None) -> float:
        """A finite number."""
        value = self.metadata.get(key, default)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            self.fail(f"metadata {key} is {_shown(value)}; expected a number")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        value = self.metadata.get(key, default)
        if not isinstance(value, bool):
            self.fail(f"metadata {key} is {_shown(value)}; expected true or false")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        value = self.metadata.get(key, default)
        if not isinstance(value, str):
            self.fail(f"metadata {key} is {_shown(value)}; expected a text")
        return value

    def texts(self, key: str) -> list[str]:
        value = self.metadata.get(key)
        if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
            self.fail(f"metadata {key} is {_shown(value)}; expected a list of texts")
        return value


class _Cursor:
    """Reads on and on, never past the end."""

    def __init__(self, path: Path, data: npt.NDArray[np.uint8]) -> None:
        self._path = path
        self._data = data
        self.offset = 0

    @property
    def left(self) -> int:
        return len(self._data) - self.offset

    def fail(self, problem: str) -> NoReturn:
        raise UserError(f"{self._path}: at byte {self.offset}: {problem}")

    def take(self, count: int, what: str) -> bytes:
        if count > self.left:
            self.fail(f"{what} needs {count:,} bytes, {self.left:,} are left: the file is cut off")
        taken = self._data[self.offset : self.offset + count].tobytes()
        self.offset += count
        return taken

    def u32(self, what: str) -> int:
        return int(struct.unpack("<I", self.take(4, what))[0])

    def u64(self, what: str) -> int:
        return int(struct.unpack("<Q", self.take(8, what))[0])

    def count(self, smallest: int, what: str) -> int:
        """A number of things of at least `smallest` bytes each, which the file must hold."""
        count = self.u64(what)
        if count * smallest > self.left:
            self.fail(f"{what}: {count:,}, for which the {self.left:,} bytes left are too few")
        return count

    def text(self, what: str) -> str:
        data = self.take(self.count(1, f"the length of {what}"), what)
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            self.fail(f"{what} is no UTF-8 text ({error.reason})")


def _read_counts(cursor: _Cursor) -> tuple[int, int]:
    """Checks magic and version; numbers of tensors and of pairs of metadata."""
    if (magic := cursor.take(4, "the magic")) != MAGIC:
        raise UserError(f"{cursor._path}: begins with {magic!r}; a GGUF file begins with {MAGIC!r}")
    version = cursor.u32("the version")
    if version and not version & 0xFFFF:
        cursor.fail("the file is big-endian; convert it to little-endian (gguf-convert-endian)")
    if version not in _VERSIONS:
        cursor.fail(f"the file is of GGUF version {version}; versions 2 and 3 are read")
    tensors = cursor.count(_SMALLEST_TENSOR, "the number of tensors")
    return tensors, cursor.count(_SMALLEST_PAIR, "the number of metadata")


def _read_value(cursor: _Cursor, key: str) -> Any:
    """A number, a bool, a text, or a list of one of them."""
    what = f"metadata {key}"
    kind = _value_type(cursor, what)
    if kind is GGUFValueType.STRING:
        return cursor.text(what)
    if kind is not GGUFValueType.ARRAY:
        return _read_scalars(cursor, kind, 1, what)[0]
    inner = _value_type(cursor, what)
    if inner is GGUFValueType.ARRAY:
        cursor.fail(f"{what} is a list of lists, which no model needs")
    if inner is GGUFValueType.STRING:
        return [cursor.text(what) for _ in range(cursor.count(8, f"the length of {what}"))]
    size = np.dtype(_SCALARS[inner]).itemsize
    return _read_scalars(cursor, inner, cursor.count(size, f"the length of {what}"), what)


def _value_type(cursor: _Cursor, what: str) -> GGUFValueType:
    number = cursor.u32(f"the type of {what}")
    try:
        return GGUFValueType(number)
    except ValueError:
        cursor.fail(f"{what} is of type {number}, which GGUF does not have")


def _read_scalars(cursor: _Cursor, kind: GGUFValueType, count: int, what: str) -> list[Any]:
    dtype = np.dtype(_SCALARS[kind])
    values: list[Any] = np.frombuffer(cursor.take(count * dtype.itemsize, what), dtype).tolist()
    return values


def _read_tensor(cursor: _Cursor, number: int) -> GgufTensor:
    """With its offset relative to where tensors begin."""
    name = cursor.text(f"the name of tensor {number}")
    what = f"tensor {name}"
    count = cursor.u32(f"the dimensions of {what}")
    if not 1 <= count <= _MOST_DIMENSIONS:
        cursor.fail(f"{what} has {count} dimensions; expected 1 to {_MOST_DIMENSIONS}")
    shape = tuple(cursor.u64(f"the shape of {what}") for _ in range(count))[::-1]
    if min(shape) < 1 or math.prod(shape) > _MOST_ELEMENTS:
        cursor.fail(f"{what} has shape {list(shape)}, which can't be")
    kind_number = cursor.u32(f"the type of {what}")
    try:
        kind = GGMLQuantizationType(kind_number)
    except ValueError:
        cursor.fail(f"{what} is of type {kind_number}, which is unknown")
    elements, size = GGML_QUANT_SIZES[kind]
    if shape[-1] % elements:
        cursor.fail(f"{what}: rows of {shape[-1]} are no multiple of {kind.name}'s {elements}")
    offset = cursor.u64(f"the offset of {what}")
    return GgufTensor(name, kind, shape, offset, math.prod(shape) // elements * size)


def _placed(
    path: Path, tensors: list[GgufTensor], begin: int, alignment: int, size: int
) -> dict[str, GgufTensor]:
    """With offsets in the file, which tensors share no byte of."""
    placed: dict[str, GgufTensor] = {}
    end, before = begin, ""
    for tensor in sorted(tensors, key=lambda tensor: (tensor.offset, tensor.name)):
        offset = begin + tensor.offset
        where = f"{path}: tensor {tensor.name} at byte {offset:,}"
        if tensor.name in placed:
            raise UserError(f"{where}: there is another of this name")
        if tensor.offset % alignment:
            raise UserError(f"{where}: its offset is no multiple of {alignment}")
        if offset < end:
            raise UserError(f"{where}: overlaps tensor {before}, which ends at {end:,}")
        if offset + tensor.bytes > size:
            raise UserError(
                f"{where}: {tensor.bytes:,} bytes expected, the file has {max(size - offset, 0):,} "
                "more: it is cut off"
            )
        placed[tensor.name] = GgufTensor(
            tensor.name, tensor.type, tensor.shape, offset, tensor.bytes
        )
        end, before = offset + tensor.bytes, tensor.name
    return placed


def _shown(value: Any) -> str:
    return "missing" if value is None else f"{value!r:.60}"
