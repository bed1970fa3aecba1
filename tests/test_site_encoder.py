"""The encoder that a site carries: it agrees with the index, or it is not carried."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pywasm import site_encoder
from pywasm.build import BuildOptions, build_site
from pywasm.compile.run import open_encoder, read_plan
from pywasm.encoder import Encoder
from pywasm.errors import UserError
from pywasm.inspect_site import describe
from pywasm.manifest import TunerInfo, read_manifest
from pywasm.progress import Reporter
from pywasm.site_tuner import write_tuner
from pywasm.sources import SourceOptions
from pywasm.verify import verify_site
from tests.conftest import write_documents


def test_the_site_encodes_as_the_index_was_built(built_site: Path, encoder: Encoder) -> None:
    manifest = read_manifest(built_site)
    assert manifest.encoder is not None and manifest.encoder.compiled is not None
    compiled = manifest.encoder.compiled
    assert compiled.weights == "int8" and compiled.cosine > 0.98
    assert compiled.ndcg is not None and compiled.ndcg_f32 is not None
    assert compiled.ndcg >= 0.99 * compiled.ndcg_f32
    assert read_plan(built_site / "encoder").source_sha256 == encoder.sha256
    texts = ["how do slugs live?", "a fugue"]
    wanted = encoder.embed_queries(texts)
    found = open_encoder(built_site / "encoder").embed_queries(texts)
    assert (found * wanted).sum(axis=1).min() > 0.98


def test_what_a_first_question_downloads(built_site: Path) -> None:
    manifest = read_manifest(built_site)
    assert manifest.encoder is not None and manifest.encoder.compiled is not None
    sizes = {file.file: file.bytes for file in manifest.encoder.compiled.files}
    assert all((built_site / file).stat().st_size == size for file, size in sizes.items())
    used = [size for file, size in sizes.items() if "kernels-" not in file and "wgsl-" not in file]
    kernels = max(size for file, size in sizes.items() if "kernels-" in file)
    assert manifest.encoder.compiled.visit_bytes == sum(used) + kernels
    assert "compiled" in str(describe(built_site)["encoder"])


def test_weights_by_name_and_none(tmp_path: Path, quiet: Reporter) -> None:
    source = write_documents(tmp_path / "documents")
    site = tmp_path / "site"
    result = build_site(BuildOptions(source, site, encoder_weights="f32", bundle=False), quiet)
    told = result["encoder"]
    assert isinstance(told, dict)
    assert told["weights"] == "f32" and told["cosine"] >= 0.9999 and told["ndcg"] is None
    build_site(BuildOptions(source, site, encoder_weights="none", bundle=False), quiet)
    manifest = read_manifest(site)
    assert manifest.encoder is not None and manifest.encoder.compiled is None
    assert not (site / "encoder").exists()


def test_int8_that_loses_much_is_not_chosen(
    tmp_path: Path, quiet: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site_encoder, "LARGEST_LOSS", -1.0)
    source = write_documents(tmp_path / "documents")
    result = build_site(BuildOptions(source, tmp_path / "site", bundle=False), quiet)
    told, warnings = result["encoder"], result["warnings"]
    assert isinstance(told, dict) and isinstance(warnings, list)
    assert told["weights"] == "f32"
    assert any("nDCG@10" in warning for warning in warnings)


def test_a_plan_that_gives_other_vectors_is_an_error(
    tmp_path: Path, quiet: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_documents(tmp_path / "documents")
    monkeypatch.setattr(site_encoder, "_LEAST_COSINE", {"f32": 1.1, "int8": 1.1})
    options = BuildOptions(source, tmp_path / "a", encoder_weights="int8", bundle=False)
    with pytest.raises(UserError, match="does not give the vectors of the index: cosine"):
        build_site(options, quiet)
    assert not (tmp_path / "a" / "manifest.json").exists()
    result = build_site(BuildOptions(source, tmp_path / "b", bundle=False), quiet)
    assert result["encoder"] is None
    assert "typed queries find words only" in str(result["warnings"])


def vectors_and_texts(folder: Path, vectors: np.ndarray[tuple[int, int], np.dtype[np.float32]],
                      texts: list[str]) -> SourceOptions:  # fmt: skip
    np.save(folder / "v.npy", vectors)
    lines = [json.dumps({"id": str(row), "text": text}) for row, text in enumerate(texts)]
    (folder / "t.jsonl").write_text("\n".join(lines))
    return SourceOptions(documents=folder / "t.jsonl")


def test_vectors_that_were_given_are_compared_with_the_encoder(
    tmp_path: Path, quiet: Reporter, encoder: Encoder
) -> None:
    texts = [f"The {thing} is in the {place}." for thing in ("cat", "key", "book", "moon")
             for place in ("box", "sky", "garden", "kitchen", "car")]  # fmt: skip
    good = vectors_and_texts(tmp_path, encoder.embed_documents(texts), texts)
    site = tmp_path / "site"
    file = tmp_path / "v.npy"
    result = build_site(BuildOptions(file, site, good, encoder="minilm", bundle=False), quiet)
    assert isinstance(result["encoder"], dict)

    other = np.random.default_rng(2).standard_normal((len(texts), 384)).astype(np.float32)
    bad = vectors_and_texts(tmp_path, other, texts)
    result = build_site(BuildOptions(file, site, bad, encoder="minilm", bundle=False), quiet)
    assert result["encoder"] is None and not (site / "encoder").exists()
    assert "are not those that minilm gives for their texts" in str(result["warnings"])
    asked = BuildOptions(file, site, bad, encoder="minilm", encoder_weights="int8", bundle=False)
    assert isinstance(build_site(asked, quiet)["encoder"], dict)


def test_a_damaged_encoder_is_named(site: Path, quiet: Reporter) -> None:
    shard = next((site / "encoder").glob("weights-*.bin"))
    data = bytearray(shard.read_bytes())
    data[1000] ^= 1
    shard.write_bytes(data)
    problems = verify_site(site, 0, quiet)["problems"]
    assert isinstance(problems, list)
    assert len(problems) == 1 and str(shard) in problems[0]


def tuner_of(site: Path) -> TunerInfo | None:
    encoder = read_manifest(site).encoder
    assert encoder is not None and encoder.compiled is not None
    return encoder.compiled.tuner


def test_the_tuner_comes_with_the_bundle(tmp_path: Path, quiet: Reporter) -> None:
    source = write_documents(tmp_path / "documents")
    site = tmp_path / "site"
    build_site(BuildOptions(source, site), quiet)
    folder = site / "tune"
    contents = json.loads((folder / "tune.json").read_text())
    with zipfile.ZipFile(folder / contents["wheel"]) as wheel:
        assert {"pywasm_jit/__init__.py", "pywasm_jit/tuning.py"} <= set(wheel.namelist())
    lock = json.loads((folder / contents["pyodide"] / "pyodide-lock.json").read_text())
    assert lock["packages"] == {}
    manifest = read_manifest(site)
    tuner = tuner_of(site)
    assert tuner is not None
    assert {file.file for file in tuner.files} == {
        file.relative_to(site).as_posix() for file in folder.rglob("*") if file.is_file()
    }
    assert not any("tune/" in asset.file or "pyodide" in asset.file for asset in manifest.assets)

    build_site(BuildOptions(source, site, pyodide_url="https://cdn.example/pyodide"), quiet)
    contents = json.loads((folder / "tune.json").read_text())
    assert contents["pyodide"] == "https://cdn.example/pyodide/"
    assert not (folder / "pyodide").exists() and (folder / contents["wheel"]).is_file()

    build_site(BuildOptions(source, site, tune=False), quiet)
    assert not folder.exists() and tuner_of(site) is None


def test_the_page_asks_early_for_the_code_of_an_encoder_that_is_there(
    tmp_path: Path, quiet: Reporter
) -> None:
    source = write_documents(tmp_path / "documents")
    site = tmp_path / "site"
    build_site(BuildOptions(source, site, tune=False), quiet)
    library = (site / "pywasm" / "pywasm.js").read_text()
    page = (site / "index.html").read_text()
    (asked,) = re.findall(r"pywasm/(encoder\.js\?v=[0-9a-f]{16})", page)
    assert asked in library  # one address, so that it is loaded once
    build_site(BuildOptions(source, site, encoder_weights="none"), quiet)
    assert "encoder" not in (site / "index.html").read_text()


def test_an_address_that_no_browser_fetches(tmp_path: Path, quiet: Reporter) -> None:
    source = write_documents(tmp_path / "documents")
    with pytest.raises(UserError, match="--pyodide-url ftp://x"):
        build_site(BuildOptions(source, tmp_path / "site", pyodide_url="ftp://x"), quiet)


def test_the_wheel_of_the_tuner_can_be_imported(tmp_path: Path, quiet: Reporter) -> None:
    (tmp_path / "site").mkdir()
    info = write_tuner(tmp_path / "site", "/pyodide/")
    (wheel,) = [file.file for file in info.files if file.file.endswith(".whl")]
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import pywasm_jit.tuning\nprint(pywasm_jit.tuning.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(tmp_path / "site" / wheel)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert wheel in done.stdout
