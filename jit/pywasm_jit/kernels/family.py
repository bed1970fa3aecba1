"""A family of kernels: one algorithm for all its parameters, and its default schedule for Wasm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pywasm_jit.ir import For, Int, Kernel, KernelError, Numeric, Stmt, named_value
from pywasm_jit.schedule import Schedule, Step

Parameters = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Family:
    """`naive(**parameters, numeric=...)` builds the unscheduled kernel, which says what it
    computes; `schedule(kernel, parameters)` puts the default schedule for Wasm on it.
    """

    naive: Callable[..., Kernel]
    schedule: Callable[[Schedule, Parameters], None]

    def default(self, parameters: Parameters, numeric: Numeric) -> list[Step]:
        """The steps of the default schedule. Raises KernelError for parameters that can't be."""
        schedule = Schedule(self.naive(**parameters, numeric=numeric))
        self.schedule(schedule, parameters)
        return schedule.steps


def lanes(width: int) -> int:
    """How many neighbours are worked on together, and partial sums kept, in a row of `width`."""
    for count in (16, 8, 4):
        if width % count == 0:
            return count
    raise KernelError(f"a width of {width} is not a multiple of 4")


def by_rows(schedule: Schedule, parameters: Parameters) -> None:
    """For kernels of independent rows: a thread takes rows, a row's elements go to vectors.

    The outermost loop becomes the grid; innermost parallel loops of constant length 4n become
    vectors, long ones after splitting.
    """
    outermost = schedule.kernel().body[0]
    if not isinstance(outermost, For):
        raise KernelError(f"{schedule.kernel().name}: its first statement is no loop")
    schedule.bind(outermost.var, "grid")
    vectorise_innermost(schedule)


def vectorise_innermost(schedule: Schedule) -> None:
    for loop in list(_innermost(schedule.kernel().body)):
        length = loop.end.number if isinstance(loop.end, Int) and loop.begin == Int(0) else 1
        if not loop.parallel or length % 4 or loop.mapping != "loop":
            continue
        if length > 16:
            schedule.split(loop.var, lanes(length)).vectorise(f"{loop.var}.i")
        else:
            schedule.vectorise(loop.var)


def _innermost(body: tuple[Stmt, ...]) -> Iterator[For]:
    for stmt in body:
        inside = getattr(stmt, "body", None)
        if inside is None:
            continue
        deeper = list(_innermost(inside))
        if deeper:
            yield from deeper
        elif isinstance(stmt, For) and named_value(stmt) is None:
            yield stmt
