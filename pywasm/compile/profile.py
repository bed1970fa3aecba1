"""`pywasm profile`: the time of each kernel of a plan, and how far it is from the machine's limits.

Natively, one thread, under wasmtime: its compiler is not a browser's, so figures are for
comparing kernels with one another and schedules with before. `pywasm bench inference` measures
in browsers.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from pywasm.compile.machine import Machine
from pywasm.compile.plan_types import PlanKernel, evaluate
from pywasm.compile.run import PlanRun


@dataclass(frozen=True)
class KernelTime:
    """All calls of one kernel in one run. `roofline`: least share of `seconds` that arithmetic at
    peak or memory at full bandwidth would take."""

    name: str
    calls: int
    seconds: float
    flops: int
    bytes: int
    roofline: float


def profile(
    run: PlanRun, batch: int, seq: int, machine: Machine, repeats: int = 5
) -> list[KernelTime]:
    """Kernels of `run` at [batch, seq], the slowest first."""
    symbols = {"batch": batch, "seq": seq}
    ids = np.arange(batch * seq).reshape(batch, seq) % 1000 + 1000
    inputs = {"ids": ids, "lengths": np.full(batch, seq)}
    times = run.times(inputs, symbols, repeats)
    seconds: dict[int, float] = defaultdict(float)
    calls: dict[int, int] = defaultdict(int)
    flops: dict[int, int] = defaultdict(int)
    moved: dict[int, int] = defaultdict(int)
    for step, least in zip(run.plan.steps, times, strict=True):
        seconds[step.kernel] += least
        calls[step.kernel] += 1
        flops[step.kernel] += evaluate(step.flops, symbols)
        moved[step.kernel] += evaluate(step.bytes, symbols)
    rows = [
        KernelTime(
            name=run.plan.kernels[kernel].name,
            calls=calls[kernel],
            seconds=seconds[kernel],
            flops=flops[kernel],
            bytes=moved[kernel],
            roofline=max(
                flops[kernel] / _peak(run.plan.kernels[kernel], machine),
                moved[kernel] / machine.bandwidth,
            )
            / seconds[kernel],
        )
        for kernel in seconds
    ]
    return sorted(rows, key=lambda row: -row.seconds)


def _peak(kernel: PlanKernel, machine: Machine) -> float:
    dots = any(buffer.dtype == "i8x4" and buffer.access == "read" for buffer in kernel.buffers)
    return machine.dot_operations if dots else machine.flops


def print_profile(rows: list[KernelTime], machine: Machine, console: Console) -> None:
    """One line a kernel."""
    total = sum(row.seconds for row in rows)
    table = Table(box=None, pad_edge=False)
    for column in ("calls", "ms", "share", "GFLOP/s", "GB/s", "of the roofline"):
        table.add_column(column, justify="right")
    table.add_column("kernel", overflow="fold")
    for row in rows:
        table.add_row(
            str(row.calls),
            f"{row.seconds * 1e3:.3f}",
            f"{row.seconds / total:.1%}",
            f"{row.flops / row.seconds / 1e9:.1f}",
            f"{row.bytes / row.seconds / 1e9:.1f}",
            f"{row.roofline:.0%}",
            row.name,
        )
    console.print(table)
    console.print(
        f"{total * 1e3:.2f} ms in all. Roof: {machine.flops / 1e9:.1f} GFLOP/s, "
        f"{machine.dot_operations / 1e9:.1f} GOP/s in 8 bits, {machine.bandwidth / 1e9:.1f} GB/s "
        "(wasmtime, one thread)"
    )
