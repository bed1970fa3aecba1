"""A site switches from one generation to the next, and never shows half of one."""

from pathlib import Path

import pytest

from pywasm._abi import PAGE_BYTES, PAGES_PER_SHARD
from pywasm.manifest import FileInfo, Manifest, read_manifest
from pywasm.shards import kept_shards, previous_manifest, replace_file, switch, write_shards


def page(number: int) -> bytes:
    return number.to_bytes(4, "little") * (PAGE_BYTES // 4)


def publish(site: Path, template: Manifest, pages: list[int]) -> Manifest:
    previous = previous_manifest(site)
    shards = write_shards(site, (page(number) for number in pages), lambda size: None)
    manifest = template.model_copy(
        update={"shards": shards, "previous": kept_shards(previous, shards)}
    )
    switch(site, manifest)
    return manifest


def files(site: Path) -> set[str]:
    return {f"data/{file.name}" for file in (site / "data").iterdir()}


def names(shards: list[FileInfo]) -> set[str]:
    return {shard.file for shard in shards}


def test_pages_are_cut_into_shards_named_by_content(tmp_path: Path) -> None:
    pages = [page(number) for number in range(PAGES_PER_SHARD + 2)]
    shards = write_shards(tmp_path, iter(pages), lambda size: None)
    assert [shard.bytes for shard in shards] == [PAGES_PER_SHARD * PAGE_BYTES, 2 * PAGE_BYTES]
    assert b"".join((tmp_path / shard.file).read_bytes() for shard in shards) == b"".join(pages)
    assert all(shard.sha256.startswith(Path(shard.file).stem) for shard in shards)


def test_the_generation_before_stays_and_older_ones_go(tmp_path: Path, built_site: Path) -> None:
    template = read_manifest(built_site)
    first = publish(tmp_path, template, [1])
    second = publish(tmp_path, template, [2])
    assert files(tmp_path) == names(first.shards) | names(second.shards)
    assert set(second.previous) == names(first.shards)
    third = publish(tmp_path, template, [3])
    assert files(tmp_path) == names(second.shards) | names(third.shards)


def test_the_same_generation_again_keeps_what_was_kept(tmp_path: Path, built_site: Path) -> None:
    template = read_manifest(built_site)
    publish(tmp_path, template, [1])
    second = publish(tmp_path, template, [2])
    again = publish(tmp_path, template, [2])
    assert again == second
    assert len(files(tmp_path)) == 2


def test_a_damaged_shard_of_the_right_name_is_written_again(
    tmp_path: Path, built_site: Path
) -> None:
    template = read_manifest(built_site)
    manifest = publish(tmp_path, template, [1])
    file = tmp_path / manifest.shards[0].file
    file.write_bytes(bytes(PAGE_BYTES))
    publish(tmp_path, template, [1])
    assert file.read_bytes() == page(1)


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a"
    replace_file(file, b"old")

    def broken(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", broken)
    with pytest.raises(OSError, match="No space"):
        replace_file(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_leftovers_of_a_killed_build_are_removed(tmp_path: Path, built_site: Path) -> None:
    template = read_manifest(built_site)
    publish(tmp_path, template, [1])
    (tmp_path / "data" / ".x.bin.7.tmp").write_bytes(b"half")
    (tmp_path / "data" / "0123.bin").write_bytes(b"of a build that never switched")
    second = publish(tmp_path, template, [2])
    assert files(tmp_path) == names(second.shards) | set(second.previous)
