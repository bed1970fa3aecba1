"""The suite `pywasm bench inference`: its cases, and running them."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

from rich.console import Console

from . import (
    inference_distance,
    inference_gemm,
    inference_loss,
    inference_minilm,
    inference_open,
    inference_size,
    inference_tune,
    inference_visit,
    suite,
)
from .context import Bench
from .inference_models import DType
from .result import Result
from .suite import Case

SUITE = "inference"
DTYPES: tuple[tuple[DType, tuple[float, float, float]], ...] = (
    ("f32", (200, 300, 60)),
    ("int8", (150, 250, 50)),
)
CASES: tuple[Case[Bench], ...] = (
    Case(tuple(inference_gemm.CASES), inference_gemm.gemm, (20, 20, 5)),
    Case((inference_size.CASE,), inference_size.bundle, (5, 5, 5)),
    Case((inference_loss.CASE,), inference_loss.loss, (90, 90, 30)),
    *(
        Case(
            inference_minilm.names(dtype),
            functools.partial(inference_minilm.latency, dtype=dtype),
            s,
        )
        for dtype, s in DTYPES
    ),
    Case(tuple(inference_distance.CASES), inference_distance.distances, (60, 60, 20)),
    *(
        Case((case,), functools.partial(inference_tune.tune, case=case), (90, 90, 25))
        for case in inference_tune.CASES
    ),
    *(
        Case((case,), functools.partial(inference_open.open_page, case=case), (60, 90, 30))
        for case in inference_open.CASES
    ),
    Case((inference_visit.CASE,), inference_visit.first_visit, (150, 150, 60)),
)

# What a quick run leaves out unless it is named: another dtype of what it measures in one.
FULL_ONLY = ("minilm-tune-int8", "minilm-open-int8")


@dataclasses.dataclass(frozen=True)
class Options:
    """What the command line says."""

    out: Path
    peers: bool = False
    quick: bool = False
    only: tuple[str, ...] = ()


def run(options: Options, console: Console) -> tuple[Result, list[tuple[str, str]]]:
    """Measure; (result, failed cases with the reason). UserError: `only` names no case."""
    cases = suite.selected(CASES, options.only)
    if options.quick and not options.only:
        cases = [case for case in cases if case.names[0] not in FULL_ONLY]
    return suite.run(SUITE, cases, options, console, lambda bench: bench)
