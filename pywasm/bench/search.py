"""The suite `pywasm bench search`: its cases, and running them."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pywasm.cache_dir import cache_dir

from . import (
    peers,
    search_build,
    search_cache,
    search_filter,
    search_memory,
    search_visit,
    search_wordnet,
)
from .browsers.chromium import Chromium
from .context import PAGES, Context, work_folder
from .core import Samples, environment, noise
from .result import Result
from .server import Server

SUITE = "search"


@dataclasses.dataclass(frozen=True)
class Case:
    """One or more cases of result.json that are measured together, and about how long they take
    on two cores: seconds in full, full with peers, quick.
    """

    names: tuple[str, ...]
    run: Callable[[Context], None]
    seconds: tuple[float, float, float]


CASES: tuple[Case, ...] = (
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
NAMES = tuple(name for case in CASES for name in case.names)


@dataclasses.dataclass(frozen=True)
class Options:
    """What the command line says."""

    out: Path
    peers: bool = False
    quick: bool = False
    only: tuple[str, ...] = ()
    wordnet: Path | None = None


def selected(only: Sequence[str]) -> list[Case]:
    """The cases of these names (or beginnings of names); all without any."""
    for name in only:
        if not any(known.startswith(name) for known in NAMES):
            raise ValueError(f"no case {name!r}; known: {', '.join(NAMES)}")
    wanted = only or ("",)
    return [
        case
        for case in CASES
        if any(name.startswith(part) for name in case.names for part in wanted)
    ]


def run(options: Options, console: Console) -> tuple[Result, list[tuple[str, str]]]:
    """Measure, write result.json and samples.jsonl; (result, failed cases with the reason).

    A case that fails is reported and the next is run. Ctrl-C ends the run and keeps what was
    measured.
    """
    cases = selected(options.only)
    samples = Samples(SUITE)
    about = environment()
    about["quick"] = options.quick
    kind = 2 if options.quick else 1 if options.peers else 0
    estimate = sum(case.seconds[kind] for case in cases)
    console.print(f"{len(cases)} cases, about {estimate / 60:.0f} minutes on two cores")
    about["noise"] = {"before": noise()}
    started = time.monotonic()
    try:
        with _running(options, samples, console) as context:
            about["browsers"] = {"chromium": context.browser.version}
            for case in cases:
                try:
                    case.run(context)
                except Exception as error:
                    reason = "".join(traceback.format_exception_only(error)).strip()
                    samples.failures.append((", ".join(case.names), reason))
                    console.print(f"[red]{', '.join(case.names)}:[/red] {reason}", highlight=False)
                    if os.environ.get("PYWASM_BENCH_TRACE"):
                        console.print_exception()
    except KeyboardInterrupt:
        console.print("stopped; what was measured is kept", style="yellow")
        samples.failures.append(("all", "stopped"))
    about["noise"]["after"] = noise()
    about["load_after"] = list(os.getloadavg())
    about["seconds"] = round(time.monotonic() - started)
    about["failures"] = [{"case": case, "reason": reason} for case, reason in samples.failures]
    result = samples.write(options.out, about)
    return result, samples.failures


@contextlib.contextmanager
def _running(options: Options, samples: Samples, console: Console) -> Iterator[Context]:
    cache = cache_dir() / "bench"
    columns = (TextColumn("{task.description}"), BarColumn(pulse_style="cyan"), TimeElapsedColumn())
    with contextlib.ExitStack() as stack:
        folders: dict[str, Path] = {"bench": PAGES}
        if options.peers:
            folders["peers"] = peers.install()
        work = stack.enter_context(work_folder(cache))
        folders["work"] = work
        server = stack.enter_context(Server(folders))
        browser = stack.enter_context(Chromium(None, ()))
        progress = stack.enter_context(Progress(*columns, console=console, transient=True))
        task = progress.add_task("starting", total=None)

        def step(what: str) -> None:
            progress.reset(task, description=what, total=None)
            if not console.is_terminal:
                console.print(what, highlight=False)

        known: dict[str, Any] = {"quick": options.quick, "peers": options.peers}
        yield Context(
            samples=samples,
            console=console,
            browser=browser,
            server=server,
            work=work,
            cache=cache,
            wordnet_directory=options.wordnet,
            step=step,
            **known,
        )
