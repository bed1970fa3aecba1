"""`pywasm build --kv`: which chunks' KV a site ships, what that costs, and the files of it."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from pywasm.answer_prompt import PromptTokens
from pywasm.cache_dir import cache_dir
from pywasm.corpus import Corpus
from pywasm.documents import F32, Notes
from pywasm.errors import UserError
from pywasm.kv_arena import I32, Sequence
from pywasm.kv_choice import choose, expected_use
from pywasm.kv_compute import Chunk, KvComputer
from pywasm.kv_loss import LARGEST_KL, LossMeter, Passage, cloze, questions
from pywasm.kv_record import Bits, record_bytes
from pywasm.kv_shards import KvRecord, write_kv
from pywasm.manifest import ModeLoss, ShippedKv
from pywasm.plan import SEED
from pywasm.progress import Reporter
from pywasm.shards import replace_file
from pywasm.site_generator import SiteGenerator

KvChoice = Literal["none", "hot", "all"]
DEFAULT_MB = 32
_BITS: tuple[Bits, ...] = (4, 8)
_QUESTIONS = 4  # of each kind
_CANDIDATES = 64  # chunks in which they are looked for
_PROBE = "What does this document say?"


@dataclass
class SiteKv:
    """What was measured and computed; records lie in the cache until write()."""

    losses: list[ModeLoss]
    identity: str
    system_tokens: int
    computer: KvComputer
    chunks: list[Chunk] = field(default_factory=list)

    def write(self, site: Path, reporter: Reporter) -> ShippedKv | None:
        """Shards and index into SITE/kv/; None where no chunk is to be shipped."""
        if not self.chunks:
            return None
        with reporter.stage("writing KV", len(self.chunks)) as stage:
            return write_kv(site, self.identity, self.system_tokens, self._records(), stage.advance)

    def _records(self) -> Iterator[KvRecord]:
        for chunk in self.chunks:
            record = self.computer.record(chunk)
            if record is not None:
                yield record


def make_site_kv(
    generator: SiteGenerator,
    sequence: Sequence,
    choice: KvChoice | None,
    limit_mb: int,
    corpus: Corpus,
    suggestions: F32,
    notes: Notes,
    reporter: Reporter,
) -> SiteKv:
    """Measures what each mode loses on this corpus, then computes the KV of the chosen chunks.

    `choice` None is "hot" where its loss is allowed. `suggestions`: vectors of the questions that
    the page offers, f32[questions, dim]. Raises UserError where KV that was asked for loses too
    much.
    """
    tokens = generator.tokens()
    system = tokens.system()
    documents = _Documents(corpus, tokens)
    losses = _losses(generator, sequence, system, tokens, documents, reporter)
    allowed = {loss.bits for loss in losses if loss.mode == "shipped" and loss.allowed}
    bits: tuple[Bits, ...] = tuple(one for one in _BITS if one in allowed)
    made = SiteKv(
        losses=losses,
        identity=generator.identity,
        system_tokens=len(system),
        computer=KvComputer(sequence, generator.identity, system, bits),
    )
    if choice == "none":
        return made
    if not losses:
        notes.warn("too few sentences to measure what KV loses; none is shipped")
        return made
    if not bits:
        worst = min(max(one.kl_one, one.kl_two) for one in losses if one.mode == "shipped")
        problem = (
            f"KV of {generator.plan.name} in 8 bits changes what it answers: KL {worst:.3f} nats, "
            f"at most {LARGEST_KL} is allowed"
        )
        if choice is not None:
            raise UserError(f"{problem}; build with --kv none")
        notes.warn(f"{problem}; no KV is shipped")
        return made
    rows, sizes = documents.sizes(sequence, bits[0], len(system))
    if not rows or corpus.vectors is None:
        return made
    vectors = np.asarray(corpus.vectors[corpus.keep[rows]], np.float32)
    limit = None if choice == "all" else limit_mb * 1_000_000
    use = expected_use(_unit(vectors), _unit(suggestions), SEED)
    chosen = choose(use, np.array(sizes), limit)
    total = sum(sizes[place] for place in chosen)
    reporter.console.print(
        f"KV of {len(chosen):,} of {len(corpus.keep):,} passages: {total / 1e6:,.1f} MB in "
        f"{bits[0]} bits, asked for first by {sum(use[chosen]):.0%} of the questions expected",
        highlight=False,
    )
    with reporter.stage("computing KV", len(chosen)) as stage:
        left = limit
        for place in chosen:
            chunk = documents.chunk(int(rows[place]))
            record = made.computer.record(chunk)
            stage.advance()
            if record is None:
                notes.count("chunks whose KV can't be compressed")
                continue
            if left is not None:  # some take more bits than was expected
                if len(record.data) > left:
                    continue
                left -= len(record.data)
            made.chunks.append(chunk)
    return made


class _Documents:
    """The corpus's rows as document segments."""

    def __init__(self, corpus: Corpus, tokens: PromptTokens) -> None:
        self._corpus = corpus
        self._tokens = tokens

    def segment(self, row: int) -> I32:
        spooled = self._corpus.spool[int(self._corpus.keep[row])]
        return self._tokens.document(spooled.title, spooled.text)

    def chunk(self, row: int) -> Chunk:
        """With questions by its title and by nothing that it says."""
        title = self._corpus.spool[int(self._corpus.keep[row])].title
        answer = self._tokens.answer()
        asked = dict.fromkeys((f"What is {title}?" if title else _PROBE, _PROBE))
        probes = tuple(np.concatenate((self._tokens.question(one), answer)) for one in asked)
        return Chunk(self.segment(row), probes)

    def sizes(self, sequence: Sequence, bits: Bits, system: int) -> tuple[list[int], list[int]]:
        """(rows, bytes of their records), of rows that leave half of the context for the rest."""
        rows: list[int] = []
        sizes: list[int] = []
        for row in range(len(self._corpus.keep)):
            count = len(self.segment(row))
            if 0 < count <= sequence.limit // 2 - system:
                rows.append(row)
                sizes.append(record_bytes(sequence.shape, count, bits))
        return rows, sizes

    def passages(self, most: int) -> list[Passage]:
        """Rows with a sentence that can be asked for, drawn evenly."""
        order = np.random.default_rng(SEED + 9).permutation(len(self._corpus.keep))
        found: list[Passage] = []
        for row in order[:_CANDIDATES]:
            spooled = self._corpus.spool[int(self._corpus.keep[row])]
            parts = cloze(spooled.text)
            if parts is not None:
                found.append(Passage(self.segment(int(row)), *parts))
            if len(found) == _QUESTIONS:
                break
        return found[:most]


def _losses(
    generator: SiteGenerator,
    sequence: Sequence,
    system: I32,
    tokens: PromptTokens,
    documents: _Documents,
    reporter: Reporter,
) -> list[ModeLoss]:
    """Measured, or as measured before with the same model on the same questions."""
    passages = documents.passages(_QUESTIONS)
    if len(passages) < 2:
        return []
    tokenizer = generator.tokenizer()

    def ids(text: str) -> I32:
        return np.array(tokenizer.encode(text, add_special_tokens=False).ids, np.int32)

    one = questions(passages, tokens, ids, two=False)
    two = questions(passages, tokens, ids, two=True)
    longest = max(sum(map(len, q.documents)) + len(q.question) + len(q.answer) for q in two)
    if len(system) + longest > sequence.limit:
        return []
    asked = hashlib.sha256(generator.identity.encode() + system.tobytes())
    for question in (*one, *two):
        for part in (*question.documents, question.question, question.answer):
            asked.update(part.tobytes())
    file = cache_dir() / "kv" / f"loss-{asked.hexdigest()[:20]}.json"
    try:
        return [ModeLoss.model_validate(loss) for loss in json.loads(file.read_bytes())]
    except (OSError, ValueError):  # not there, or damaged
        pass
    with reporter.stage("measuring what KV loses", len(one) + len(two)) as stage:
        losses = LossMeter(sequence, system).measure(one, two, stage.advance)
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, json.dumps([loss.model_dump() for loss in losses]).encode())
    return losses


def _unit(vectors: F32) -> F32:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: F32 = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return unit
