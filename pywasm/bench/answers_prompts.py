"""What the engines are asked: text of exactly so many tokens, and one prompt whose answer is known.

The text is that of Python's own documentation strings, which every machine has.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import tokenizers

from pywasm.documents import Notes
from pywasm.python_docs import PythonDocsSource

# What transformers continues it with, greedily, in f32, on the weights of the GGUF file. Behind it
# two words are about as probable, and engines that compute in 8 bits may take either.
GOLDEN_TEXT = (
    "<|im_start|>system\nAnswer from the context.<|im_end|>\n<|im_start|>user\nContext: The "
    "function datetime.strptime(date_string, format) parses a string into a datetime.\n\n"
    "Question: How do I parse a date in Python?<|im_end|>\n<|im_start|>assistant\n"
)
GOLDEN_IDS = (2683, 416, 722, 260, 10018, 30, 1321, 43407, 1000, 1517)
GOLDEN_ANSWER = "You can use the datetime.strptime() function"


@dataclasses.dataclass(frozen=True)
class Prompt:
    """A text and its tokens."""

    text: str
    ids: tuple[int, ...]


class Texts:
    """Documents one after another, none of them twice, cut to a number of tokens."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, documents: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._documents = documents
        self._next = 0

    def golden(self) -> Prompt:
        """The prompt whose continuation is GOLDEN_IDS."""
        return self._prompt(GOLDEN_TEXT)

    def take(self, tokens: int) -> Prompt:
        """The next text, of exactly `tokens` tokens. Raises RuntimeError when there is no more."""
        for text in self._long_enough(tokens):
            cut = self._tokenizer.decode(self._tokenizer.encode(text).ids[:tokens])
            prompt = self._prompt(cut)
            # Where a word is cut, its parts may make other tokens.
            if len(prompt.ids) == tokens:
                return prompt
        raise RuntimeError(f"no text of {tokens} tokens is left")

    def _prompt(self, text: str) -> Prompt:
        return Prompt(text, tuple(self._tokenizer.encode(text).ids))

    def _long_enough(self, tokens: int) -> Iterator[str]:
        while self._next < len(self._documents):
            text = ""
            while self._next < len(self._documents):
                text += self._documents[self._next] + "\n\n"
                self._next += 1
                # A token has at least a character here: no need to count them sooner.
                if len(text) >= tokens and len(self._tokenizer.encode(text).ids) >= tokens:
                    yield text
                    break


def documentation() -> list[str]:
    """Documentation strings of some length, in the order of their modules."""
    found = []
    for document in PythonDocsSource().documents(Notes()):
        text = "\n".join(block.text for block in document.blocks)
        if len(text) >= 300:
            found.append(text)
    return found
