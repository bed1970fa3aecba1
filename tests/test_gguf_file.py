"""Headers of GGUF files: what sound ones give, what damaged and hostile ones are refused for."""

import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pywasm.errors import UserError
from pywasm.generator.gguf_file import GgufFile


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def pair(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def tensor(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    """`shape` as in the file: the row's length first."""
    sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return text(name) + sizes + struct.pack("<IQ", kind, offset)


def written(
    folder: Path,
    tensors: list[bytes] = [],  # noqa: B006 - only read
    pairs: list[bytes] = [],  # noqa: B006
    data: int = 0,
    version: int = 3,
    counts: tuple[int, int] | None = None,
    magic: bytes = b"GGUF",
) -> Path:
    """A file of these parts; `data` bytes behind them. `counts` are told instead of the true."""
    tensor_count, pair_count = counts or (len(tensors), len(pairs))
    head = magic + struct.pack("<IQQ", version, tensor_count, pair_count)
    head += b"".join(pairs) + b"".join(tensors)
    file = folder / "model.gguf"
    file.write_bytes(head + bytes(-len(head) % 32) + bytes(data))
    return file


def test_what_the_reference_writer_wrote_is_read(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_uint32("a.whole", 7)
    writer.add_float32("a.real", 0.5)
    writer.add_bool("a.flag", True)
    writer.add_array("a.list", ["x", "é"])
    writer.add_array("a.numbers", [1, -2, 3])
    data = np.arange(6, dtype=np.float32).reshape(2, 3)
    writer.add_tensor("t", data)
    writer.add_tensor("u", data[0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = GgufFile(file)
    assert (
        found.whole("a.whole") == 7 and found.real("a.real") == 0.5 and found.flag("a.flag", False)
    )
    assert found.texts("a.list") == ["x", "é"] and found.metadata["a.numbers"] == [1, -2, 3]
    assert found.text("general.architecture") == "llama"
    tensor = found.tensor("t", (2, 3))
    assert tensor.type is Type.F32 and tensor.offset % 32 == 0
    np.testing.assert_array_equal(found.data(tensor).view(np.float32), data)
    with pytest.raises(UserError, match=r"tensor t has shape \[2, 3\], expected \[3, 2\]"):
        found.tensor("t", (3, 2))
    with pytest.raises(UserError, match="has no tensor v"):
        found.tensor("v", (1,))
    with pytest.raises(UserError, match=r"metadata a.real is 0.5; expected a whole number"):
        found.whole("a.real")
    with pytest.raises(UserError, match=r"metadata missing is missing; expected a text"):
        found.text("missing")


U64 = 10
F32_TENSOR = ("t", (4,), 0, 0)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"magic": b"GGML"}, r"begins with b'GGML'; a GGUF file begins with b'GGUF'"),
        ({"version": 1}, r"at byte 8: the file is of GGUF version 1; versions 2 and 3 are read"),
        ({"version": 3 << 24}, r"big-endian"),
        ({"counts": (1 << 60, 0)}, r"the number of tensors: 1,152,921,504,606,846,976, for which"),
        ({"counts": (0, 1 << 60)}, r"the number of metadata: .* too few"),
        ({"counts": (0, 3)}, r"too few|cut off"),
        ({"pairs": [pair("k", 8, struct.pack("<Q", 1 << 40))]}, r"the length of metadata k"),
        ({"pairs": [pair("k", 9, struct.pack("<IQ", 4, 1 << 61))]}, r"the length of metadata k"),
        ({"pairs": [pair("k", 9, struct.pack("<IQ", 9, 1))]}, r"metadata k is a list of lists"),
        ({"pairs": [pair("k", 99, bytes(8))]}, r"metadata k is of type 99, which GGUF does not"),
        ({"pairs": [pair("k", U64, bytes(8))] * 2}, r"metadata 'k' stands here twice"),
        ({"pairs": [pair("k", 8, struct.pack("<Q", 2) + b"\xff\xfe")]}, r"no UTF-8 text"),
        (
            {"pairs": [pair("general.alignment", 4, struct.pack("<I", 24))]},
            r"general.alignment is 24; expected a power of two",
        ),
        ({"tensors": [tensor("t", (0,), 0, 0)], "data": 64}, r"tensor t has shape \[0\]"),
        ({"tensors": [tensor("t", (1 << 40, 1 << 20), 0, 0)]}, r"tensor t has shape .* can't be"),
        ({"tensors": [tensor("t", (1,) * 5, 0, 0)]}, r"tensor t has 5 dimensions"),
        ({"tensors": [tensor("t", (4,), 77, 0)], "data": 64}, r"tensor t is of type 77, which is"),
        (
            {"tensors": [tensor("t", (33,), 8, 0)], "data": 64},
            r"33 are no multiple of Q8_0",
        ),
        ({"tensors": [tensor("t", (4,), 0, 8)], "data": 64}, r"tensor t .* no multiple of 32"),
        (
            {"tensors": [tensor("t", (4,), 0, 64)], "data": 72},
            r"tensor t at byte [\d,]+: 16 bytes expected, the file has 8 more: it is cut off",
        ),
        (
            {"tensors": [tensor("t", (16,), 0, 0), tensor("u", (16,), 0, 32)], "data": 128},
            r"tensor u at byte [\d,]+: overlaps tensor t, which ends at [\d,]+",
        ),
        (
            {"tensors": [tensor("t", (8,), 0, 0), tensor("t", (8,), 0, 32)], "data": 64},
            r"tensor t at byte .*: there is another of this name",
        ),
    ],
)
def test_what_is_refused_by_name_and_offset(
    tmp_path: Path, parts: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        GgufFile(written(tmp_path, **parts))
    assert "model.gguf" in str(caught.value)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    parts = [tensor("t", (8,), 0, 0), tensor("u", (32,), 8, 32)]
    pairs = [pair("a", 8, text("llama")), pair("b", 9, struct.pack("<IQ", 8, 2) + text("x") * 2)]
    return written(tmp_path_factory.mktemp("gguf"), parts, pairs, data=32 + 34).read_bytes()


def test_a_file_cut_off_anywhere_is_refused(sound: bytes, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(sound)
    assert set(GgufFile(file).tensors) == {"t", "u"}
    for length in range(len(sound)):
        file.write_bytes(sound[:length])
        with pytest.raises(UserError, match=r"model\.gguf"):
            GgufFile(file)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=st.dictionaries(st.integers(0, 10_000), st.integers(0, 255), min_size=1, max_size=4))
def test_changed_bytes_are_read_or_refused(
    sound: bytes, tmp_path: Path, changes: dict[int, int]
) -> None:
    data = bytearray(sound)
    for at, value in changes.items():
        data[at % len(data)] = value
    file = tmp_path / "changed.gguf"
    file.write_bytes(data)
    try:
        found = GgufFile(file)
    except UserError:
        return
    for info in found.tensors.values():
        assert found.data(info).size == info.bytes
