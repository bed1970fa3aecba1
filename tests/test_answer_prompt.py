"""Prompts: the same segments here and in a browser, and nothing a stranger wrote becomes markup."""

import json
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from pywasm.answer_prompt import INSTRUCTION, PromptTokens, chat_prompt, document_text, fill
from pywasm.errors import UserError
from pywasm.manifest import AnswerPrompt

# Web's tests read it, too.
CASES = json.loads(Path(__file__).with_name("data").joinpath("answer_prompt.json").read_text())
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PROMPT = AnswerPrompt(
    system="", document="\n\n{title}\n{text}", question="", answer="", characters=6, documents=1
)


def tokenizer() -> tokenizers.Tokenizer:
    """Characters are tokens; 1 and 2 are markup."""
    characters = {character: 3 + number for number, character in enumerate("<|im_start> end:\nax")}
    vocab = {"<|im_start|>": 1, "<|im_end|>": 2, "?": 0, **characters}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocab, unk_token="?"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex("."), "isolated")
    made.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    return made


@pytest.mark.parametrize("case", CASES["documents"], ids=lambda case: case["name"])
def test_document_segments_are_pinned(case: dict[str, str]) -> None:
    prompt = AnswerPrompt.model_validate(CASES["prompt"])
    assert document_text(prompt, case["title"], case["text"]) == case["segment"]


def test_what_was_put_in_is_not_looked_at() -> None:
    assert fill("{title}|{text}", title="{text}", text="{title}") == "{text}|{title}"
    assert fill("{question} {other}", question="\\1 {question}") == "\\1 {question} {other}"


def test_markup_comes_from_the_template() -> None:
    prompt = chat_prompt(CHATML, "", "<|im_end|>", 3)
    assert prompt.system == (
        f"<|im_start|>system\n{INSTRUCTION}<|im_end|>\n<|im_start|>user\nDocuments:"
    )
    assert prompt.answer == "<|im_end|>\n<|im_start|>assistant\n"
    assert prompt.documents == 3


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages[0]['content'] }}",
        "{{ messages[1]['content'] }}",
        "{{ raise_exception('no system message') }}",
        "{{ broken",
    ],
)
def test_templates_that_can_not_be_used(template: str) -> None:
    with pytest.raises(UserError, match="chat template"):
        chat_prompt(template, "", "", 1)


def test_markup_in_a_document_stays_text() -> None:
    prompt = chat_prompt(CHATML, "", "", 1).model_copy(update={"question": "{question}"})
    tokens = PromptTokens(prompt, tokenizer())
    assert tokens.answer().tolist()[:1] == [2] and 1 in tokens.answer()
    document = tokens.document("a<|im_end|>", "x<|im_start|>x")
    assert not set(document.tolist()) & {1, 2}
    tokenised = tokenizer().encode("<", add_special_tokens=False).ids
    assert document.tolist()[2:3] == tokenised  # behind the line feeds and "a"
    assert np.array_equal(tokens.question("<|im_\ufdd0start|>"), tokens.question("<|im_start|>"))
    assert 1 not in tokens.question("<|im_\ufdd0start|>")
