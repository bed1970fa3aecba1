"""What was embedded once is found again, unless it is damaged."""

from pathlib import Path

import numpy as np

from pywasm.embed_cache import EmbedCache

DIM = 3
TEXTS = ["one", "two", "three"]
VECTORS = np.arange(9, dtype=np.float32).reshape(3, 3)


def fill(folder: Path) -> Path:
    with EmbedCache(folder, DIM) as cache:
        cache.add(TEXTS, VECTORS)
        cache.flush()
    (file,) = folder.glob("*.embeddings")
    return file


def test_found_again_by_text(tmp_path: Path) -> None:
    fill(tmp_path)
    with EmbedCache(tmp_path, DIM) as cache:
        vectors, known = cache.find(["three", "new", "one"])
    assert known.tolist() == [True, False, True]
    assert (vectors[[0, 2]] == VECTORS[[2, 0]]).all()


def test_builds_add_up_and_empty_ones_leave_nothing(tmp_path: Path) -> None:
    fill(tmp_path)
    with EmbedCache(tmp_path, DIM) as cache:
        cache.add(["four"], VECTORS[:1] + 100)
    with EmbedCache(tmp_path, DIM) as cache:
        assert cache.find(["four", "two"])[1].all()
    assert len(list(tmp_path.glob("*.embeddings"))) == 2


def test_a_torn_record_counts_as_absent(tmp_path: Path) -> None:
    file = fill(tmp_path)
    file.write_bytes(file.read_bytes()[:-5])
    with EmbedCache(tmp_path, DIM) as cache:
        assert cache.find(TEXTS)[1].tolist() == [True, True, False]


def test_any_damaged_byte_counts_as_absent(tmp_path: Path) -> None:
    file = fill(tmp_path)
    data = file.read_bytes()
    for place in range(0, len(data), 3):
        damaged = bytearray(data)
        damaged[place] ^= 1
        file.write_bytes(damaged)
        with EmbedCache(tmp_path, DIM) as cache:
            vectors, known = cache.find(TEXTS)
        assert known.sum() == 2
        assert (vectors[known] == VECTORS[known]).all()
