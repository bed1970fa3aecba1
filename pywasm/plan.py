"""How an index is laid out: chosen by size, by what is asked for, and by what trials measured."""

from dataclasses import dataclass, replace
from typing import Literal

from pywasm.engine_build import default_clusters

Kind = Literal["flat", "scan", "clusters", "graph"]
Dtype = Literal["f32", "f16", "i8"]
Metric = Literal["cosine", "ip", "l2"]

FLAT_ROWS = 1_000  # up to here every vector is compared: nothing could be faster
TRIAL_ROWS = 10_000  # plans are compared on at most so many rows
SEED = 0x5EA2C4  # of rotation and samples: fixed, so that the same input gives the same bytes


@dataclass(frozen=True)
class Plan:
    """Everything the engine's configuration needs beside the columns. `code_bits` 1 to 8."""

    kind: Kind
    metric: Metric
    dtype: Dtype
    code_bits: int
    clusters: int
    m: int = 16
    ef_construction: int = 100


def with_kind(plan: Plan, kind: Kind, rows: int) -> Plan:
    """The same plan for another kind."""
    return replace(plan, kind=kind, clusters=default_clusters(rows) if kind == "clusters" else 1)
