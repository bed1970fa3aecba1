"""Whole builds: the same bytes, only what changed embedded, interruptions, bad input."""

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pywasm.brute_force import exact_neighbours, recall
from pywasm.build import BuildOptions, build_site, watch_and_build
from pywasm.encoder import Encoder
from pywasm.engine import Engine, EngineError
from pywasm.errors import UserError
from pywasm.manifest import Manifest, read_manifest
from pywasm.page_files import shard_pages
from pywasm.progress import Reporter
from pywasm.sources import SourceOptions
from pywasm.sources_table import Columns
from pywasm.verify import verify_site
from tests.conftest import DOCUMENTS, write_documents


def open_site(site: Path) -> tuple[Manifest, Engine]:
    manifest = read_manifest(site)
    shards = [shard.file for shard in manifest.shards]
    return manifest, Engine.open(base64.b64decode(manifest.head), shard_pages(site, shards))


def all_files(site: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(site)): file.read_bytes() for file in site.rglob("*") if file.is_file()
    }


def test_a_question_finds_its_document(built_site: Path, encoder: Encoder) -> None:
    manifest, engine = open_site(built_site)
    for question, wanted in (
        ("how long do noodles cook?", "cooking.txt"),
        ("animals that damage vegetables", "garden.html"),
        ("polyphonic composition", "music.rst"),
        ("convert text to a datetime", "guide/dates.md"),
    ):
        hits = engine.search_vector(encoder.embed_queries([question])[0], 1)
        (record,) = engine.records(hits.rows.tolist())
        assert json.loads(record.payload)["document"] == wanted
    assert manifest.documents == len(DOCUMENTS)


def test_words_are_found_and_records_say_where_they_come_from(built_site: Path) -> None:
    _, engine = open_site(built_site)
    (record,) = engine.records(engine.search_text("lettuce", 1).rows.tolist())
    payload = json.loads(record.payload)
    assert "Slugs eat young lettuce" in record.text
    assert payload["title"] == "Garden" and payload["url"] == "https://example.org/garden.html"
    (record,) = engine.records(engine.search_text("strptime", 1).rows.tolist())
    assert json.loads(record.payload)["anchor"] == "dates"
    assert json.loads(record.payload)["metadata"] == {"folder": "guide"}


def test_suggestions_have_vectors(built_site: Path, encoder: Encoder) -> None:
    manifest, _ = open_site(built_site)
    assert {suggestion.text for suggestion in manifest.suggestions} <= {
        "Dates",
        "Files",
        "cooking",
        "Garden",
        "Music",
    }
    suggestion = manifest.suggestions[0]
    vector = np.frombuffer(base64.b64decode(suggestion.vector), "<f2").astype(np.float32)
    assert np.abs(vector - encoder.embed_queries([suggestion.text])[0]).max() < 1e-3


def test_the_same_input_gives_the_same_bytes_with_and_without_the_cache(
    tmp_path: Path, fresh_cache: Path, quiet: Reporter
) -> None:
    source = write_documents(tmp_path / "documents")
    first = build_site(BuildOptions(source=source, site=tmp_path / "a", threads=1), quiet)
    second = build_site(BuildOptions(source=source, site=tmp_path / "b" / "c", threads=2), quiet)
    assert (first["embedded"], second["embedded"]) == (first["rows"], 0)
    assert all_files(tmp_path / "a") == all_files(tmp_path / "b" / "c")


def test_only_what_changed_is_embedded(tmp_path: Path, fresh_cache: Path, quiet: Reporter) -> None:
    source = write_documents(tmp_path / "documents")
    options = BuildOptions(source=source, site=tmp_path / "site", bundle=False)
    build_site(options, quiet)
    (source / "cooking.txt").write_text("Fry the onions until they are golden.")
    (source / "new.txt").write_text("The moon has no air.")
    (source / "music.rst").unlink()
    result = build_site(options, quiet)
    assert (result["embedded"], result["documents"]) == (2, 5)
    clean = BuildOptions(source=source, site=tmp_path / "clean", bundle=False)
    build_site(clean, quiet)
    shards = read_manifest(tmp_path / "clean").shards
    assert read_manifest(tmp_path / "site").shards == shards


def many_texts(folder: Path) -> Path:
    """A table that takes a few seconds to embed."""
    words = np.random.default_rng(1).choice(["sun", "moon", "rain", "wind", "snow"], (1000, 10))
    file = folder / "many.jsonl"
    file.write_text("".join(json.dumps({"text": " ".join(row)}) + "\n" for row in words))
    return file


def build_in_process(source: Path, site: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pywasm.cli", "build", str(source), "-o", str(site)]
    return subprocess.Popen(
        [*command, "--no-bundle"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # What is started in the background by a shell ignores Ctrl-C, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for_embeddings(process: subprocess.Popen[str], cache: Path) -> None:
    deadline = time.monotonic() + 120
    while not any(file.stat().st_size for file in cache.glob("embeddings/*/*.embeddings")):
        assert process.poll() is None, "the build ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_build_goes_on_where_it_was(
    tmp_path: Path, fresh_cache: Path, quiet: Reporter
) -> None:
    source = many_texts(tmp_path)
    site = tmp_path / "site"
    process = build_in_process(source, site)
    wait_for_embeddings(process, fresh_cache)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (site / "manifest.json").exists()
    left = list((fresh_cache / "work").iterdir())
    result = build_site(BuildOptions(source=source, site=site, bundle=False), quiet)
    assert isinstance(result["reused"], int) and result["reused"] >= 256
    assert left and not list((fresh_cache / "work").iterdir())


def vectors_of(rows: int, dim: int = 32) -> np.ndarray:
    """Clustered, as real ones are."""
    random = np.random.default_rng(4)
    centres = random.normal(size=(60, dim))
    chosen = centres[random.integers(0, 60, rows)] + random.normal(size=(rows, dim)) * 0.5
    return chosen.astype(np.float32)


@pytest.mark.parametrize(
    ("index", "rows", "metric"),
    [
        ("flat", 300, "l2"),
        ("scan", 3000, "cosine"),
        ("clusters", 3000, "ip"),
        ("graph", 3000, "l2"),
        ("auto", 500, "cosine"),
        ("auto", 2500, "cosine"),
    ],
)
def test_every_kind_of_index_reaches_its_recall(
    tmp_path: Path,
    quiet: Reporter,
    monkeypatch: pytest.MonkeyPatch,
    index: str,
    rows: int,
    metric: str,
) -> None:
    monkeypatch.setattr("pywasm.planner._SCAN_ROWS", 2000)  # trials from here on
    vectors = vectors_of(rows)
    np.save(tmp_path / "v.npy", vectors)
    options = BuildOptions(
        source=tmp_path / "v.npy",
        site=tmp_path / "site",
        index=index,
        metric=metric,  # type: ignore[arg-type]  # parametrized
        bundle=False,
    )
    result = build_site(options, quiet)
    manifest, engine = open_site(tmp_path / "site")
    assert manifest.kind == (index if index != "auto" else manifest.kind)
    assert (manifest.kind == "flat") == (rows <= 1000 and index in ("auto", "flat"))
    assert not manifest.keyword and manifest.encoder is None
    queries = vectors_of(rows + 60)[rows:] + 0.01
    truth = exact_neighbours(queries, iter([vectors]), 10, manifest.metric)
    hits = [engine.search_vector(query, 10) for query in queries]
    ids = [[int(record.id) for record in engine.records(hit.rows.tolist())] for hit in hits]
    assert recall([np.array(row) for row in ids], truth) >= 0.93
    assert result["rows"] == rows


def test_an_hnswlib_index_keeps_its_graph(tmp_path: Path, quiet: Reporter) -> None:
    hnswlib = pytest.importorskip("hnswlib")
    vectors = vectors_of(2000)
    given = hnswlib.Index("l2", 32)
    given.init_index(2000, M=8, ef_construction=80, random_seed=1)
    given.set_num_threads(1)
    given.add_items(vectors, np.arange(2000) * 2)
    given.mark_deleted(10)
    given.save_index(str(tmp_path / "i.bin"))
    options = BuildOptions(
        source=tmp_path / "i.bin", site=tmp_path / "site", metric="l2", bundle=False
    )
    result = build_site(options, quiet)
    manifest, engine = open_site(tmp_path / "site")
    assert (manifest.kind, manifest.rows, engine.info().m) == ("graph", 1999, 8)
    assert isinstance(result["recall"], float) and result["recall"] > 0.9
    assert engine.rows_of_ids(["10"]) == [None]
    (record,) = engine.records(engine.search_vector(vectors[3], 1).rows.tolist())
    assert record.id == "6"


def test_columns_can_be_filtered_by(tmp_path: Path, quiet: Reporter) -> None:
    rows = [
        {"id": f"r{i}", "vector": v.tolist(), "year": 1990 + i % 30, "kind": "ab"[i % 2]}
        for i, v in enumerate(vectors_of(400, 8))
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = SourceOptions(columns=Columns(vector="vector"))
    build_site(BuildOptions(tmp_path / "t.jsonl", tmp_path / "site", options, bundle=False), quiet)
    manifest, engine = open_site(tmp_path / "site")
    assert [(c.name, c.type, c.values, c.min, c.max) for c in manifest.columns] == [
        ("kind", "category", ["a", "b"], None, None),
        ("year", "number", None, 1990, 2019),
    ]
    is_b = np.array([1, 0, 1], "<u4").tobytes()  # Equal, column 0, code 1
    assert engine.filter_count(is_b) == 200
    hits = engine.search_vector(vectors_of(1, 8)[0], 5, filter=is_b)
    for record in engine.records(hits.rows.tolist()):
        metadata = json.loads(record.payload)["metadata"]
        assert metadata["kind"] == "b" and isinstance(metadata["year"], int)


def spoil(vectors: np.ndarray, row: int, value: float) -> np.ndarray:
    spoiled = vectors.copy()
    spoiled[row] = value
    return spoiled


@pytest.mark.parametrize(
    ("value", "what"),
    [(np.nan, "NaN or infinity"), (np.inf, "NaN or infinity"), (0, "length zero")],
)
def test_bad_vectors_are_named_or_left_out(
    tmp_path: Path, quiet: Reporter, value: float, what: str
) -> None:
    file = tmp_path / "v.npy"
    np.save(file, spoil(vectors_of(50), 7, value))
    with pytest.raises(UserError, match=rf"row 7 \(id '7'\): the vector has {what}") as raised:
        build_site(BuildOptions(file, tmp_path / "site", bundle=False), quiet)
    assert str(file) in str(raised.value) and not (tmp_path / "site" / "manifest.json").exists()
    result = build_site(
        BuildOptions(file, tmp_path / "site", skip_bad_vectors=True, bundle=False), quiet
    )
    assert result["rows"] == 49 and result["counts"] == {"duplicate documents": 0, "bad vectors": 1}


def test_a_vector_of_another_dimension_is_named(tmp_path: Path, quiet: Reporter) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text('{"vector": [1, 2]}\n{"vector": [1, 2, 3]}\n')
    options = SourceOptions(columns=Columns(vector="vector"))
    with pytest.raises(UserError, match=r"row 2: a vector of 3 numbers, expected 2"):
        build_site(BuildOptions(file, tmp_path / "site", options, bundle=False), quiet)


@pytest.mark.parametrize(("choice", "text"), [("first", "apple"), ("last", "cherry")])
def test_equal_ids_are_an_error_or_a_choice(
    tmp_path: Path, quiet: Reporter, choice: str, text: str
) -> None:
    file = tmp_path / "t.jsonl"
    rows = [("a", "apple"), ("b", "banana"), ("a", "cherry")]
    file.write_text("".join(json.dumps({"id": i, "text": t}) + "\n" for i, t in rows))
    options = BuildOptions(file, tmp_path / "site", bundle=False)
    with pytest.raises(UserError, match=r"id 'a' occurs twice: .*row 1 and .*row 3"):
        build_site(options, quiet)
    chosen = BuildOptions(
        file,
        tmp_path / "site",
        on_duplicate=choice,  # type: ignore[arg-type]  # parametrized
        bundle=False,
    )
    result = build_site(chosen, quiet)
    _, engine = open_site(tmp_path / "site")
    (row,) = engine.rows_of_ids(["a"])
    assert row is not None and engine.records([row])[0].text == text
    assert result["counts"] == {"duplicate documents": 1}


def test_empty_documents_are_counted_and_nothing_at_all_is_an_error(
    tmp_path: Path, quiet: Reporter
) -> None:
    source = tmp_path / "documents"
    source.mkdir()
    (source / "empty.txt").write_text("")
    (source / "blank.md").write_text("\n \n")
    options = BuildOptions(source, tmp_path / "site", bundle=False)
    with pytest.raises(UserError, match="nothing to index: 2 documents, all empty"):
        build_site(options, quiet)
    (source / "full.txt").write_text("something")
    assert build_site(options, quiet)["counts"] == {
        "empty documents": 2,
        "duplicate documents": 0,
    }


def test_a_failing_build_leaves_the_site_as_it_was(
    site: Path, tmp_path: Path, quiet: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = all_files(site)
    source = write_documents(tmp_path / "documents")
    (source / "more.txt").write_text("another")

    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pywasm.build.switch", broken)
    with pytest.raises(KeyboardInterrupt):
        build_site(BuildOptions(source, site, bundle=False), quiet)
    after = all_files(site)
    assert {name: after[name] for name in before} == before
    manifest, engine = open_site(site)
    assert len(engine.records(range(manifest.rows))) == manifest.rows


def flip(file: Path, place: int) -> Callable[[], int]:
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    return lambda: file.write_bytes(data)


def test_a_damaged_page_is_refused_by_the_engine(site: Path) -> None:
    manifest = read_manifest(site)
    flip(site / manifest.shards[0].file, 100)()
    _, engine = open_site(site)
    with pytest.raises(EngineError, match="page 0"):
        engine.put_pages([0])


@pytest.mark.skipif(os.name != "posix", reason="SIGINT to a process of its own")
def test_ctrl_c_ends_cleanly(tmp_path: Path, fresh_cache: Path) -> None:
    process = build_in_process(many_texts(tmp_path), tmp_path / "s")
    wait_for_embeddings(process, fresh_cache)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode not in (0, -signal.SIGKILL)
    assert "Traceback" not in errors
    assert not list((fresh_cache / "work").iterdir())
    assert not (tmp_path / "s" / "manifest.json").exists()


def test_the_page_carries_the_title_and_stays_when_it_is_ones_own(
    tmp_path: Path, quiet: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle"
    (bundle / "demo").mkdir(parents=True)
    script = '<script type="module" src="pywasm/demo/demo.js"></script>'
    template = f'<html lang="en"><head><title>Search</title></head>{script}</html>'
    (bundle / "index.html").write_text(template)
    (bundle / "sw.js").write_text("1")
    (bundle / "demo" / "demo.js").write_text("2")
    monkeypatch.setattr("pywasm.assets.BUNDLE", bundle)
    np.save(tmp_path / "v.npy", vectors_of(20))
    site = tmp_path / "site"
    options = BuildOptions(tmp_path / "v.npy", site, title="A < B", language="de")
    build_site(options, quiet)
    page = (site / "index.html").read_text()
    assert "<title>A &lt; B</title>" in page and '<html lang="de"' in page
    assert {asset.file for asset in read_manifest(site).assets} == {
        "index.html",
        "sw.js",
        "pywasm/demo/demo.js",
    }
    (bundle / "sw.js").unlink()
    (site / "index.html").write_text("my own")
    result = build_site(options, quiet)
    assert (site / "index.html").read_text() == "my own"
    assert "a page of your own" in str(result["warnings"])
    assert not (site / "sw.js").exists()
    assert verify_site(site, 0, quiet)["problems"] == []


def test_worker_and_engine_are_addressed_by_their_content(
    tmp_path: Path, quiet: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    link = '<html lang="en"><title>Search</title><link href="pywasm/engine.wasm" as="fetch">'
    (bundle / "index.html").write_text(link)
    (bundle / "worker.js").write_text('new URL("./worker.js")')
    (bundle / "engine.wasm").write_bytes(b"\0asm")
    library = "new URL(`./worker.js`,import.meta.url),new URL(`./engine.wasm`,import.meta.url)"
    (bundle / "pywasm.js").write_text(library + '//my-worker.js "b/engine.wasm.map"')
    monkeypatch.setattr("pywasm.assets.BUNDLE", bundle)
    np.save(tmp_path / "v.npy", vectors_of(20))
    site = tmp_path / "site"
    build_site(BuildOptions(tmp_path / "v.npy", site), quiet)
    engine, worker = (
        f"{name}?v={hashlib.sha256((bundle / name).read_bytes()).hexdigest()[:16]}"
        for name in ("engine.wasm", "worker.js")
    )
    assert (site / "pywasm" / "pywasm.js").read_text() == (
        f"new URL(`./{worker}`,import.meta.url),new URL(`./{engine}`,import.meta.url)"
        '//my-worker.js "b/engine.wasm.map"'
    )
    assert f'href="pywasm/{engine}"' in (site / "index.html").read_text()
    # What names itself can't hold its own hash.
    assert (site / "pywasm" / "worker.js").read_text() == 'new URL("./worker.js")'
    assert verify_site(site, 0, quiet)["problems"] == []


def test_without_the_bundle_it_is_said_how_to_get_it(
    tmp_path: Path, quiet: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pywasm.assets.BUNDLE", tmp_path / "nowhere")
    np.save(tmp_path / "v.npy", vectors_of(20))
    with pytest.raises(UserError, match=r"`make build`.*--no-bundle"):
        build_site(BuildOptions(tmp_path / "v.npy", tmp_path / "site"), quiet)
    assert not (tmp_path / "site" / "manifest.json").exists()


def test_watching_builds_again_and_survives_a_mistake(
    tmp_path: Path, quiet: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "t.jsonl"
    source.write_text('{"vector": [1, 2]}\n')
    columns = SourceOptions(columns=Columns(vector="vector"))
    options = BuildOptions(source, tmp_path / "site", columns, bundle=False)
    build_site(options, quiet)
    contents = iter(["{broken", '{"vector": [1, 2]}\n{"vector": [2, 1]}\n'])

    def change(paths: list[Path], before: object, pause: float = 0) -> dict[str, tuple[int, int]]:
        assert paths == [source]
        source.write_text(next(contents))
        return {}

    monkeypatch.setattr("pywasm.build.wait_for_change", change)
    assert next(watch_and_build(options, quiet))["rows"] == 2
