"""The encoder that a site carries for typed queries: compiled, checked against the index, written.

The index was built from embeddings that onnxruntime made; a visitor's browser makes those of
queries by the compiled plan. Before anything is written the plan is run under wasmtime on texts
of the corpus, and has to give their vectors again.
"""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

import pywasm_jit
from pywasm.cache_dir import cache_dir
from pywasm.compile import compile as compiler
from pywasm.compile.compile import Compiled, compile_model
from pywasm.compile.loss import ndcg_at_10, row_cosines
from pywasm.compile.plan_types import FILE_NAME, Numeric, PlanFile, PlanModule
from pywasm.compile.run import read_file, read_plan
from pywasm.corpus import Corpus
from pywasm.documents import F32, Notes
from pywasm.encoder import Encoder, EncoderFiles
from pywasm.errors import UserError
from pywasm.manifest import CompiledEncoder, FileInfo, TunerInfo
from pywasm.plan import SEED
from pywasm.progress import Reporter, Stage

EncoderWeights = Literal["auto", "f32", "int8", "none"]

FOLDER = "encoder"
LARGEST_LOSS = 0.01  # of nDCG@10: from here on int8 is not chosen by itself
# Least cosine between the vector of a text in the index and the plan's.
_LEAST_COSINE: dict[Literal["f32", "int8"], float] = {"f32": 0.9999, "int8": 0.95}
_GIVEN_COSINE = 0.9  # on average, between vectors that were given and the encoder's own
_CHECK_TEXTS = 16
_QUERIES = 512
_QUERY_WORDS = 8
_DOCUMENTS = 20_000
_BATCH = 64


@dataclass(frozen=True)
class SiteEncoder:
    """A plan that agrees with the index. `ndcg` of queries made by it, `ndcg_f32` by the model."""

    compiled: Compiled
    cosine: float
    ndcg: float | None
    ndcg_f32: float | None

    def write(self, site: Path, tuner: TunerInfo | None) -> CompiledEncoder:
        """Into SITE/encoder/, plan.json last; what the manifest says of it, `tuner` beside it."""
        folder = site / FOLDER
        self.compiled.write(folder)
        plan = self.compiled.plan
        names = [*sorted(self.compiled.files), FILE_NAME]
        return CompiledEncoder(
            plan=f"{FOLDER}/{FILE_NAME}",
            weights=plan.weights_dtype,
            files=[_file_info(site, folder / name) for name in names],
            visit_bytes=plan.weights.bytes
            + plan.text_encoder().tokenizer.bytes
            + max(module.bytes for module in plan.modules)
            + (folder / FILE_NAME).stat().st_size,
            cosine=self.cosine,
            ndcg=self.ndcg,
            ndcg_f32=self.ndcg_f32,
            tuner=tuner,
        )


def remove_encoder(site: Path) -> None:
    """What SiteEncoder.write made."""
    folder = site / FOLDER
    if (folder / FILE_NAME).is_file():
        shutil.rmtree(folder)


def make_site_encoder(
    weights: EncoderWeights,
    encoder: Encoder,
    files: EncoderFiles,
    corpus: Corpus,
    given: bool,
    notes: Notes,
    reporter: Reporter,
) -> SiteEncoder | None:
    """None where none is wanted or, with "auto", none can be had; a note says why.

    `given`: the vectors were not made by `encoder` in this build. Raises UserError where weights
    that were asked for by name can't be made.
    """
    if weights == "none":
        return None
    if given and (doubt := _doubt(encoder, corpus)):
        notes.warn(doubt)
        if weights == "auto":
            return None
    tries: list[Literal["f32", "int8"]] = ["int8", "f32"] if weights == "auto" else [weights]
    with reporter.stage("compiling the encoder", None) as stage:
        for dtype in tries:
            try:
                made = _make(dtype, encoder, files, corpus, given, stage)
            except UserError as error:
                if weights != "auto":
                    raise
                notes.warn(f"encoder in {dtype}: {error}")
                continue
            if weights == "auto" and made.ndcg is not None and made.ndcg_f32:
                loss = 1 - made.ndcg / made.ndcg_f32
                if loss > LARGEST_LOSS:
                    notes.warn(f"encoder in int8: loses {loss:.1%} of nDCG@10; f32 is taken")
                    continue
            return made
    notes.warn("typed queries find words only: the site carries no encoder")
    return None


def _make(
    dtype: Literal["f32", "int8"],
    encoder: Encoder,
    files: EncoderFiles,
    corpus: Corpus,
    given: bool,
    stage: Stage,
) -> SiteEncoder:
    compiled = compiled_encoder(files, dtype)
    stage.advance()
    cosine = _check(compiled, dtype, encoder, corpus, given)
    stage.advance()
    ndcg = ndcg_f32 = None
    if dtype != "f32":
        ndcg, ndcg_f32 = _retrieval(compiled, encoder, corpus)
    stage.advance()
    return SiteEncoder(compiled, cosine, ndcg, ndcg_f32)


def compiled_encoder(files: EncoderFiles, dtype: Literal["f32", "int8"]) -> Compiled:
    """From the cache, where this compiler has compiled this encoder before."""
    name = f"{files.sha256[:20]}-{dtype}"
    folder = cache_dir() / "compiled" / f"{name}-{_fingerprint(files)}"
    try:
        plan = read_plan(folder)
        wanted: list[PlanFile | PlanModule] = [*plan.weights.shards, *plan.modules]
        wanted += [plan.text_encoder().tokenizer, *([plan.wgsl] if plan.wgsl else [])]
        return Compiled(plan, {info.file: read_file(folder, info) for info in wanted})
    except UserError:  # not there, or damaged
        pass
    compiled = compile_model(files, dtype)
    compiled.write(folder)
    for other in folder.parent.glob(f"{name}-*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    return compiled


def _fingerprint(files: EncoderFiles) -> str:
    """Of what a plan depends on beside the model's own files: the compiler, the configuration."""
    digest = hashlib.sha256(repr((files.name, files.model.name, files.config)).encode())
    for source in compiler_sources():
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def compiler_sources() -> list[Path]:
    """The files that decide what a model is compiled to."""
    roots = (Path(compiler.__file__).parent, Path(pywasm_jit.__file__).parent)
    return [file for root in roots for file in sorted(root.rglob("*.py"))]


def _check(
    compiled: Compiled,
    dtype: Literal["f32", "int8"],
    encoder: Encoder,
    corpus: Corpus,
    given: bool,
) -> float:
    """The least cosine between the index's vectors and the plan's, in both numeric classes."""
    rows, texts = _sample(corpus, _CHECK_TEXTS)
    assert corpus.vectors is not None
    wanted = encoder.embed_documents(texts) if given else np.asarray(corpus.vectors[rows])
    least = 1.0
    numerics: tuple[Numeric, ...] = ("fused", "separate")
    for numeric in numerics:
        cosines = row_cosines(compiled.encoder(numeric).embed_documents(texts, batch=1), wanted)
        worst = int(cosines.argmin())
        if cosines[worst] < _LEAST_COSINE[dtype]:
            raise UserError(
                f"{encoder.name}: compiled in {dtype} it does not give the vectors of the index: "
                f"cosine {cosines[worst]:.4f}, expected {_LEAST_COSINE[dtype]} or more, for "
                f"{texts[worst][:60]!r}"
            )
        least = min(least, float(cosines[worst]))
    return round(least, 6)


def _doubt(encoder: Encoder, corpus: Corpus) -> str | None:
    """What speaks against vectors that were given being this encoder's of their texts."""
    rows, texts = _sample(corpus, _CHECK_TEXTS)
    if not texts:
        return "vectors without texts: not checked against the encoder"
    assert corpus.vectors is not None
    mean = float(row_cosines(encoder.embed_documents(texts), corpus.vectors[rows]).mean())
    if mean >= _GIVEN_COSINE:
        return None
    return (
        f"the vectors are not those that {encoder.name} gives for their texts (cosine {mean:.2f} "
        f"on average, expected {_GIVEN_COSINE} or more)"
    )


def _sample(corpus: Corpus, count: int) -> tuple[list[int], list[str]]:
    """Rows of the spool that have a text, drawn evenly, and what was embedded of them."""
    random = np.random.default_rng(SEED + 7)
    chosen = random.permutation(corpus.keep)[: 4 * count]
    rows = [int(row) for row in chosen if corpus.spool[int(row)].text.strip()][:count]
    return rows, [corpus.spool[row].embedded_text() for row in rows]


def _retrieval(compiled: Compiled, encoder: Encoder, corpus: Corpus) -> tuple[float, float]:
    """nDCG@10 of queries by the plan and by the model in f32.

    A query is a stretch of a few words from the middle of a passage, which it has to find among
    all (or a sample of 20,000): the inverse cloze task (Lee, Chang and Toutanova, ACL 2019).
    """
    random = np.random.default_rng(SEED + 8)
    documents = random.permutation(corpus.keep)[:_DOCUMENTS]
    places: list[int] = []
    texts: list[str] = []
    for place, row in enumerate(documents):
        words = corpus.spool[int(row)].text.split()
        if len(words) < _QUERY_WORDS:
            continue
        first = int(random.integers(len(words) - _QUERY_WORDS + 1))
        places.append(place)
        texts.append(" ".join(words[first : first + _QUERY_WORDS]))
        if len(texts) == _QUERIES:
            break
    if not texts:
        return 1.0, 1.0
    assert corpus.vectors is not None
    vectors = _unit(np.asarray(corpus.vectors[documents], np.float32))
    relevant = np.array(places)
    plan = compiled.encoder("fused")

    def score(queries: F32) -> float:
        parts = [
            ndcg_at_10(queries[first : first + _BATCH], vectors, relevant[first : first + _BATCH])
            * len(queries[first : first + _BATCH])
            for first in range(0, len(queries), _BATCH)
        ]
        return round(sum(parts) / len(queries), 4)

    return score(_unit(plan.embed_queries(texts))), score(_unit(encoder.embed_queries(texts)))


def _unit(vectors: F32) -> F32:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: F32 = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return unit


def _file_info(site: Path, file: Path) -> FileInfo:
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    path = file.relative_to(site).as_posix()
    return FileInfo(file=path, bytes=file.stat().st_size, sha256=digest)
