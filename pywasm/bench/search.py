"""The suite `pywasm bench search`: its cases, and running them."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

from rich.console import Console

from . import (
    search_build,
    search_cache,
    search_filter,
    search_memory,
    search_visit,
    search_wordnet,
    suite,
)
from .context import Bench, Context
from .result import Result
from .suite import Case

SUITE = "search"
CASES: tuple[Case[Context], ...] = (
    Case(("memory-50k-r95", "memory-50k-r99"), search_memory.memory, (60, 700, 60)),
    Case(("insert-50k",), search_memory.insert, (40, 40, 10)),
    Case(tuple(f"filter-{p}" for p in search_filter.SHARES), search_filter.filters, (60, 60, 25)),
    Case(("bundle-search",), search_build.bundle, (1, 1, 1)),
    *(
        Case(
            (f"wordnet-budget10-{tier}",), functools.partial(search_wordnet.budget10, tier=tier), s
        )
        for tier, s in (("opfs", (90, 90, 45)), ("idb", (40, 40, 15)))
    ),
    Case(("wordnet-resident",), search_wordnet.resident, (30, 30, 20)),
    Case(("wordnet-reopen",), search_wordnet.reopen, (25, 25, 12)),
    Case(("wordnet-first-visit",), search_visit.first_visit, (120, 120, 60)),
    Case(("cache-policy",), search_cache.policies, (60, 60, 20)),
    Case(("build-117k",), search_build.build, (90, 180, 45)),
)


@dataclasses.dataclass(frozen=True)
class Options:
    """What the command line says."""

    out: Path
    peers: bool = False
    quick: bool = False
    only: tuple[str, ...] = ()
    wordnet: Path | None = None


def run(options: Options, console: Console) -> tuple[Result, list[tuple[str, str]]]:
    """Measure; (result, failed cases with the reason). UserError: `only` names no case."""

    def context(bench: Bench) -> Context:
        return Context(**vars(bench), wordnet_directory=options.wordnet)

    return suite.run(SUITE, suite.selected(CASES, options.only), options, console, context)
