"""Running a suite: its cases one after another, in one browser, into one result.json."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pywasm.cache_dir import cache_dir
from pywasm.errors import UserError

from . import peers
from .browsers.chromium import Chromium
from .context import PAGES, Bench, Skipped, work_folder
from .core import Samples, environment, noise
from .result import Result
from .server import Server

C = TypeVar("C", bound=Bench)


@dataclasses.dataclass(frozen=True)
class Case(Generic[C]):
    """One or more cases of result.json that are measured together, and about how long they take
    on two cores: seconds in full, full with peers, quick (0: only if it is named).
    """

    names: tuple[str, ...]
    run: Callable[[C], None]
    seconds: tuple[float, float, float]


class Options(Protocol):
    """What the command line says to every suite."""

    @property
    def out(self) -> Path: ...
    @property
    def peers(self) -> bool: ...
    @property
    def quick(self) -> bool: ...


def selected(cases: Sequence[Case[C]], only: Sequence[str]) -> list[Case[C]]:
    """The cases of these names (or beginnings of names); all without any. Raises UserError."""
    names = [name for case in cases for name in case.names]
    for wanted in only:
        if not any(name.startswith(wanted) for name in names):
            raise UserError(f"no case {wanted!r}; known: {', '.join(names)}")
    parts = only or ("",)
    return [
        case
        for case in cases
        if any(name.startswith(part) for name in case.names for part in parts)
    ]


def run(
    suite: str,
    cases: Sequence[Case[C]],
    options: Options,
    console: Console,
    context: Callable[[Bench], C],
) -> tuple[Result, list[tuple[str, str]]]:
    """Measure, write result.json and samples.jsonl; (result, failed cases with the reason).

    A case that fails is reported and the next is run. Ctrl-C ends the run and keeps what was
    measured.
    """
    samples = Samples(suite)
    about = environment()
    about["quick"] = options.quick
    kind = 2 if options.quick else 1 if options.peers else 0
    estimate = sum(case.seconds[kind] for case in cases)
    console.print(f"{len(cases)} cases, about {estimate / 60:.0f} minutes on two cores")
    about["noise"] = {"before": noise()}
    started = time.monotonic()
    try:
        with _running(options, samples, console) as bench:
            about["browsers"] = {"chromium": bench.browser.version}
            given = context(bench)
            about["case_seconds"] = {}
            for case in cases:
                begun = time.monotonic()
                try:
                    case.run(given)
                except Skipped as reason:
                    bench.skipped(", ".join(case.names), str(reason))
                except Exception as error:
                    bench.failed(", ".join(case.names), error)
                    if os.environ.get("PYWASM_BENCH_TRACE"):
                        console.print_exception()
                about["case_seconds"][case.names[0]] = round(time.monotonic() - begun)
    except KeyboardInterrupt:
        console.print("stopped; what was measured is kept", style="yellow")
        samples.failures.append(("all", "stopped"))
    about["noise"]["after"] = noise()
    about["load_after"] = list(os.getloadavg())
    about["seconds"] = round(time.monotonic() - started)
    about["failures"] = [{"case": case, "reason": reason} for case, reason in samples.failures]
    about["skipped"] = [{"case": case, "reason": reason} for case, reason in samples.skipped]
    result = samples.write(options.out, about)
    return result, samples.failures


@contextlib.contextmanager
def _running(options: Options, samples: Samples, console: Console) -> Iterator[Bench]:
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

        yield Bench(
            samples=samples,
            console=console,
            browser=browser,
            server=server,
            work=work,
            cache=cache,
            quick=options.quick,
            peers=options.peers,
            step=step,
        )
