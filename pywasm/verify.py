"""`pywasm verify`: every checksum of a site, and recall against brute force."""

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console

from pywasm._abi import PAGE_BYTES, PAGES_PER_SHARD
from pywasm.brute_force import exact_neighbours, recall
from pywasm.documents import F32
from pywasm.engine import Engine, EngineError, PageSource
from pywasm.errors import UserError
from pywasm.kv_shards import check_kv
from pywasm.manifest import Manifest, read_manifest
from pywasm.page_files import shard_pages
from pywasm.plan import SEED
from pywasm.progress import Reporter, Stage

_K = 10
_BATCH_ROWS = 2048
_CACHE_BYTES = 256 << 20  # of pages


def verify_site(site: Path, queries: int, reporter: Reporter) -> dict[str, object]:
    """Problems name file, page and offset. Recall is measured only where nothing is damaged.

    Raises UserError where there is no manifest at all.
    """
    with reporter.running():
        try:
            manifest = read_manifest(site)
        except UserError as error:
            if not (site / "manifest.json").is_file():
                raise
            return _result(site, [str(error)], 0, None)
        problems = _check_assets(site, manifest)
        if manifest.answers and manifest.answers.kv:
            problems += check_kv(site, manifest.answers.kv)
        with reporter.stage("checking shards", len(manifest.shards)) as stage:
            damaged = _check_shards(site, manifest, stage)
        engine = None
        try:
            engine = Engine.open(
                base64.b64decode(manifest.head),
                _pages(site, manifest),
                budget=manifest.memory["resident_bytes"] + _CACHE_BYTES,
            )
        except (EngineError, OSError, ValueError) as error:
            problems.append(f"{site / 'manifest.json'}: head: {error}")
        pages = 0
        if engine is not None and len(manifest.shards) * PAGES_PER_SHARD < (
            engine.info().total_pages
        ):
            problems.append(
                f"{site / 'manifest.json'}: {len(manifest.shards)} shards, too few for "
                f"{engine.info().total_pages:,} pages"
            )
        elif engine is not None:
            pages = engine.info().total_pages
            with reporter.stage("checking pages", pages) as stage:
                found = _check_pages(site, manifest, engine, stage)
            problems += found
            # A shard may be damaged where its pages are not: past the last one.
            problems += [text for file, text in damaged if not any(file in one for one in found)]
        measured = None
        if engine is not None and not problems and queries > 0 and manifest.rows > 1:
            with reporter.stage("measuring recall", manifest.rows) as stage:
                measured = _recall(engine, manifest, queries, stage)
    return _result(site, problems, pages, measured)


def _result(
    site: Path, problems: list[str], pages: int, measured: float | None
) -> dict[str, object]:
    return {"site": str(site), "problems": problems, "pages": pages, "recall@10": measured}


def _check_assets(site: Path, manifest: Manifest) -> list[str]:
    problems = []
    compiled = manifest.encoder.compiled if manifest.encoder else None
    files = [*manifest.assets, *(compiled.files if compiled else [])]
    files += compiled.tuner.files if compiled and compiled.tuner else []
    files += manifest.answers.files if manifest.answers else []
    for asset in files:
        file = site / asset.file
        if not file.is_file():
            problems.append(f"{file}: missing")
        elif hashlib.sha256(data := file.read_bytes()).hexdigest() != asset.sha256:
            problems.append(
                f"{file}: differs from what was built ({len(data):,} bytes, built {asset.bytes:,})"
            )
    return problems


def _check_shards(site: Path, manifest: Manifest, stage: Stage) -> list[tuple[str, str]]:
    """(file, what is wrong) of each damaged shard."""
    damaged = []
    for shard in manifest.shards:
        file = site / shard.file
        stage.advance()
        if not file.is_file():
            damaged.append((shard.file, f"{file}: missing"))
            continue
        size = file.stat().st_size
        if size != shard.bytes:
            damaged.append((shard.file, f"{file}: {size:,} bytes, expected {shard.bytes:,}"))
            continue
        with file.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != shard.sha256:
                damaged.append((shard.file, f"{file}: its SHA-256 is not the manifest's"))
    return damaged


def _pages(site: Path, manifest: Manifest) -> PageSource:
    return shard_pages(site, [shard.file for shard in manifest.shards])


def _check_pages(site: Path, manifest: Manifest, engine: Engine, stage: Stage) -> list[str]:
    """Every page against its checksum in the head."""
    problems = []
    sections = engine.info().sections
    for page in range(engine.info().total_pages):
        stage.advance()
        try:
            engine.put_pages([page])
        except (EngineError, OSError) as error:
            shard = manifest.shards[page // PAGES_PER_SHARD].file
            section = next(
                section.name.lower()
                for section, place in sections.items()
                if place["first_page"] <= page < place["first_page"] + place["pages"]
            )
            reason = error.strerror if isinstance(error, OSError) else str(error)
            offset = page % PAGES_PER_SHARD * PAGE_BYTES
            problems.append(f"{site / shard}: offset {offset:,} ({section}): {reason}")
    return problems


def _recall(engine: Engine, manifest: Manifest, queries: int, stage: Stage) -> float:
    """Of the usual search, with rows as queries, against all stored vectors."""
    count = min(queries, manifest.rows)
    chosen = np.random.default_rng(SEED + 3).choice(manifest.rows, count, replace=False)
    chosen.sort()
    vectors = engine.vectors(chosen.tolist())

    def batches() -> Iterator[F32]:
        for first in range(0, manifest.rows, _BATCH_ROWS):
            rows = range(first, min(first + _BATCH_ROWS, manifest.rows))
            stage.advance(len(rows))
            yield engine.vectors(rows)

    truth = exact_neighbours(
        vectors, batches(), min(_K, manifest.rows - 1), manifest.metric, exclude=chosen
    )
    found = [
        engine.search_vector(vector, _K, exclude=int(row)).rows
        for row, vector in zip(chosen, vectors, strict=True)
    ]
    return round(recall(found, truth), 4)


def print_verification(result: dict[str, object], console: Console) -> None:
    """A line a problem, or that all is well."""
    problems = result["problems"]
    assert isinstance(problems, list)
    for problem in problems:
        console.print(f"[red]damaged:[/red] {problem}", highlight=False, soft_wrap=True)
    if problems:
        console.print(
            f"{len(problems)} problems; build the site again, or copy it from where it is good"
        )
        return
    console.print(f"[green]all checksums are right[/green] ({result['pages']:,} pages)")
    if result["recall@10"] is not None:
        console.print(f"recall@10 {result['recall@10']:.3f} against brute force", highlight=False)
