"""A site that answers: its model, its prompt, its KV, and that a browser can trust all of them."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pywasm import kv_loss
from pywasm.build import BuildOptions, build_site
from pywasm.cli import app
from pywasm.errors import UserError
from pywasm.generator.run import open_generator
from pywasm.inspect_site import describe
from pywasm.kv_record import unpack
from pywasm.kv_shards import kv_key, parse_index
from pywasm.manifest import Answers, read_manifest
from pywasm.progress import Reporter
from pywasm.site_answers import open_sequence
from pywasm.site_generator import open_site_generator
from pywasm.verify import verify_site
from tests.tiny_model import random_model

TEXTS = {
    "slugs": "Slugs eat young lettuce during rainy nights and they hide under boards by day.",
    "fugue": "A fugue repeats its subject in every voice until the last of the voices has it.",
    "pasta": "Boil the pasta in salted water for nine minutes before you drain it and add sauce.",
    "zones": "A time zone tells how far the local time of a place is from universal time there.",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("model") / "tiny-llama")


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documents")
    for name, text in TEXTS.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def options(documents: Path, site: Path, model: Path, **more: object) -> BuildOptions:
    return BuildOptions(
        documents,
        site,
        encoder_weights="none",
        bundle=False,
        generator=str(model),
        **more,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def site(model: Path, documents: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("built") / "site"
    from rich.console import Console

    build_site(options(documents, made, model, kv="all"), Reporter(Console(quiet=True), True))
    return made


def answers_of(site: Path) -> Answers:
    answers = read_manifest(site).answers
    assert answers is not None
    return answers


def test_the_manifest_says_what_a_browser_needs(site: Path) -> None:
    answers = answers_of(site)
    assert answers.name == "tiny-llama" and answers.plan == "generator/plan.json"
    assert answers.context == 2048
    sizes = {info.file: info.bytes for info in answers.files}
    assert all((site / file).stat().st_size == size for file, size in sizes.items())
    used = [size for file, size in sizes.items() if "kernels-" not in file]
    kernels = max(size for file, size in sizes.items() if "kernels-" in file)
    assert answers.visit_bytes == sum(used) + kernels
    assert answers.prompt.system.startswith("<|im_start|>system\n")
    assert answers.prompt.answer == "<|im_end|>\n<|im_start|>assistant\n"
    assert open_generator(site / "generator").plan.source_sha256 == answers.source_sha256


def test_what_each_mode_loses_is_measured(site: Path) -> None:
    losses = {(loss.mode, loss.bits): loss for loss in answers_of(site).losses}
    exact = losses["exact", 16]
    assert (exact.kl_one, exact.kl_two, exact.same_one, exact.same_two) == (0, 0, 1, 1)
    assert 0 < losses["shipped", 8].kl_one < losses["shipped", 4].kl_one
    assert losses["linked", 16].kl_one == 0 < losses["linked", 16].kl_two


def test_shipped_kv_is_that_of_the_chunk_behind_the_system_prompt(site: Path) -> None:
    kv = answers_of(site).kv
    assert kv is not None and kv.chunks == len(TEXTS)
    generator = open_site_generator(site / "generator")
    assert kv.identity == generator.identity
    tokens = generator.tokens()
    system = tokens.system()
    start, entries = parse_index((site / kv.index.file).read_bytes(), "index")
    assert start == kv.system_tokens == len(system)
    found = {entry.key: entry for entry in entries}
    native = open_generator(site / "generator")
    sequence = open_sequence(native, site / "generator")
    sequence.prefill(system, 0)
    for name, text in TEXTS.items():
        document = tokens.document(name, text)
        entry = found[kv_key(kv.identity, np.concatenate((system, document)))]
        shard = (site / kv.shards[entry.shard].file).read_bytes()
        data = shard[entry.offset : entry.offset + entry.bytes]
        sequence.prefill(document, start)
        exact = sequence.read(start, start + len(document))
        assert entry.tokens == len(document) and entry.bits in (4, 8)
        shipped = unpack(data, sequence.shape, len(document), 4 if entry.bits == 4 else 8)
        shipped = sequence.turned(shipped, start)
        for ours, theirs in ((shipped.keys, exact.keys), (shipped.values, exact.values)):
            error = np.abs(ours.astype(np.float32) - theirs).mean()
            assert 0 < error < (0.15 if entry.bits == 4 else 0.02) * np.abs(theirs).mean()


def test_damage_is_found(site: Path, quiet: Reporter) -> None:
    assert verify_site(site, 0, quiet)["problems"] == []
    kv = answers_of(site).kv
    assert kv is not None
    for file in (kv.shards[0].file, kv.index.file, answers_of(site).files[0].file):
        whole = (site / file).read_bytes()
        (site / file).write_bytes(whole[:-1] + bytes((whole[-1] ^ 1,)))
        problems = verify_site(site, 0, quiet)["problems"]
        (site / file).write_bytes(whole)
        assert isinstance(problems, list) and problems and file in problems[0]


def test_inspect_tells_of_it(site: Path) -> None:
    told = describe(site)["answers"]
    assert isinstance(told, dict) and told["kv"]["chunks"] == len(TEXTS)
    printed = CliRunner().invoke(app, ["inspect", str(site)]).output
    assert "tiny-llama" in printed and "shipped KV in 4 bits" in printed


def test_a_size_is_kept_to_and_what_is_gone_is_removed(
    model: Path, documents: Path, tmp_path: Path, quiet: Reporter
) -> None:
    made = tmp_path / "site"
    first = build_site(options(documents, made, model, kv="all"), quiet)
    before = {file.name for file in (made / "kv").iterdir()}
    told = first["answers"]
    assert isinstance(told, dict) and told["kv"]["chunks"] == len(TEXTS)
    build_site(options(documents, made, model, kv="none"), quiet)
    assert answers_of(made).kv is None and not (made / "kv").exists()
    again = build_site(options(documents, made, model, kv="all"), quiet)
    assert {file.name for file in (made / "kv").iterdir()} == before
    assert again["answers"] == told
    build_site(BuildOptions(documents, made, encoder_weights="none", bundle=False), quiet)
    assert read_manifest(made).answers is None
    assert not (made / "kv").exists() and not (made / "generator").exists()


def test_loss_over_the_threshold_is_refused(
    model: Path,
    documents: Path,
    tmp_path: Path,
    fresh_cache: Path,
    quiet: Reporter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kv_loss, "LARGEST_KL", 0.0)
    with pytest.raises(UserError, match="KL"):
        build_site(options(documents, tmp_path / "site", model, kv="hot"), quiet)
    result = build_site(options(documents, tmp_path / "site", model), quiet)
    warnings = result["warnings"]
    assert isinstance(warnings, list) and any("no KV is shipped" in text for text in warnings)
    assert answers_of(tmp_path / "site").kv is None


def test_what_can_not_answer_is_refused(
    model: Path, documents: Path, tmp_path: Path, quiet: Reporter
) -> None:
    with pytest.raises(UserError, match="--generator"):
        build_site(options(documents, tmp_path / "site", Path("none"), kv="hot"), quiet)
    mute = tmp_path / "mute"
    mute.mkdir()
    for file in model.iterdir():
        (mute / file.name).write_bytes(file.read_bytes())
    (mute / "tokenizer_config.json").write_text(json.dumps({}))
    with pytest.raises(UserError, match="chat template"):
        build_site(options(documents, tmp_path / "site", mute), quiet)
    with pytest.raises(UserError, match="nowhere"):
        build_site(options(documents, tmp_path / "site", tmp_path / "nowhere"), quiet)
