"""Memory for activations: values whose lifetimes do not overlap share a slot.

Sizes are polynomials in the plan's symbols, so the plan holds for all of them. Values are placed
the largest first, each into the first slot that is free while it lives: with the few sizes that a
transformer has, this is as good as any order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pywasm.compile import sizes
from pywasm_jit.poly import Poly

_TYPICAL = {"batch": 1, "seq": 128, "rows": 128}  # where coefficients do not tell which is larger


@dataclass(frozen=True)
class Placement:
    """`slot` of each value and the bytes of each slot: the largest of several, where listed."""

    slot: dict[str, int]
    bytes: list[list[Poly]]


def lifetimes(
    reads: Sequence[Sequence[str]],
    writes: Sequence[Sequence[str]],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> dict[str, tuple[int, int]]:
    """First and last step of each value. Inputs live from before the first, outputs to the end."""
    first = dict.fromkeys(inputs, -1)
    last = dict.fromkeys(inputs, -1)
    for step, (read, written) in enumerate(zip(reads, writes, strict=True)):
        for name in written:
            first.setdefault(name, step)
        for name in (*read, *written):
            last[name] = step
    for name in outputs:
        last[name] = len(reads)
    return {name: (first[name], last[name]) for name in first}


def place(bytes_of: Mapping[str, Poly], lives: Mapping[str, tuple[int, int]]) -> Placement:
    """A slot for every value of `bytes_of`."""
    order = sorted(bytes_of, key=lambda name: (-_typical(bytes_of[name]), lives[name], name))
    slot: dict[str, int] = {}
    largest: list[list[Poly]] = []
    held: list[list[tuple[int, int]]] = []
    for name in order:
        first, last = lives[name]
        free = (
            number
            for number, taken in enumerate(held)
            if all(last < begin or end < first for begin, end in taken)
        )
        number = next(free, len(held))
        if number == len(held):
            held.append([])
            largest.append([])
        slot[name] = number
        held[number].append((first, last))
        if not any(sizes.at_most(bytes_of[name], other) for other in largest[number]):
            largest[number].append(bytes_of[name])
    return Placement(slot, largest)


def _typical(size: Poly) -> int:
    total = 0
    for names, coefficient in size.items():
        for name in names:
            coefficient *= _TYPICAL[name]
        total += coefficient
    return total
