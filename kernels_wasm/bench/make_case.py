"""Write an index and its queries as plain files for search_bench.mjs.

    python kernels_wasm/bench/make_case.py OUT [--wordnet | --rows 50000] [--kind clusters]
        [--bits 1] [--dtype I8] [--clusters N]

OUT gets head.bin, pages.bin, queries.f32 and truth.i32 (row numbers of the index, ten a query).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pywasm._abi import PwDtype, PwKind, Section
from pywasm.bench.data import clustered, wordnet
from pywasm.engine_build import IndexBuilder, default_clusters, training_sample
from pywasm.engine_messages import IndexConfig, RowBatch


def main() -> None:
    """Build the case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--wordnet", action="store_true")
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--kind", default="clusters")
    parser.add_argument("--bits", type=int, default=1)
    parser.add_argument("--dtype", default="I8")
    parser.add_argument("--clusters", type=int, default=0)
    options = parser.parse_args()
    cache = options.out / ".cache"
    data = wordnet(None, cache)[0] if options.wordnet else clustered(options.rows)
    rows, dim = data.base.shape
    kind = PwKind[options.kind.upper()]
    clusters = (options.clusters or default_clusters(rows)) if kind == PwKind.CLUSTERS else 1
    config = IndexConfig(
        dim=dim, kind=kind, clusters=clusters, code_bits=options.bits, rows=rows, keyword=False,
        dtype=PwDtype[options.dtype],
    )  # fmt: skip
    pages: dict[tuple[Section, int], bytes] = {}
    started = time.perf_counter()
    builder = IndexBuilder(config, lambda kind, index, page: pages.update({(kind, index): page}))
    builder.train(data.base[training_sample(rows, clusters)])
    assigned = builder.assign(data.base)
    order = np.argsort(assigned, kind="stable")
    for start in range(0, rows, 8192):
        part = order[start : start + 8192]
        builder.rows(RowBatch(len(part), vectors=data.base[part], clusters=assigned[part]))
    head = builder.finish()
    print(f"built {rows} x {dim}, {clusters} clusters, in {time.perf_counter() - started:.1f} s")
    row_of = np.empty(rows, np.int32)
    row_of[order] = np.arange(rows)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "head.bin").write_bytes(head)
    (options.out / "pages.bin").write_bytes(b"".join(pages[key] for key in sorted(pages)))
    data.queries.astype("<f4").tofile(options.out / "queries.f32")
    row_of[data.truth].astype("<i4").tofile(options.out / "truth.i32")


if __name__ == "__main__":
    main()
