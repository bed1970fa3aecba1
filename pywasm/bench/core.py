"""What every suite stands on: collecting samples, interleaving engines, knowing the machine."""

from __future__ import annotations

import dataclasses
import os
import platform
import random
import subprocess
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pywasm

from .result import Result, Row
from .statistics import interval, p99


@dataclasses.dataclass(frozen=True)
class Key:
    """What a sample is a sample of."""

    case: str
    engine: str
    metric: str
    unit: str


@dataclasses.dataclass
class Series:
    """The samples of one figure, in the order taken, and what is known about them."""

    values: list[float] = dataclasses.field(default_factory=list)
    bound: float | None = None
    parameter: str | None = None
    note: str | None = None
    tail: list[float] | None = None  # samples of single calls, where `values` are batch means
    mean: bool = False  # of shares (recall): the mean says more than the median


class Samples:
    """Everything measured so far: what Ctrl-C keeps."""

    def __init__(self, suite: str) -> None:
        self.suite = suite
        self.series: dict[Key, Series] = {}
        self.failures: list[tuple[str, str]] = []  # (case, what went wrong)
        self.skipped: list[tuple[str, str]] = []  # (case, why)

    def add(
        self, case: str, engine: str, metric: str, unit: str, values: Sequence[float] | float
    ) -> Series:
        """Append samples to a figure; returns its series, to note a bound or a parameter on."""
        series = self.series.setdefault(Key(case, engine, metric, unit), Series())
        series.values += [float(values)] if isinstance(values, int | float) else map(float, values)
        return series

    def series_of(self, case: str, metric: str, engine: str = "pywasm") -> Series:
        """The series of a figure that was added before; KeyError where it was not."""
        for key, series in self.series.items():
            if (key.case, key.metric, key.engine) == (case, metric, engine):
                return series
        raise KeyError(f"{case} has no {metric} of {engine}")

    def rows(self) -> list[Row]:
        """One row a figure, in the order the figures were begun."""
        rows = []
        for key, series in self.series.items():
            if not series.values:
                continue
            middle, low, high = interval(series.values, mean=series.mean)
            rows.append(
                Row(
                    suite=self.suite,
                    **dataclasses.asdict(key),
                    median=middle,
                    p99=p99(series.tail or series.values),
                    samples=len(series.values),
                    low=low,
                    high=high,
                    bound=series.bound,
                    parameter=series.parameter,
                    note=series.note,
                )
            )
        return rows

    def write(self, directory: Path, environment: dict[str, Any]) -> Result:
        """Write result.json and samples.jsonl; returns the result."""
        rows = self.rows()
        result = Result(environment=environment, rows=rows)
        kept = [series.values for series in self.series.values() if series.values]
        result.write(directory, zip(rows, kept, strict=True))
        return result


@dataclasses.dataclass
class Subject:
    """One engine in an interleaved measurement: `sample` takes a round number and measures."""

    engine: str
    sample: Callable[[int], Sequence[float]]


def interleave(
    subjects: Sequence[Subject],
    rounds: int,
    keep: Callable[[str, Sequence[float]], None],
    seed: int = 0,
    tick: Callable[[], None] = lambda: None,
) -> None:
    """Measure all subjects once a round, in an order drawn anew each round, so that a slow spell
    of the machine falls on all of them alike. Round 0 is a warm-up and not kept.
    """
    order = random.Random(seed)
    for number in range(rounds + 1):
        for subject in order.sample(list(subjects), len(subjects)):
            values = subject.sample(number)
            if number > 0:
                keep(subject.engine, values)
            tick()


def noise(rounds: int = 300) -> dict[str, float]:
    """How steady the machine is: a fixed piece of integer work of about a millisecond, repeated.

    Returns its median and 99th percentile in ms, and their ratio (1.0: nothing disturbed it).
    """
    times = []
    for _ in range(rounds):
        started = time.perf_counter_ns()
        value = 1
        for _ in range(20_000):
            value = (value * 1664525 + 1013904223) & 0xFFFFFFFF
        times.append((time.perf_counter_ns() - started) / 1e6)
    middle, _, _ = interval(times)
    high = p99(times)
    return {
        "median_ms": round(middle, 4),
        "p99_ms": round(high, 4),
        "spread": round(high / middle, 2),
    }


def environment() -> dict[str, Any]:
    """The machine and the code; browsers and noise are added by the suite."""
    here = Path(__file__).resolve().parent
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"],
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "pywasm": pywasm.__version__,
        "commit": commit or None,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpu": _cpu(),
        "cores": _cores(),
        "memory_gb": round(_memory() / 1e9, 1),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else [],
    }


def _cores() -> int | None:
    """Those this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0
