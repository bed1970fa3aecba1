"""What is measured holds: a search at the table's effort reaches the recall it promises."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pywasm.brute_force import exact_neighbours, recall
from pywasm.calibrate import TARGETS, Calibration, calibrate
from pywasm.corpus import read_corpus
from pywasm.documents import Notes
from pywasm.engine import Engine
from pywasm.engine_build import calibrate_head
from pywasm.index_build import BuiltIndex, IndexInput, build_index
from pywasm.page_files import section_pages
from pywasm.plan import Kind, Plan
from pywasm.progress import Reporter
from pywasm.sources import SourceOptions, open_source

ROWS, DIM = 4000, 24


def clustered(rows: int, seed: int) -> np.ndarray:
    centres = np.random.default_rng(9).normal(size=(40, DIM))
    random = np.random.default_rng(seed)
    chosen = centres[random.integers(0, 40, rows)] + random.normal(size=(rows, DIM)) * 0.7
    return chosen.astype(np.float32)


def measured(
    folder: Path, quiet: Reporter, kind: Kind, clusters: int
) -> tuple[IndexInput, BuiltIndex, Calibration]:
    np.save(folder / "v.npy", clustered(ROWS, 1))
    source = open_source(folder / "v.npy", SourceOptions())
    corpus = read_corpus(source, None, None, folder, "error", Notes(), quiet)
    assert corpus.vectors is not None
    given = IndexInput(corpus, corpus.vectors, False, folder)
    plan = Plan(kind, "cosine", "i8", 1, clusters)
    built = build_index(given, plan, folder / "index", quiet)
    engine = Engine.open(built.head, section_pages(built.sections))
    calibration = calibrate(given, built, engine, quiet)
    corpus.spool.close()
    return given, built, calibration


@pytest.mark.parametrize(("kind", "clusters"), [("scan", 1), ("clusters", 64), ("graph", 1)])
def test_the_table_keeps_its_promise(
    tmp_path: Path, quiet: Reporter, kind: Kind, clusters: int
) -> None:
    _, built, calibration = measured(tmp_path, quiet, kind, clusters)
    reached = [target for target in TARGETS if target in calibration.best]
    assert 0.95 in reached
    head = calibrate_head(built.head, calibration.table())
    engine = Engine.open(head, section_pages(built.sections))
    queries = clustered(150, 2)  # none of them was measured with
    vectors = np.load(tmp_path / "v.npy")[built.order]
    truth = exact_neighbours(queries, iter([vectors]), 10, "cosine")
    between = [(low + high) / 2 for low, high in pairwise(reached)]
    work = {}  # codes and distances, by recall
    for target in sorted(reached + between):
        answers = [engine.search_vector(query, 10, recall=target) for query in queries]
        assert recall([answer.rows for answer in answers], truth) >= target - 0.02
        work[target] = tuple(
            sum(answer.counters[name] for answer in answers) for name in ("codes", "distances")
        )
    for (low, high), target in zip(pairwise(reached), between, strict=True):
        for least, some, most in zip(work[low], work[target], work[high], strict=True):
            assert min(least, most) <= some <= max(least, most)
    efforts = [calibration.best[target].cost_ns(built.plan) for target in reached]
    assert efforts == sorted(efforts)


def test_rare_filters_get_more_clusters(tmp_path: Path, quiet: Reporter) -> None:
    _, built, calibration = measured(tmp_path, quiet, "clusters", 64)
    lines = [line for line in calibration.lines if line[0] == 0.95]
    assert [line[1] for line in lines] == [10, 20, 100, 1000]
    probes = [line[2] for line in lines]
    assert probes == sorted(probes) and probes[-1] > probes[0]
    assert lines[1][4] >= lines[0][4]  # fewer candidates that pass share a page
    # The share is of what the engine really visits first.
    engine = Engine.open(built.head, section_pages(built.sections))
    queries = clustered(40, 3)
    vectors = np.load(tmp_path / "v.npy")[built.order]
    truth = exact_neighbours(queries, iter([vectors]), 1000, "cosine")
    found = [engine.search_vector(q, 1000, nprobe=probes[-1], rerank=4000).rows for q in queries]
    assert recall(found, truth) >= 0.93
