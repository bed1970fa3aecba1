"""Damage anywhere in a site is found and named."""

import json
from pathlib import Path

import numpy as np
import pytest

from pywasm._abi import PAGE_BYTES
from pywasm.errors import UserError
from pywasm.inspect_site import describe
from pywasm.manifest import read_manifest
from pywasm.progress import Reporter
from pywasm.verify import verify_site


def problems(site: Path, quiet: Reporter) -> list[str]:
    found = verify_site(site, 10, quiet)["problems"]
    assert isinstance(found, list)
    return found


def test_a_good_site_has_no_problem_and_full_recall(built_site: Path, quiet: Reporter) -> None:
    result = verify_site(built_site, 10, quiet)
    assert result["problems"] == []
    assert result["recall@10"] == 1.0
    assert json.dumps(result)


def test_a_flipped_byte_is_named_by_file_and_offset(site: Path, quiet: Reporter) -> None:
    shard = site / read_manifest(site).shards[0].file
    good = shard.read_bytes()
    for place in np.random.default_rng(5).integers(0, len(good), 12):
        damaged = bytearray(good)
        damaged[place] ^= 0x10
        shard.write_bytes(damaged)
        (found,) = problems(site, quiet)
        assert str(shard) in found
        assert f"offset {place // PAGE_BYTES * PAGE_BYTES:,} " in found
    shard.write_bytes(good)
    assert problems(site, quiet) == []


def test_a_truncated_shard_is_named(site: Path, quiet: Reporter) -> None:
    shard = site / read_manifest(site).shards[0].file
    shard.write_bytes(shard.read_bytes()[: -PAGE_BYTES - 5])
    found = problems(site, quiet)
    assert len(found) == 2 and all(str(shard) in one for one in found)


def test_a_missing_shard_is_named(site: Path, quiet: Reporter) -> None:
    shard = site / read_manifest(site).shards[0].file
    shard.unlink()
    found = problems(site, quiet)
    assert found and all(shard.name in one for one in found)


def test_a_damaged_manifest_is_named(site: Path, quiet: Reporter) -> None:
    file = site / "manifest.json"
    file.write_bytes(file.read_bytes().replace(b'"rows"', b'"r0ws"'))
    (found,) = problems(site, quiet)
    assert str(file) in found and "checksum" in found


def test_what_is_no_site_is_said(tmp_path: Path, quiet: Reporter) -> None:
    with pytest.raises(UserError, match=r"no manifest\.json here"):
        verify_site(tmp_path, 10, quiet)


def test_inspect_tells_sizes_and_memory(built_site: Path) -> None:
    found = describe(built_site)
    assert found["documents"] == 5 and found["kind"] == "flat"
    memory = found["memory"]
    assert isinstance(memory, dict)
    assert found["index_bytes"] == sum(
        size for name, size in memory.items() if name not in ("resident_bytes", "head_bytes")
    )
    assert json.dumps(found)
