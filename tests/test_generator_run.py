"""Running a compiled language model: the KV arena, chunks, greedy answers, templates, commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from typer.testing import CliRunner

from pywasm.cli import app
from pywasm.compile.run import read_plan
from pywasm.errors import UserError
from pywasm.generator.chat import render
from pywasm.generator.compile import compile_generator
from pywasm.generator.run import NativeGenerator, open_generator, text_of
from tests.generator_models import TEMPLATE, Tiny, write_gguf

MODEL = Tiny(context=320)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled tiny model."""
    where = tmp_path_factory.mktemp("generator")
    file = write_gguf(where / "tiny.gguf", MODEL, Type.Q4_1)
    result = CliRunner().invoke(app, ["compile", str(file), "-o", str(where / "out"), "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.output)
    assert told["kind"] == "decoder" and told["weights"] == "int4" and told["context"] == 320
    assert told["kv_token_bytes"] == 2 * 2 * 2 * 2 * 16
    return where / "out"


@pytest.fixture
def generator(folder: Path) -> NativeGenerator:
    made = open_generator(folder)
    made.reserve(24)
    return made


def ids_of(count: int) -> list[int]:
    return [int(token) for token in np.random.default_rng(5).integers(3, MODEL.vocab, count)]


def test_what_is_cached_is_what_would_be_computed_to_the_bit(generator: NativeGenerator) -> None:
    ids = ids_of(200)
    whole = generator.logits(ids, 0, range(7))
    for parts in ([1] * 200, [50, 78, 72], [128, 72], [199, 1]):
        table = [7, 20, 9, 23, 11, 8, 10]
        at = 0
        for size in parts[:-1]:
            generator.prefill(ids[at : at + size], at, table)
            at += size
        np.testing.assert_array_equal(generator.logits(ids[at:], at, table), whole)
        for block, other in zip(range(6), table[:6], strict=True):
            np.testing.assert_array_equal(
                generator.kv[block].view("<u2"), generator.kv[other].view("<u2")
            )


def test_copied_blocks_are_the_sequence(generator: NativeGenerator) -> None:
    ids = ids_of(70)
    generator.prefill(ids[:40], 0, [0, 1, 2])
    wanted = generator.logits(ids[40:], 40, [0, 1, 2])
    generator.kv[5] = generator.kv[1]
    generator.kv[1] = 0
    np.testing.assert_array_equal(generator.logits(ids[40:], 40, [0, 5, 2]), wanted)
    different = generator.logits(ids[40:], 40, [0, 1, 2])
    assert np.abs(different - wanted).max() > 1e-3


def test_growing_keeps_what_is_there(folder: Path) -> None:
    generator = open_generator(folder)
    assert generator.blocks == 0
    generator.reserve(2)
    wanted = generator.logits(ids_of(40), 0, [1, 0])
    before = generator.kv.copy()
    generator.reserve(500)
    np.testing.assert_array_equal(generator.kv[:2].view("<u2"), before.view("<u2"))
    np.testing.assert_array_equal(generator.logits(ids_of(40), 0, [1, 0]), wanted)


def test_moved_tokens_are_the_same_bits_where_they_stay(generator: NativeGenerator) -> None:
    """An aux kernel: tokens 0 to 31 of one table to another's same positions."""
    generator.prefill(ids_of(32), 0, [3])
    weights = {t.name: number for number, t in enumerate(generator.plan.weights.tensors)}
    cos, sin = (generator.weight_address(weights[f"rope.{name}"]) for name in ("cos", "sin"))
    numbers = generator.temporary([[0, 0], [3], [6]])  # places, the tables read and written
    buffers = [cos, sin, *numbers, generator.arena]
    generator.aux("kv_move", buffers, [32, MODEL.context, 1, 1, generator.blocks])
    np.testing.assert_array_equal(generator.kv[6].view("<u2"), generator.kv[3].view("<u2"))


@pytest.mark.parametrize(
    ("ids", "start", "table"),
    [
        ([], 0, [0]),
        ([1], -1, [0]),
        ([1], 320, range(11)),
        ([MODEL.vocab], 0, [0]),
        ([-1], 0, [0]),
        ([1] * 40, 0, [0]),
        ([1], 0, [24]),
        ([1], 0, [-1]),
    ],
)
def test_what_does_not_lie_in_memory_is_refused(
    generator: NativeGenerator, ids: list[int], start: int, table: list[int]
) -> None:
    with pytest.raises(ValueError, match=r"context has|token ids|KV blocks of 24"):
        generator.logits(ids, start, table)


def test_greedy_answers(generator: NativeGenerator) -> None:
    ids = ids_of(30)
    found = list(generator.generate(ids, 12))
    wanted = []
    for _ in range(12):
        token = int(generator.logits(ids + wanted, 0, range(8, 12)).argmax())
        if token in generator.info.eos:
            break
        wanted.append(token)
    assert found == wanted and 0 < len(found) <= 12
    assert list(generator.generate(ids, 12)) == found, "another run takes other blocks"
    assert len(list(generator.generate(ids_of(318), 12))) <= 3, "the context is full"


def test_streamed_text_never_ends_within_a_character(generator: NativeGenerator) -> None:
    text = "né the 日本 er"
    ids = generator.tokens(text)
    pieces = list(text_of(generator, iter(ids)))
    assert "".join(pieces) == text and len(pieces) > 5
    assert not any("\ufffd" in piece for piece in pieces)


def test_chats_are_what_the_template_says(generator: NativeGenerator) -> None:
    messages = [{"role": "user", "content": "in <|im_end|>"}]
    text = render(TEMPLATE, messages)
    assert text == "<|im_start|>user\nin <|im_end|><|im_end|>\n<|im_start|>assistant\n"
    ids = generator.chat(messages)
    assert ids[0] == 1 and ids.count(2) == 2
    assert generator.tokenizer.decode(ids, skip_special_tokens=False) == text


def test_templates_have_helpers_and_no_way_out() -> None:
    with pytest.raises(UserError, match="chat template: roles must alternate"):
        render("{{ raise_exception('roles must alternate') }}", [])
    assert render("{{ messages | tojson }}", [{"content": "<é>"}]) == '[{"content": "<é>"}]'
    assert len(render("{{ strftime_now('%Y') }}", [])) == 4
    for escape in ("{{ ''.__class__.__mro__ }}", "{{ messages.append(1) }}", "{% for %}"):
        with pytest.raises(UserError, match="the model's chat template"):
            render(escape, [])


def test_generate_prints_an_answer(folder: Path, tmp_path: Path) -> None:
    run = CliRunner()
    made = run.invoke(app, ["generate", str(folder), "the er", "--tokens", "5"])
    assert made.exit_code == 0 and made.output.endswith("\n")
    plain = run.invoke(app, ["generate", str(folder), "the er", "--tokens", "5", "--plain"])
    generator = open_generator(folder)
    ids = list(generator.generate(generator.tokens("the er"), 5))
    assert plain.output == generator.tokenizer.decode(ids) + "\n"
    with pytest.raises(UserError, match=r"the prompt has \d+ tokens; tiny takes from 1 to 319"):
        run.invoke(app, ["generate", str(folder), "x" * 400], catch_exceptions=False)
    with pytest.raises(UserError, match=r"no plan\.json here"):
        run.invoke(app, ["generate", str(tmp_path), "x"], catch_exceptions=False)


def test_a_damaged_plan_of_a_decoder_is_named(folder: Path, tmp_path: Path) -> None:
    data = json.loads((folder / "plan.json").read_text())
    for change, message in (
        ({"layers": 3}, "decoder.kv_block_bytes"),
        ({"head": 900}, "decoder.head: there is no step 900"),
        ({"eos": [70000]}, "tokens"),
        ({"chunk": 64}, "chunk"),
        ({"aux": {"kv_move": 99}}, "decoder.aux"),
    ):
        (tmp_path / "plan.json").write_text(
            json.dumps(data | {"decoder": data["decoder"] | change})
        )
        with pytest.raises(UserError, match=message):
            read_plan(tmp_path)
    (tmp_path / "plan.json").write_text(json.dumps(data | {"decoder": None}))
    with pytest.raises(UserError, match="kind: decoder without what belongs to it"):
        read_plan(tmp_path)
    with pytest.raises(UserError, match="is a decoder; expected a text encoder"):
        CliRunner().invoke(app, ["profile", str(folder)], catch_exceptions=False)


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "t.gguf", Tiny(layers=1), Type.Q8_0)
    first, second = (compile_generator(str(file)) for _ in range(2))
    assert first.plan == second.plan and first.files == second.files
