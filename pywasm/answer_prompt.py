"""The prompt of `library.ask`: one definition for build time and for browsers.

A prompt is a list of segments, each tokenised on its own: the tokens of a document depend neither
on what stands before it nor on the question, so its KV can be computed ahead of time. What the
segments say travels in the manifest (`AnswerPrompt`); both sides fill it in by the same rules.
docs/kv-cache.md, "Prompts", has them; tests/data/answer_prompt.json pins them for both.
"""

import re

import numpy as np
import numpy.typing as npt
import tokenizers

from pywasm.errors import UserError
from pywasm.generator.chat import render
from pywasm.manifest import AnswerPrompt

I32 = npt.NDArray[np.int32]
# Worded by trial with SmolLM2-135M, greedy, eight questions over the Python documentation: this
# names the right function seven times with one document, four times with three, in any order.
# Numbered documents, examples of answers, and a persona were all worse.
INSTRUCTION = "Answer the question using only the documents."
# Segments begin with their line feeds: at the end of a segment two of them would be one token,
# where texts, those that models learn from too, have two tokens before a word. So cut, the tokens
# are those of the whole text in one piece (measured as above: seven times instead of six).
_OPENING = "Documents:"
_DOCUMENT = "\n\n{title}\n{text}"
_QUESTION = "\n\nUsing the documents, answer briefly: {question}"
_TITLE_LINE = "{title}\n"
_SPACE = " \t\r\n"
_CHARACTERS = 2000  # some 500 tokens: three of them and an answer fit a context of 2,048
_PLACE = re.compile(r"\{(title|text|question)\}")
# Stands for the documents while the chat template is rendered, and in a segment inside what only
# looks like a special token. A Unicode noncharacter: no text has it.
_MARK = "\ufdd0"


def chat_prompt(template: str, bos: str, eos: str, documents: int) -> AnswerPrompt:
    """The prompt in the markup of a model: `template` is its chat template (Jinja, as Hugging
    Face's library reads it), `bos` and `eos` the tokens it may write.

    Raises UserError where the template can't be rendered with a system message.
    """
    messages = [
        {"role": "system", "content": INSTRUCTION},
        {"role": "user", "content": f"{_OPENING}{_MARK}"},
    ]
    text = render(template, messages, bos, eos)
    before, mark, after = text.partition(_MARK)
    if not mark or _MARK in after or INSTRUCTION not in before:
        raise UserError(
            "the model's chat template can't be used: it leaves out the system message or what "
            "the user says"
        )
    return AnswerPrompt(
        system=before,
        document=_DOCUMENT,
        question=_QUESTION,
        answer=after,
        characters=_CHARACTERS,
        documents=documents,
    )


class PromptTokens:
    """Segments of a prompt to token ids, i32[tokens]."""

    def __init__(self, prompt: AnswerPrompt, tokenizer: tokenizers.Tokenizer) -> None:
        self._prompt = prompt
        self._tokenizer = tokenizer
        tokenizer.no_padding()
        tokenizer.no_truncation()
        names = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
        special = sorted((name for name in names if len(name) > 1), key=lambda name: -len(name))
        self._special = re.compile("|".join(map(re.escape, special)) or r"(?!)")

    def system(self) -> I32:
        return self._ids(self._prompt.system)

    def answer(self) -> I32:
        return self._ids(self._prompt.answer)

    def question(self, question: str) -> I32:
        return self._ids(self._literal(fill(self._prompt.question, question=question)))

    def document(self, title: str, text: str) -> I32:
        return self._ids(self._literal(document_text(self._prompt, title, text)))

    def _literal(self, text: str) -> str:
        """`text`, marked inside whatever would be taken for a special token."""
        return self._special.sub(
            lambda found: f"{found[0][0]}{_MARK}{found[0][1:]}", text.replace(_MARK, "")
        )

    def _ids(self, text: str) -> I32:
        """Cut at the marks."""
        ids = [
            id
            for part in text.split(_MARK)
            for id in self._tokenizer.encode(part, add_special_tokens=False).ids
        ]
        return np.array(ids, np.int32)


def document_text(prompt: AnswerPrompt, title: str, text: str) -> str:
    """The text of a document's segment: a title that the text begins with is not said twice."""
    template = prompt.document
    if text.startswith(title):
        template = template.replace(_TITLE_LINE, "", 1)
    return fill(template, title=title, text=text[: prompt.characters].rstrip(_SPACE))


def fill(template: str, **values: str) -> str:
    """`template` with {name} replaced where `values` has it; what is put in is not looked at."""
    return _PLACE.sub(lambda found: values.get(found[1], found[0]), template)
