"""What a site answers questions with: its language model, and KV of its chunks."""

import base64
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pywasm.compile.plan_types import Plan
from pywasm.corpus import Corpus
from pywasm.documents import F32, Notes
from pywasm.errors import UserError
from pywasm.generator.run import NativeGenerator, open_generator
from pywasm.kv_arena import BLOCK_TOKENS, Sequence
from pywasm.kv_record import KvShape
from pywasm.kv_shards import remove_kv
from pywasm.kv_site import KvChoice, SiteKv, make_site_kv
from pywasm.manifest import Answers, Suggestion
from pywasm.progress import Reporter
from pywasm.site_generator import SiteGenerator, make_site_generator, remove_generator

_MOST_TOKENS = 4096  # of a prompt at build time: system segment, two chunks, question, answer


@dataclass(frozen=True)
class SiteAnswers:
    """Ready to be written."""

    generator: SiteGenerator
    kv: SiteKv

    def write(self, site: Path, reporter: Reporter) -> Answers:
        """Into SITE/generator/ and SITE/kv/; what the manifest says of them."""
        with reporter.stage("writing the language model", None):
            files = self.generator.write(site)
        return self.generator.answers(files, self.kv.losses, self.kv.write(site, reporter))


def make_site_answers(
    name: str,
    kv: KvChoice | None,
    kv_mb: int,
    corpus: Corpus,
    suggestions: list[Suggestion],
    notes: Notes,
    reporter: Reporter,
) -> SiteAnswers | None:
    """None for the name "none". Raises UserError."""
    generator = make_site_generator(name, reporter)
    if generator is None:
        if kv in ("hot", "all"):
            raise UserError(f"--kv {kv}: KV is a language model's; add --generator")
        return None
    sequence = open_sequence(open_generator(generator.folder), generator.folder)
    made = make_site_kv(
        generator, sequence, kv, kv_mb, corpus, _vectors(suggestions), notes, reporter
    )
    return SiteAnswers(generator, made)


def remove_answers(site: Path, keep: Answers | None) -> None:
    """What a build before this one wrote and this one has no use for."""
    if keep is None:
        remove_generator(site)
    remove_kv(site, keep.kv if keep else None)


def open_sequence(native: NativeGenerator, folder: Path) -> Sequence:
    """One sequence of the model in `folder`, in blocks from 0 on."""
    decoder = native.plan.language_model()
    native.reserve(min(decoder.context, _MOST_TOKENS) // BLOCK_TOKENS)
    shape = KvShape(decoder.layers, decoder.kv_heads, decoder.head_dim)
    cos, sin = (_weight(native.plan, folder, name) for name in ("rope.cos", "rope.sin"))
    return Sequence(native, shape, cos, sin)


def _weight(plan: Plan, folder: Path, name: str) -> F32:
    """A tensor of f32, out of the shards it lies in."""
    tensor = next(tensor for tensor in plan.weights.tensors if tensor.name == name)
    end = tensor.offset + tensor.bytes
    parts: list[bytes] = []
    first = 0
    for shard in plan.weights.shards:
        begin, stop = max(tensor.offset, first), min(end, first + shard.bytes)
        if begin < stop:
            with (folder / shard.file).open("rb") as stream:
                stream.seek(begin - first)
                parts.append(stream.read(stop - begin))
        first += shard.bytes
    return np.frombuffer(b"".join(parts), np.float32).reshape(tensor.shape)


def _vectors(suggestions: list[Suggestion]) -> F32:
    """f32[suggestions, dim]"""
    rows = [np.frombuffer(base64.b64decode(one.vector), "<f2") for one in suggestions]
    return np.array(rows, np.float32).reshape(len(rows), -1 if rows else 0)
