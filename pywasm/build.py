"""From a source to a site: read, embed, index, measure, write, switch."""

import base64
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pywasm import __version__
from pywasm._abi import PAGE_BYTES, PAGES_PER_SHARD
from pywasm.assets import copy_bundle
from pywasm.cache_dir import cache_dir
from pywasm.corpus import Corpus, OnDuplicate, check_vectors, chunk_limits, read_corpus
from pywasm.documents import Notes, Source
from pywasm.embedding import embed_corpus
from pywasm.encoder import Encoder, EncoderFiles, find_encoder, open_files
from pywasm.engine_instance import ENGINE_WASM
from pywasm.errors import UserError
from pywasm.index_build import BuiltIndex, GivenGraph, IndexInput
from pywasm.kv_site import DEFAULT_MB, KvChoice
from pywasm.manifest import CompiledEncoder, EncoderInfo, LicenceInfo, Manifest, Suggestion
from pywasm.models import DEFAULT
from pywasm.plan import Dtype, Kind, Metric
from pywasm.planner import PlanRequest, plan_and_build
from pywasm.progress import Reporter
from pywasm.python_docs import SUGGESTIONS
from pywasm.shards import kept_shards, page_stream, previous_manifest, switch, write_shards
from pywasm.site_answers import SiteAnswers, make_site_answers, remove_answers
from pywasm.site_encoder import EncoderWeights, SiteEncoder, make_site_encoder, remove_encoder
from pywasm.site_generator import NONE
from pywasm.site_tuner import check_address, remove_tuner, write_tuner
from pywasm.sources import SourceOptions, open_source, watched_paths
from pywasm.sources_hnswlib import HnswlibSource
from pywasm.suggestions import given_suggestions, titles_to_suggest, with_vectors
from pywasm.watch import snapshot, wait_for_change

_CHECK_ROWS = 8192


@dataclass(frozen=True)
class BuildOptions:
    """What `pywasm build` was asked for; 'auto' and None leave it to pywasm."""

    source: Path | None
    site: Path
    source_options: SourceOptions = field(default_factory=SourceOptions)
    on_duplicate: OnDuplicate = "error"
    skip_bad_vectors: bool = False
    encoder: str = ""
    encoder_weights: EncoderWeights = "auto"
    tune: bool = True
    pyodide_url: str = ""
    generator: str = NONE
    kv: KvChoice | None = None
    kv_mb: int = DEFAULT_MB
    chunk_tokens: int | None = None
    chunk_overlap: int | None = None
    keyword: bool = True
    language: str = ""
    suggest: tuple[str, ...] = ()
    index: Kind | str = "auto"
    metric: Metric = "cosine"
    dtype: Dtype | str = "auto"
    code_bits: int | None = None
    clusters: int | None = None
    m: int = 16
    ef_construction: int = 100
    title: str = ""
    bundle: bool = True
    threads: int = 0


def build_site(options: BuildOptions, reporter: Reporter) -> dict[str, object]:
    """Builds and switches to the new generation; what there is to tell of it.

    Raises UserError. Interrupted at any point, the site is as it was before.
    """
    started = time.perf_counter()
    notes = Notes()
    if options.site.exists() and not options.site.is_dir():
        raise UserError(f"{options.site}: is a file; choose a folder for the site with -o")
    if not ENGINE_WASM.is_file():
        raise UserError(
            f"{ENGINE_WASM}: the engine is not built; run `make build` in a checkout of pywasm"
        )
    if options.pyodide_url:
        check_address(options.pyodide_url)
    with reporter.running(), _work_folder(options.site) as work:
        source = open_source(options.source, options.source_options)
        files, encoder = _encoder(options, source, reporter)
        limits = (
            chunk_limits(encoder, options.chunk_tokens, options.chunk_overlap)
            if encoder is not None and source.dim is None
            else None
        )
        corpus = read_corpus(source, encoder, limits, work, options.on_duplicate, notes, reporter)
        try:
            result = _build(options, source, files, encoder, corpus, work, notes, reporter)
        finally:
            corpus.spool.close()
    seconds = round(time.perf_counter() - started, 1)
    return {**result, "seconds": seconds, "counts": notes.counts, "warnings": notes.warnings}


def _build(
    options: BuildOptions,
    source: Source,
    files: EncoderFiles | None,
    encoder: Encoder | None,
    corpus: Corpus,
    work: Path,
    notes: Notes,
    reporter: Reporter,
) -> dict[str, object]:
    if not len(corpus.keep):
        raise UserError(
            f"{options.source or 'the source'}: nothing to index: "
            f"{notes.counts.get('empty documents', 0):,} documents, all empty"
        )
    embedded = reused = 0
    if source.dim is None and encoder is not None:
        embedded, reused = embed_corpus(corpus, encoder, work, reporter)
    _check(corpus, options, notes)
    assert corpus.vectors is not None  # given or embedded
    compiled = None
    if encoder is not None and files is not None:
        given = source.dim is not None
        compiled = make_site_encoder(
            options.encoder_weights, encoder, files, corpus, given, notes, reporter
        )
    graph = None
    if isinstance(source, HnswlibSource):
        graph = GivenGraph(source.graph, source.elements)
    built = plan_and_build(
        IndexInput(
            corpus=corpus,
            vectors=corpus.vectors,
            keyword=options.keyword and source.has_text,
            work=work,
            graph=graph,
        ),
        PlanRequest(
            kind=options.index,
            metric=options.metric,
            dtype=options.dtype,
            code_bits=options.code_bits,
            clusters=options.clusters,
            m=options.m if graph is None else graph.index.m,
            ef_construction=options.ef_construction,
        ),
        reporter,
    )
    suggestions = _suggestions(options, encoder, corpus)
    answers = make_site_answers(
        options.generator, options.kv, options.kv_mb, corpus, suggestions, notes, reporter
    )
    parts = _Parts(source, encoder, compiled, answers, suggestions, corpus, built)
    manifest = _write(options, parts, notes, reporter)
    in_site = manifest.encoder.compiled if manifest.encoder else None
    tuner = in_site.tuner if in_site else None
    return {
        "site": str(options.site),
        "title": manifest.title,
        "documents": manifest.documents,
        "rows": manifest.rows,
        "embedded": embedded,
        "reused": reused,
        "kind": manifest.kind,
        "dtype": manifest.dtype,
        "code_bits": manifest.code_bits,
        "clusters": manifest.clusters,
        "recall": built.recall,
        "generation": manifest.generation,
        "bytes": sum(shard.bytes for shard in manifest.shards),
        "resident_bytes": manifest.memory["resident_bytes"],
        "encoder": in_site.model_dump(exclude={"files", "tuner"}) if in_site else None,
        "tuner_bytes": sum(file.bytes for file in tuner.files) if tuner else 0,
        "answers": manifest.answers.model_dump(exclude={"files", "prompt"})
        if manifest.answers
        else None,
        "trials": built.trials,
    }


def _encoder(
    options: BuildOptions, source: Source, reporter: Reporter
) -> tuple[EncoderFiles, Encoder] | tuple[None, None]:
    """None for vectors that come without the name of the encoder that made them."""
    if source.dim is not None and not options.encoder:
        return None, None
    with reporter.stage("loading the encoder", 1) as stage:
        files = find_encoder(options.encoder or DEFAULT)
        encoder = open_files(files, options.threads)
        stage.advance()
    if source.dim is not None and source.dim != encoder.dim:
        raise UserError(
            f"encoder {encoder.name} gives {encoder.dim} dimensions, the vectors of "
            f"{options.source} have {source.dim}"
        )
    return files, encoder


def _check(corpus: Corpus, options: BuildOptions, notes: Notes) -> None:
    """No vector that can't be searched; leaves them out where that is asked for."""
    assert corpus.vectors is not None
    good = np.ones(len(corpus.keep), np.bool_)
    for first in range(0, len(corpus.keep), _CHECK_ROWS):
        rows = corpus.keep[first : first + _CHECK_ROWS]
        part, what = check_vectors(corpus.vectors[rows], options.metric == "cosine")
        good[first : first + len(rows)] = part
        if what and not options.skip_bad_vectors:
            row = int(rows[np.flatnonzero(~part)[0]])
            raise UserError(
                f"{options.source}: row {row} (id {corpus.spool[row].id!r}): the vector has "
                f"{what}; mend it, or leave such rows out with --skip-bad-vectors"
            )
    dropped = int((~good).sum())
    if dropped:
        notes.count("bad vectors", dropped)
        corpus.select(good)
        if not len(corpus.keep):
            raise UserError(f"{options.source}: no good vector in it")


@dataclass(frozen=True)
class _Parts:
    """All that goes into a site."""

    source: Source
    encoder: Encoder | None
    compiled: SiteEncoder | None
    answers: SiteAnswers | None
    suggestions: list[Suggestion]
    corpus: Corpus
    built: BuiltIndex


def _write(options: BuildOptions, parts: _Parts, notes: Notes, reporter: Reporter) -> Manifest:
    site, corpus, built, compiled = options.site, parts.corpus, parts.built, parts.compiled
    title = options.title or parts.source.title
    previous = previous_manifest(site)
    total = sum(file.stat().st_size for file in built.sections.values())
    with reporter.stage("writing shards", total // PAGE_BYTES) as stage:
        shards = write_shards(
            site, page_stream(built.sections), lambda size: stage.advance(size // PAGE_BYTES)
        )
    assets = []
    if options.bundle:
        assets = copy_bundle(site, title, options.language, compiled is not None, previous, notes)
    tuner = None
    if compiled is not None and options.tune and (options.bundle or options.pyodide_url):
        tuner = write_tuner(site, options.pyodide_url)
    in_site = compiled.write(site, tuner) if compiled else None
    answers = parts.answers.write(site, reporter) if parts.answers else None
    identity = hashlib.sha256(built.head)
    for shard in shards:
        identity.update(bytes.fromhex(shard.sha256))
    manifest = Manifest(
        pywasm_version=__version__,
        title=title,
        language=options.language,
        generation=identity.hexdigest()[:20],
        rows=len(corpus.keep),
        documents=corpus.documents,
        kind=built.plan.kind,
        dim=corpus.vectors.shape[1] if corpus.vectors is not None else 0,
        metric=built.plan.metric,
        dtype=built.plan.dtype,
        code_bits=built.plan.code_bits,
        clusters=built.plan.clusters,
        columns=[column.info for column in corpus.columns],
        encoder=_encoder_info(parts.encoder, in_site),
        answers=answers,
        licences=_licences(parts),
        suggestions=parts.suggestions,
        page_bytes=PAGE_BYTES,
        pages_per_shard=PAGES_PER_SHARD,
        shards=shards,
        head=base64.b64encode(built.head).decode(),
        keyword=built.keyword,
        memory=built.memory(),
        assets=assets,
        previous=kept_shards(previous, shards),
    )
    switch(site, manifest)
    if compiled is None:
        remove_encoder(site)
    if tuner is None:
        remove_tuner(site)
    remove_answers(site, answers)
    return manifest


def _encoder_info(encoder: Encoder | None, compiled: CompiledEncoder | None) -> EncoderInfo | None:
    if encoder is None:
        return None
    config = encoder.config
    return EncoderInfo(
        name=encoder.name,
        dim=encoder.dim,
        pooling=config.pooling,
        normalize=config.normalize,
        query_prefix=config.query_prefix,
        document_prefix=config.document_prefix,
        max_tokens=config.max_tokens,
        licence=config.licence,
        sha256=encoder.sha256,
        compiled=compiled,
    )


def _licences(parts: _Parts) -> list[LicenceInfo]:
    encoder = parts.encoder
    licences = [LicenceInfo(of=of, name=name, url=url) for of, name, url in parts.source.licences]
    if encoder is not None and encoder.config.licence:
        licences.append(
            LicenceInfo(
                of=f"encoder {encoder.name}", name=encoder.config.licence, url=encoder.config.url
            )
        )
    if parts.answers is not None and (plan := parts.answers.generator.plan).licence:
        licences.append(
            LicenceInfo(of=f"language model {plan.name}", name=plan.licence, url=plan.url)
        )
    return licences


def _suggestions(
    options: BuildOptions, encoder: Encoder | None, corpus: Corpus
) -> list[Suggestion]:
    if encoder is None:
        if options.suggest:
            raise UserError("--suggest needs the encoder that made the vectors; add --encoder")
        return []
    if options.suggest:
        texts = given_suggestions(list(options.suggest))
    elif options.source_options.python_docs:
        texts = list(SUGGESTIONS)
    else:
        texts = titles_to_suggest(corpus)
    return with_vectors(texts, encoder) if texts else []


@contextmanager
def _work_folder(site: Path) -> Iterator[Path]:
    """A folder in the cache for what a build spools; what a killed build left there is removed."""
    name = hashlib.sha256(str(site.resolve()).encode()).hexdigest()[:16]
    parent = cache_dir() / "work"
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f"{name}-*"):
        if not _alive(int(left.name.split("-")[1])):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(
        prefix=f"{name}-{os.getpid()}-", dir=parent, ignore_cleanup_errors=True
    ) as work:
        yield Path(work)


def _alive(process: int) -> bool:
    if os.name != "posix":
        return True  # os.kill would end it there; the system's own clean-up has to do
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process != os.getpid()


def watch_and_build(options: BuildOptions, reporter: Reporter) -> Iterator[dict[str, object]]:
    """Builds again whenever the source changes; a build that fails is told and waited over."""
    paths = watched_paths(options.source, options.source_options)
    before = snapshot(paths)
    reporter.console.print(f"watching {options.source} (Ctrl-C ends it)")
    while True:
        before = wait_for_change(paths, before)
        try:
            yield build_site(options, reporter)
        except UserError as error:
            reporter.console.print(f"[bold red]error:[/bold red] {error}", soft_wrap=True)
