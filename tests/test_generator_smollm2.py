"""SmolLM2 against what transformers and torch answered in float32 (tests/data/smollm2.json)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pywasm import models
from pywasm.generator.chat import render
from pywasm.generator.compile import assemble, compile_generator, read_decoder
from pywasm.generator.decoder import Decoder
from pywasm.generator.reference import forward, log_probabilities
from pywasm.generator.run import NativeGenerator, generator_of

GOLDEN = json.loads((Path(__file__).parent / "data" / "smollm2.json").read_text())["rows"]


@pytest.fixture(scope="module")
def decoder(session_cache: Path) -> Decoder:
    return read_decoder(models.find_model("smollm2"), "smollm2")


def expected(row: dict[str, Any]) -> Any:
    """Log-probabilities of its 20 most likely tokens."""
    return np.array(row["top_logits"]) - row["logsumexp"]


def test_the_file_is_read_as_transformers_reads_it(decoder: Decoder) -> None:
    for row, logits in zip(GOLDEN, forward(decoder, [r["input_ids"] for r in GOLDEN]), strict=True):
        found = log_probabilities(logits[-1])[row["top_ids"]]
        np.testing.assert_allclose(found, expected(row), atol=5e-4)
    assert decoder.licence == "Apache-2.0" and decoder.text.eos == [2, 0]


def test_the_plan_answers_as_the_model_does(decoder: Decoder) -> None:
    compiled = compile_generator("smollm2")
    found = compiled.plan.language_model().agreement
    assert found is not None and found.same_top == 1.0 and found.mean_kl < 1e-4
    generator = generator_of(compiled.plan, compiled.files)
    check_tokens(generator)
    check_logits(generator)
    for row in GOLDEN[:3]:
        check_greedy(generator, row)


def test_activations_that_stay_f32(decoder: Decoder) -> None:
    compiled = assemble(decoder, "auto", "f32")
    generator = generator_of(compiled.plan, compiled.files)
    check_logits(generator)
    check_greedy(generator, GOLDEN[0])


def check_logits(generator: NativeGenerator) -> None:
    """The same most likely token, the 20 most likely within 0.02: most of it is KV in 16 bits."""
    generator.reserve(8)
    for row in GOLDEN:
        logits = generator.logits(row["input_ids"], 0, range(8))
        assert logits.argmax() == row["top_ids"][0]
        found = log_probabilities(logits)[row["top_ids"]]
        np.testing.assert_allclose(found, expected(row), atol=0.02)


def check_greedy(generator: NativeGenerator, row: dict[str, Any]) -> None:
    wanted = [token for token in row["greedy_ids"] if token not in generator.info.eos]
    assert list(generator.generate(row["input_ids"], len(row["greedy_ids"]))) == wanted


def check_tokens(generator: NativeGenerator) -> None:
    """Token ids and rendered chats are the golden ones."""
    for row in GOLDEN:
        assert generator.tokens(row["text"]) == row["input_ids"]
        if row["messages"]:
            assert render(generator.info.template, row["messages"]) == row["text"]
            assert generator.chat(row["messages"]) == row["input_ids"]
