"""KV that `pywasm build` computed, in a browser: found by the tokens that it makes of the texts,
unpacked by its kernels, and as good as the build says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generators import GeneratorPage, generator_site
from host import Host
from rich.console import Console

from pywasm.answer_prompt import document_text, fill
from pywasm.bench.browsers import Browser
from pywasm.build import BuildOptions, build_site
from pywasm.generator.run import open_generator
from pywasm.kv_loss import compressed, divergence
from pywasm.kv_shards import kv_key, parse_index
from pywasm.manifest import Answers, ShippedKv, read_manifest
from pywasm.progress import Reporter
from pywasm.site_answers import open_sequence
from pywasm.site_generator import open_site_generator
from tests.tiny_model import random_model

TEXTS = {
    "slugs": "Slugs eat young lettuce during rainy nights and they hide under boards by day.",
    "fugue": "A fugue repeats its subject in every voice until the last of the voices has it.",
    "markup": "A chat writes <|im_end|> where somebody has said all that there was to be said.",
}
QUESTION = "Who eats lettuce?"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shipped")
    (folder / "documents").mkdir()
    for name, text in TEXTS.items():
        (folder / "documents" / f"{name}.txt").write_text(text)
    model = random_model(folder / "tiny-llama")
    options = BuildOptions(
        folder / "documents",
        folder / "built",
        encoder_weights="none",
        bundle=False,
        generator=str(model),
        kv="all",
    )
    build_site(options, Reporter(Console(quiet=True), quiet=True))
    made = generator_site(folder / "built" / "generator", folder / "site")
    for name in ("kv", "manifest.json"):
        (folder / "built" / name).rename(made / name)
    return made


@pytest.fixture
def page(chromium: Browser, serve: Callable[[Path], Host], site: Path) -> Iterator[GeneratorPage]:
    host = serve(site)
    tab = chromium.new_page()
    yield GeneratorPage(tab, host)
    tab.close()


def answers_of(site: Path) -> tuple[Answers, ShippedKv]:
    answers = read_manifest(site).answers
    assert answers is not None and answers.kv is not None
    return answers, answers.kv


def prompt(answers: Answers, name: str) -> dict[str, Any]:
    """As ask_prompt.ts makes it."""
    texts = answers.prompt
    return {
        "segments": [
            {"kind": "system", "text": texts.system},
            {"kind": "document", "text": document_text(texts, name, TEXTS[name])},
            {"kind": "question", "text": fill(texts.question, question=QUESTION)},
            {"kind": "text", "text": texts.answer},
        ]
    }


def opened(page: GeneratorPage, kv: ShippedKv | None) -> None:
    shipped = {"shipped": {"site": f"{page.host.url}/", "kv": kv.model_dump()}} if kv else {}
    page.open(storage="memory", threads=1, **shipped)


@pytest.mark.parametrize("name", TEXTS)
def test_the_document_is_not_computed(page: GeneratorPage, site: Path, name: str) -> None:
    answers, kv = answers_of(site)
    opened(page, kv)
    generator = open_site_generator(site / "model")
    tokens = generator.tokens()
    system, document = tokens.system(), tokens.document(name, TEXTS[name])
    question = np.concatenate((tokens.question(QUESTION), tokens.answer()))
    stats = page.generate(prompt(answers, name), maxTokens=1)["stats"]
    assert stats["promptTokens"] == len(system) + len(document) + len(question)
    assert stats["sources"] == {"memory": 0, "storage": 0, "shipped": len(document)}
    assert len(page.host.requests(r"^/kv/.*\.bin")) == 1

    page.load()
    opened(page, kv)
    found = np.array(page.logits(prompt(answers, name)), np.float32)
    sequence = open_sequence(open_generator(site / "model"), site / "model")
    sequence.prefill(system, 0)
    sequence.prefill(document, len(system))
    end = len(system) + len(document)
    full = sequence.logits(question, end)
    _, entries = parse_index((site / kv.index.file).read_bytes(), "index")
    key = kv_key(kv.identity, np.concatenate((system, document)))
    bits = next(entry.bits for entry in entries if entry.key == key)
    assert bits in (4, 8)
    exact = sequence.read(len(system), end)
    sequence.write(len(system), compressed(sequence, exact, len(system), 4 if bits == 4 else 8))
    expected = sequence.logits(question, end)
    assert divergence(expected, found) < 0.1 * divergence(full, found)


def test_nothing_shipped_and_kv_of_another_model(page: GeneratorPage, site: Path) -> None:
    answers, kv = answers_of(site)
    opened(page, None)
    plain = page.logits(prompt(answers, "slugs"))
    page.load()
    opened(page, kv.model_copy(update={"identity": f"{kv.identity} "}))
    assert page.logits(prompt(answers, "slugs")) == plain
    assert not page.host.requests(r"^/kv/")


def test_damaged_kv_is_computed_instead(page: GeneratorPage, site: Path) -> None:
    answers, kv = answers_of(site)
    opened(page, None)
    plain = page.logits(prompt(answers, "slugs"))
    page.load()
    page.host.faults.change[r"^/kv/.*\.bin"] = lambda body: bytes(len(body))
    opened(page, kv)
    assert page.logits(prompt(answers, "slugs")) == plain
    assert page.host.requests(r"^/kv/.*\.bin")
