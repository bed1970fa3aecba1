"""The suite `pywasm bench answers`: its cases, and running them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from pywasm.errors import UserError
from pywasm.models import find_model

from . import (
    answers_chat,
    answers_page,
    answers_rag,
    answers_shipped,
    answers_speed,
    answers_trace,
    suite,
)
from .answers_models import MODEL, Models
from .context import Bench
from .result import Result
from .suite import Case

SUITE = "answers"


@dataclasses.dataclass
class Context(Bench):
    """One run of the suite: its model, found when first asked for."""

    model: str = MODEL

    @functools.cached_property
    def models(self) -> Models:
        found = find_model(self.model)
        files = [found] if found.is_file() else sorted(found.glob("*.gguf"))
        if len(files) != 1:
            raise UserError(f"{self.model}: one .gguf file expected in {found}, not {len(files)}")
        return Models(self, files[0])


def _case(
    names: tuple[str, ...],
    run: Callable[[Bench, Models], None],
    seconds: tuple[float, float, float],
) -> Case[Context]:
    return Case(names, lambda context: run(context, context.models), seconds)


CASES: tuple[Case[Context], ...] = (
    _case(answers_speed.NAMES, answers_speed.speed, (60, 600, 150)),
    _case(answers_rag.MEMORY, answers_rag.in_memory, (120, 120, 30)),
    _case((answers_rag.RELOAD,), answers_rag.reload, (90, 90, 30)),
    _case((answers_rag.LINKED,), answers_rag.linked, (0, 0, 1)),
    _case(answers_shipped.NAMES, answers_shipped.shipped, (300, 300, 0)),
    _case((answers_chat.CASE,), answers_chat.resume, (60, 60, 30)),
    _case((answers_trace.CASE,), answers_trace.trace, (20, 20, 5)),
    _case((answers_page.PAGE,), answers_page.longest_task, (30, 30, 20)),
    _case((answers_page.MEMORY,), answers_page.peak_memory, (60, 60, 20)),
)


@dataclasses.dataclass(frozen=True)
class Options:
    """What the command line says."""

    out: Path
    peers: bool = False
    quick: bool = False
    only: tuple[str, ...] = ()
    model: str = MODEL


def run(options: Options, console: Console) -> tuple[Result, list[tuple[str, str]]]:
    """Measure; (result, failed cases with the reason). UserError: `only` names no case."""

    def context(bench: Bench) -> Context:
        return Context(**vars(bench), model=options.model)

    cases = suite.selected(CASES, options.only)
    if options.quick and not options.only:
        cases = [case for case in cases if case.seconds[2]]
    return suite.run(SUITE, cases, options, console, context)
