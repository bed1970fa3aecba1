"""Tokenizers made of GGUF files: how text is cut, what is special, and back to text."""

from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from pywasm.generator.gguf_file import GgufFile
from pywasm.generator.gguf_tokenizer import tokenizer_json
from tests.generator_models import SPECIAL, Tiny, write_gguf


def tokenizer(folder: Path, **metadata: Any) -> tokenizers.Tokenizer:
    named = {f"tokenizer.ggml.{key}": value for key, value in metadata.items()}
    file = write_gguf(folder / "t.gguf", Tiny(layers=1), metadata=named)
    return tokenizers.Tokenizer.from_buffer(tokenizer_json(GgufFile(file)))


def cut(made: tokenizers.Tokenizer, text: str) -> list[str]:
    return [text[a:b] for _, (a, b) in made.pre_tokenizer.pre_tokenize_str(text)]


@pytest.mark.parametrize(
    ("pre", "pieces"),
    [
        ("gpt-2", ["It", "'s", " 1234", "\n\n", " ok", "..", " IT", "'", "S"]),
        ("smollm", ["It", "'s", " ", "1", "2", "3", "4", "\n\n", " ok", "..", " IT", "'", "S"]),
        ("qwen2", ["It", "'s", " ", "1", "2", "3", "4", "\n\n", " ok", "..", " IT", "'S"]),
        ("llama-bpe", ["It", "'s", " ", "123", "4", "\n\n", " ok", "..", " IT", "'S"]),
    ],
)
def test_how_text_is_cut(tmp_path: Path, pre: str, pieces: list[str]) -> None:
    assert cut(tokenizer(tmp_path, pre=pre), "".join(pieces)) == pieces


def test_merges_and_special_tokens(tmp_path: Path) -> None:
    made = tokenizer(tmp_path, pre="gpt2")
    found = made.encode("<|im_start|> the<|im_end|>in", add_special_tokens=False)
    assert found.tokens == ["<|im_start|>", "Ġthe", "<|im_end|>", "in"]
    assert found.ids[0] == 1 and found.ids[2] == 2
    assert made.decode(found.ids, skip_special_tokens=True) == " thein"


def test_tokens_that_users_defined_are_whole_but_not_special(tmp_path: Path) -> None:
    types = [3] * len(SPECIAL) + [1] * (Tiny().vocab - len(SPECIAL))
    types[1] = 4
    made = tokenizer(tmp_path, token_type=types)
    ids = made.encode("a<|im_start|><|im_end|>", add_special_tokens=False).ids
    assert ids[1:] == [1, 2]
    assert made.decode(ids, skip_special_tokens=True) == "a<|im_start|>"


@pytest.fixture(scope="module")
def smollm(tmp_path_factory: pytest.TempPathFactory) -> tokenizers.Tokenizer:
    return tokenizer(tmp_path_factory.mktemp("tokenizer"))


@given(text=st.text(max_size=60))
def test_every_text_comes_back(smollm: tokenizers.Tokenizer, text: str) -> None:
    ids = smollm.encode(text, add_special_tokens=False).ids
    assert smollm.decode(ids, skip_special_tokens=False) == text
