"""Driving the engine's builder over a corpus: train, assign, feed rows in cluster order."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from pywasm._abi import PAGE_BYTES, PwColumnType, PwDtype, PwKind, PwMetric, Section
from pywasm.columns import as_json
from pywasm.corpus import Corpus, rows_of
from pywasm.documents import F32
from pywasm.engine_build import IndexBuilder, default_clusters, training_sample
from pywasm.engine_messages import ColumnSpec, IndexConfig, RowBatch
from pywasm.hnswlib_import import HnswlibIndex, link_messages
from pywasm.manifest import ColumnInfo
from pywasm.plan import SEED, Plan
from pywasm.progress import Reporter
from pywasm.spool import SpooledRow

_BATCH_ROWS = 1024
_ASSIGN_ROWS = 8192
_SAMPLE_BYTES = 512 << 20  # of vectors that k-means sees; the engine holds them too
_METRICS = {"cosine": PwMetric.COSINE, "ip": PwMetric.INNER_PRODUCT, "l2": PwMetric.L2}


@dataclass(frozen=True)
class GivenGraph:
    """A graph made elsewhere; `elements[i]` is the element of row i of the spool."""

    index: HnswlibIndex
    elements: npt.NDArray[np.int64]


@dataclass(frozen=True)
class IndexInput:
    """The rows to index: `corpus.keep` of `vectors` f32[spool rows, dim]."""

    corpus: Corpus
    vectors: F32
    keyword: bool
    work: Path
    graph: GivenGraph | None = None

    @property
    def rows(self) -> int:
        return len(self.corpus.keep)


@dataclass
class BuiltIndex:
    """A finished index. `order[r]` is the place in `corpus.keep` of the index's row r, and
    `clusters[r]` its cluster."""

    plan: Plan
    head: bytes
    sections: dict[Section, Path]
    order: npt.NDArray[np.int64]
    clusters: npt.NDArray[np.uint32]
    keyword: bool
    recall: float | None = None
    trials: list[dict[str, object]] | None = None

    def memory(self) -> dict[str, int]:
        """For the manifest."""
        sizes = {
            f"{section.name.lower()}_bytes": self.sections[section].stat().st_size
            if section in self.sections
            else 0
            for section in Section
        }
        held = ("centroids_bytes", "codes_bytes", "columns_bytes")
        resident = sum(sizes[name] for name in held) + len(self.head)
        if self.plan.kind == "flat":
            resident += sizes["vectors_bytes"]
        if self.plan.kind == "graph":
            resident += sizes["graph_bytes"]
        return {"resident_bytes": resident, "head_bytes": len(self.head), **sizes}


def build_index(given: IndexInput, plan: Plan, folder: Path, reporter: Reporter) -> BuiltIndex:
    """Builds into files of `folder`, one a section. The same input gives the same bytes."""
    folder.mkdir()
    clusters, order = _cluster_order(given, plan, reporter)
    with _Sections(folder) as sections:
        builder = IndexBuilder(_config(given, plan), sections.put)
        _train(builder, given, plan.clusters, reporter)
        with reporter.stage("indexing", given.rows) as stage:
            for first in range(0, given.rows, _BATCH_ROWS):
                places = order[first : first + _BATCH_ROWS]
                builder.rows(_row_batch(given, places, clusters))
                stage.advance(len(places))
        if given.graph is not None and plan.kind == "graph":
            for message in link_messages(given.graph.index, _row_of_element(given, order)):
                builder.links(message)
        with reporter.stage("linking" if plan.kind == "graph" else "finishing", None) as stage:
            head = builder.finish(stage.advance)
    return BuiltIndex(plan, head, sections.files(), order, clusters[order], given.keyword)


def _config(given: IndexInput, plan: Plan) -> IndexConfig:
    return IndexConfig(
        dim=given.vectors.shape[1],
        metric=_METRICS[plan.metric],
        dtype=PwDtype[plan.dtype.upper()],
        kind=PwKind[plan.kind.upper()],
        code_bits=plan.code_bits,
        clusters=plan.clusters,
        m=plan.m,
        ef_construction=plan.ef_construction,
        seed=SEED,
        rows=given.rows,
        columns=[
            ColumnSpec(column.info.name, PwColumnType[column.info.type.upper()])
            for column in given.corpus.columns
        ],
        keyword=given.keyword,
    )


def _cluster_order(
    given: IndexInput, plan: Plan, reporter: Reporter
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """(u32 cluster of each row, rows in the order of their clusters).

    Kinds with one cluster are ordered too, by clusters of their own: near rows share pages.
    """
    count = plan.clusters if plan.kind == "clusters" else default_clusters(given.rows)
    if count == 1 or plan.kind == "flat":
        return np.zeros(given.rows, np.uint32), np.arange(given.rows)
    config = replace(_config(given, plan), kind=PwKind.CLUSTERS, clusters=count)
    trainer = IndexBuilder(config, lambda section, index, page: None)
    _train(trainer, given, count, reporter)
    clusters = np.empty(given.rows, np.uint32)
    with reporter.stage("assigning to clusters", given.rows) as stage:
        for first in range(0, given.rows, _ASSIGN_ROWS):
            rows = given.corpus.keep[first : first + _ASSIGN_ROWS]
            clusters[first : first + len(rows)] = trainer.assign(rows_of(given.vectors, rows))
            stage.advance(len(rows))
    order = np.argsort(clusters, kind="stable")
    if plan.kind != "clusters":
        clusters[:] = 0
    return clusters, order


def _train(builder: IndexBuilder, given: IndexInput, clusters: int, reporter: Reporter) -> None:
    """On a sample that depends on nothing but the number of rows."""
    chosen = training_sample(given.rows, clusters, SEED)
    most = _SAMPLE_BYTES // (given.vectors.shape[1] * 4)
    if len(chosen) > most:
        chosen = chosen[:: -(-len(chosen) // most)]
    name = "finding clusters" if clusters > 1 else "measuring"
    with reporter.stage(name, None) as stage:
        builder.train(rows_of(given.vectors, given.corpus.keep[chosen]), stage.advance)


def _row_batch(
    given: IndexInput, places: npt.NDArray[np.int64], clusters: npt.NDArray[np.uint32]
) -> RowBatch:
    rows = given.corpus.keep[places]
    records = [given.corpus.spool[int(row)] for row in rows]
    infos = {column.info.name: column.info for column in given.corpus.columns}
    return RowBatch(
        count=len(places),
        vectors=rows_of(given.vectors, rows),
        ids=[record.id for record in records],
        texts=[record.text for record in records],
        payloads=[payload(record, infos) for record in records],
        clusters=clusters[places],
        columns=[column.values[places] for column in given.corpus.columns],
    )


def payload(row: SpooledRow, columns: dict[str, ColumnInfo]) -> str:
    """What a page gets with a hit beside its text, as JSON. Empty parts are left out."""
    metadata = {
        name: as_json(value, columns.get(name)) for name, value in sorted(row.metadata.items())
    }
    parts: dict[str, object] = {
        "title": row.title,
        "url": row.url,
        "anchor": row.anchor,
        "document": row.document,
        "start": row.start,
        "metadata": metadata,
    }
    present = {name: value for name, value in parts.items() if value}
    return json.dumps(present, ensure_ascii=False, separators=(",", ":"))


def _row_of_element(given: IndexInput, order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    assert given.graph is not None
    rows = np.full(len(given.graph.index.labels), -1, np.int64)
    rows[given.graph.elements[given.corpus.keep[order]]] = np.arange(len(order))
    return rows


class _Sections:
    """The pages of each section on disk, as the builder finishes them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[Section, BinaryIO] = {}

    def __enter__(self) -> "_Sections":
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files.values():
            file.close()

    def put(self, section: Section, index: int, page: bytes) -> None:
        file = self._files.get(section)
        if file is None:
            file = self._files[section] = (self._folder / section.name.lower()).open("wb")
        file.seek(index * PAGE_BYTES)
        file.write(page)

    def files(self) -> dict[Section, Path]:
        return {section: self._folder / section.name.lower() for section in self._files}
