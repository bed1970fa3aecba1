"""What a case is given: the browser, a server, a place for files, and where to put samples."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import shutil
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from . import data, sites
from .browsers.chromium import Chromium
from .core import Samples
from .server import Server

# What a page with little memory and a slow line asks of a large index: the codes of clusters are a
# third of what a graph holds.
SMALL = ("--index", "clusters")

PAGES = Path(__file__).resolve().parent / "pages"


class Skipped(RuntimeError):
    """A case can't be measured, and that is no failure: it says why."""


@dataclasses.dataclass
class Bench:
    """One run of any suite."""

    samples: Samples
    console: Console
    browser: Chromium
    server: Server
    work: Path  # served at /work/
    cache: Path  # kept between runs
    quick: bool
    peers: bool
    step: Callable[[str], None]  # says what is being done now

    def url(self, path: str) -> str:
        """Address of a file below `work`."""
        return f"{self.server.url}/work/{path}"

    def skipped(self, what: str, reason: str) -> None:
        """Say so, in the result too."""
        self.samples.skipped.append((what, reason))
        self.console.print(f"[yellow]{what}: skipped:[/yellow] {reason}", highlight=False)

    def failed(self, what: str, error: Exception) -> None:
        """Report it, and go on."""
        reason = "".join(traceback.format_exception_only(error)).strip()
        self.samples.failures.append((what, reason))
        self.console.print(f"[red]{what}:[/red] {reason}", highlight=False)


@dataclasses.dataclass
class Context(Bench):
    """One run of the search suite: its vectors and its sites, made when first asked for."""

    wordnet_directory: Path | None = None
    build_seconds: dict[str, float] = dataclasses.field(default_factory=dict)  # by site

    @property
    def synthetic_rows(self) -> int:
        """Rows of the in-memory cases: fewer in a quick run, as the peers' indexes take minutes."""
        return 5_000 if self.quick else 50_000

    @property
    def size(self) -> str:
        """The same in the names of cases."""
        return f"{self.synthetic_rows // 1000}k"

    @functools.cached_property
    def synthetic(self) -> data.Vectors:
        """Clustered vectors, also at /work/synthetic/{base,queries}.f32."""
        return self._serve("synthetic", data.clustered(self.synthetic_rows))

    @functools.cached_property
    def wordnet(self) -> tuple[data.Vectors, list[str]]:
        """WordNet, also at /work/wordnet/{base,queries}.f32."""
        vectors, texts = data.wordnet(self.wordnet_directory, self.cache)
        return self._serve("wordnet", vectors), texts

    def _serve(self, name: str, vectors: data.Vectors) -> data.Vectors:
        folder = self.work / name
        folder.mkdir(parents=True, exist_ok=True)
        vectors.base.tofile(folder / "base.f32")
        vectors.queries.tofile(folder / "queries.f32")
        return vectors

    def open_options(self, site: str, **options: object) -> dict[str, object]:
        """Options of engines/pywasm.js for a site below `work`."""
        module = self.url(f"{site}/pywasm/pywasm.js")
        return {"module": module, "site": self.url(f"{site}/"), "open": options}

    @functools.cached_property
    def synthetic_site(self) -> str:
        """The synthetic vectors as a site, everything left to `pywasm build`."""
        return self._build("synthetic", self.synthetic.base, None)

    @functools.cached_property
    def synthetic_fine_site(self) -> str:
        """The same with vectors of f16: int8 ones, the usual choice, end short of recall 0.99
        where neighbours lie this close together.
        """
        return self._build("synthetic-f16", self.synthetic.base, None, "--dtype", "f16")

    @functools.cached_property
    def filter_site(self) -> str:
        """The synthetic vectors with a column `bucket`: row modulo 1000 after a shuffle, so that
        `bucket < b` passes b/1000 of the rows, wherever they lie.
        """
        documents = [{"id": str(row), "bucket": int(b)} for row, b in enumerate(self.buckets)]
        return self._build("filtered", self.synthetic.base, documents)

    @functools.cached_property
    def buckets(self) -> NDArray[np.int64]:
        """i64[rows] of 0..999 for `filter_site`."""
        rows = len(self.synthetic.base)
        return np.random.default_rng(7).permutation(rows).astype(np.int64) % 1000

    @functools.cached_property
    def wordnet_site(self) -> str:
        """The WordNet vectors alone."""
        return self._build("wordnet-vectors", self.wordnet[0].base, None, *SMALL)

    @functools.cached_property
    def wordnet_text_site(self) -> str:
        """The WordNet vectors with their texts, as a visitor would find them."""
        vectors, texts = self.wordnet
        documents = ({"id": str(row), "text": text} for row, text in enumerate(texts))
        return self._build("wordnet-text", vectors.base, documents, *SMALL)

    def _build(
        self,
        name: str,
        vectors: data.Floats,
        documents: Iterable[Mapping[str, Any]] | None,
        *options: str,
    ) -> str:
        self.step(f"building the site {name} ({len(vectors):,} vectors)")
        source = sites.save(self.work / "sources" / name, vectors, documents)
        if documents is not None:
            options += ("--documents", str(source.with_name("documents.jsonl")))
        self.build_seconds[name] = sites.build(source, self.work / name, *options)
        return name


@contextlib.contextmanager
def work_folder(cache: Path) -> Iterator[Path]:
    """A folder for sites and vectors that is gone afterwards."""
    folder = cache / "work"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
