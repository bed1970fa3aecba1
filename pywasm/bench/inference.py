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
DTYPES: tuple[DType, ...] = ("f32", "int8")
# What the goals are about; a quick run leaves the rest out unless it is named.
QUICK = {("f32", (1, 128)), ("f32", (8, 128)), ("int8", (1, 128))}
CASES: tuple[Case[Bench], ...] = (
    Case(tuple(inference_gemm.CASES), inference_gemm.gemm, (20, 20, 5)),
    Case((inference_size.CASE,), inference_size.bundle, (5, 5, 5)),
    Case((inference_loss.CASE,), inference_loss.loss, (90, 90, 30)),
    *(
        Case(
            inference_minilm.names(dtype, shape),
            functools.partial(inference_minilm.latency, dtype=dtype, shape=shape),
            (40, 70, 20 if (dtype, shape) in QUICK else 0),
        )
        for dtype in DTYPES
        for shape in inference_minilm.SHAPES
    ),
    Case(tuple(inference_distance.CASES), inference_distance.distances, (60, 60, 20)),
    *(
        Case((case,), functools.partial(inference_tune.tune, case=case), (90, 90, 25 * quick))
        for case, quick in zip(inference_tune.CASES, (1, 0), strict=True)
    ),
    *(
        Case((case,), functools.partial(inference_open.open_page, case=case), (60, 90, 30 * quick))
        for case, quick in zip(inference_open.CASES, (1, 0), strict=True)
    ),
    Case((inference_visit.CASE,), inference_visit.first_visit, (150, 150, 60)),
)


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
        cases = [case for case in cases if case.seconds[2]]
    return suite.run(SUITE, cases, options, console, lambda bench: bench)
