"""Progress on the terminal, or nothing where output is for a script."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Stage:
    """One bar. `advance` by what was done; `total` may become known later."""

    def __init__(self, progress: Progress, name: str, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task(name, total=total)

    def advance(self, by: int = 1) -> None:
        self._progress.advance(self._task, by)

    def set_total(self, total: int) -> None:
        self._progress.update(self._task, total=total)


class Reporter:
    """Shows stages one below the other on `console` (standard error), unless `quiet`."""

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self.console = console
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=quiet,
        )

    @contextmanager
    def running(self) -> Iterator[None]:
        with self._progress:
            yield

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Stage]:
        stage = Stage(self._progress, name, total)
        yield stage
        self._progress.update(stage._task, total=self._progress.tasks[stage._task].completed)
