"""What ways of using KV again cost, against recomputing everything, on questions of the corpus.

A question gives the beginnings of sentences and wants them completed; its answer is the rest of
them, word for word. One kind takes a sentence from one document; the other takes one from each of
two, and its second half needs a document that KV computed apart has never seen next to the first.
At every token of the answer the distribution of the next token is compared with the one of a full
run (KL divergence, nats), the answer being the true one, not what was generated (teacher forcing):
one early difference would otherwise hide or blow up all that comes after it.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pywasm.answer_prompt import PromptTokens
from pywasm.kv_arena import I32, Sequence
from pywasm.kv_record import F32, Bits, Kv, pack, unpack
from pywasm.manifest import ModeLoss

Mode = Literal["exact", "shipped", "linked"]
# From here on, in nats a token, the mean loss of a mode is too much. A distribution with this KL
# from the full run's has a total variation distance of at most 22 % from it (Pinsker).
LARGEST_KL = 0.1
RECOMPUTED = 16  # tokens at the beginning of a linked document: attention sinks form there
_GIVEN_WORDS = 5  # of a sentence
_LEAST_WORDS = 10
_ANSWER_TOKENS = 6  # of each sentence's rest
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]")


@dataclass(frozen=True)
class Passage:
    """A chunk: its tokens, and a sentence of it as (what a question gives, the rest)."""

    tokens: I32
    given: str
    rest: str


@dataclass(frozen=True)
class Question:
    """A prompt behind the system segment: documents in order, then question and opening, then what
    the model is to say."""

    documents: tuple[I32, ...]
    question: I32
    answer: I32


def cloze(text: str) -> tuple[str, str] | None:
    """The middlemost long enough sentence of `text`, divided; None where there is none."""
    sentences = [found[0].split() for found in _SENTENCE.finditer(text)]
    good = [words for words in sentences if len(words) >= _LEAST_WORDS]
    if not good:
        return None
    words = good[len(good) // 2]
    return " ".join(words[:_GIVEN_WORDS]), " ".join(words[_GIVEN_WORDS:])


def questions(
    passages: list[Passage], tokens: PromptTokens, ids: Callable[[str], I32], two: bool
) -> list[Question]:
    """One for each passage, or, with `two`, for each pair of neighbours in the list."""
    made: list[Question] = []
    for number, passage in enumerate(passages):
        asked = (passage, passages[number - 1]) if two else (passage,)
        wanted = " ".join(f'"{one.given}"' for one in asked)
        said = [
            np.concatenate((ids(one.given), ids(f" {one.rest}")[:_ANSWER_TOKENS])) for one in asked
        ]
        made.append(
            Question(
                documents=tuple(one.tokens for one in asked),
                question=np.concatenate(
                    (tokens.question(f"how do these sentences go on: {wanted}"), tokens.answer())
                ),
                answer=np.concatenate(said),
            )
        )
    return made


@dataclass(frozen=True)
class Way:
    """A mode, and the bits of a number in the KV it takes from elsewhere; 16: as the arena's."""

    mode: Mode
    bits: Bits | Literal[16]


# Every mode that a browser has.
WAYS = (Way("exact", 16), Way("shipped", 8), Way("shipped", 4), Way("linked", 16))


class LossMeter:
    """Runs questions in each way behind one system segment, which is computed once."""

    def __init__(self, sequence: Sequence, system: I32) -> None:
        self._sequence = sequence
        self._system = len(system)
        sequence.prefill(system, 0)

    def measure(
        self, one: list[Question], two: list[Question], on_question: Callable[[], None]
    ) -> list[ModeLoss]:
        """Each way's loss on questions that need one document and on those that need two."""
        means = [self._means(asked, on_question) for asked in (one, two)]
        return [
            ModeLoss(
                mode=way.mode,
                bits=way.bits,
                questions=len(one),
                kl_one=kl_one,
                kl_two=kl_two,
                same_one=same_one,
                same_two=same_two,
                allowed=max(kl_one, kl_two) <= LARGEST_KL,
            )
            for way, (kl_one, same_one), (kl_two, same_two) in zip(WAYS, *means, strict=True)
        ]

    def _means(
        self, asked: list[Question], on_question: Callable[[], None]
    ) -> list[tuple[float, float]]:
        """For each way KL and share of equal most probable tokens, over all answers' tokens."""
        losses: list[list[float]] = [[] for _ in WAYS]
        same: list[list[bool]] = [[] for _ in WAYS]
        for question in asked:
            self._full(question)
            full = list(self._answer(question))
            parts = [self._apart(document) for document in question.documents]
            for number, way in enumerate(WAYS):
                self._reused(question, parts, way)
                for left, right in zip(full, self._answer(question), strict=True):
                    losses[number].append(divergence(left, right))
                    same[number].append(int(left.argmax()) == int(right.argmax()))
            on_question()
        return [
            (round(float(np.mean(loss)), 6), round(float(np.mean(equal)), 4))
            for loss, equal in zip(losses, same, strict=True)
        ]

    def _full(self, question: Question) -> None:
        at = self._system
        for document in question.documents:
            self._sequence.prefill(document, at)
            at += len(document)

    def _reused(self, question: Question, parts: list[Kv], way: Way) -> None:
        """Puts the documents' KV into the arena as a browser would; `parts` were computed apart."""
        at = self._system
        for number, (document, part) in enumerate(zip(question.documents, parts, strict=True)):
            end = at + len(document)
            if way.mode == "linked" and number:
                self._sequence.write(at, self._sequence.moved(part, at - self._system))
                self._sequence.prefill(document[:RECOMPUTED], at)
            elif number:  # behind a first document that was not computed here
                self._sequence.prefill(document, at)
            elif way.bits != 16:
                self._sequence.write(at, compressed(self._sequence, part, at, way.bits))
            else:
                self._sequence.write(at, part)
            at = end

    def _apart(self, document: I32) -> Kv:
        """Computed directly behind the system segment."""
        self._sequence.prefill(document, self._system)
        return self._sequence.read(self._system, self._system + len(document))

    def _answer(self, question: Question) -> Iterator[F32]:
        """Distributions of each token of the answer's, as logits; the documents are there."""
        at = self._system + sum(map(len, question.documents))
        yield self._sequence.logits(question.question, at)
        at += len(question.question)
        for place in range(len(question.answer) - 1):
            yield self._sequence.logits(question.answer[place : place + 1], at + place)


def compressed(sequence: Sequence, kv: Kv, start: int, bits: Bits) -> Kv:
    """What is left of `kv`, at positions `start` and on, once it has been a record."""
    data = pack(sequence.unturned(kv, start), bits)
    return sequence.turned(unpack(data, sequence.shape, kv.tokens, bits), start)


def divergence(full: F32, other: F32) -> float:
    """KL(full || other), nats, of two f32[vocabulary] of logits."""
    left, right = _log_softmax(full), _log_softmax(other)
    return max(0.0, float(np.sum(np.exp(left) * (left - right))))


def _log_softmax(logits: F32) -> npt.NDArray[np.float64]:
    shifted = logits.astype(np.float64) - float(logits.max())
    return np.asarray(shifted - np.log(np.exp(shifted).sum()), np.float64)
