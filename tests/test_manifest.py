"""manifest.json: its form, its checksum, its version."""

from pathlib import Path

import pytest
import xxhash

from pywasm.errors import UserError
from pywasm.manifest import manifest_bytes, parse_manifest
from pywasm.tools.manifest_types import TARGET, typescript


def test_what_is_written_is_read(built_site: Path) -> None:
    data = (built_site / "manifest.json").read_bytes()
    manifest = parse_manifest(data, "test")
    assert manifest_bytes(manifest) == data
    assert data.startswith(b'{"pywasm":1,"xxh64":"') and data.endswith(b"}}\n")
    assert manifest.title == "Notes" and manifest.documents == 5


def test_any_flipped_byte_is_noticed(built_site: Path) -> None:
    data = (built_site / "manifest.json").read_bytes()
    for place in range(0, len(data) - 1, 7):
        damaged = bytearray(data)
        damaged[place] ^= 1
        with pytest.raises(UserError, match=r"damaged|newer pywasm"):
            parse_manifest(bytes(damaged), "test")


def test_truncation_is_noticed(built_site: Path) -> None:
    data = (built_site / "manifest.json").read_bytes()
    for length in (0, 10, len(data) // 2, len(data) - 2):
        with pytest.raises(UserError, match="damaged"):
            parse_manifest(data[:length], "test")


def test_a_newer_version_is_named() -> None:
    data = b'{"pywasm":2,"xxh64":"0123456789abcdef","manifest":{"all":"new"}}\n'
    with pytest.raises(UserError, match=r"newer pywasm \(format 2, this one reads up to 1\)"):
        parse_manifest(data, "test")


def test_a_field_of_another_type_is_named(built_site: Path) -> None:
    data = (built_site / "manifest.json").read_bytes()
    start = data.index(b'"manifest":') + len(b'"manifest":')
    body = data[start:-2].replace(b'"documents":5', b'"documents":"many"')
    check = xxhash.xxh64_hexdigest(body).encode()
    with pytest.raises(UserError, match="documents: "):
        parse_manifest(b'{"pywasm":1,"xxh64":"%s","manifest":%s}\n' % (check, body), "test")


def test_the_browsers_types_are_generated_from_it() -> None:
    assert TARGET.read_text("utf-8") == typescript()
