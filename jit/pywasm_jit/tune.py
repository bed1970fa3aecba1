"""Finding the fastest of some schedules on a noisy machine, in few measurements.

A conversation: `tune` yields what it wants timed and is sent the times; whoever holds the device
(a browser's worker, a test) does the timing. It asks in rounds: every candidate a few times, then
the better part of them more often (successive halving, Jamieson and Talwalkar 2016), always with
the default among them, so that all were measured under the same conditions. What was learnt is
JSON: a tuning that was interrupted goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field

Samples = list[list[float]]


@dataclass(frozen=True, slots=True)
class Ask:
    """Time each of these candidates (numbers; 0 is the default) `samples` times, interleaved.

    A sample is the seconds of one call, measured over enough calls for the host's timer. A
    candidate that failed or gave a wrong result is answered by an empty list.
    """

    candidates: list[int]
    samples: int


@dataclass
class Result:
    """The winner's number; `gain`: its time over the default's (medians of paired rounds)."""

    winner: int
    gain: float
    measured: int
    times: dict[int, list[float]] = field(default_factory=dict)


FIRST, KEEP = 3, 4  # samples at first; a quarter stays and is sampled twice as often
FINALISTS, FINAL = 3, 9
# A winner is faster than the default by more than this, and in this share of all pairs of samples
# (0.8 of 9 x 9 pairs by chance: once in 60).
MARGIN, SURE = 0.02, 0.8


def tune(
    count: int,
    flops: float = 0.0,
    peak: float = 0.0,
    known: Mapping[int, Sequence[float]] | None = None,
    enough: float = 0.97,
) -> Generator[Ask, Samples, Result]:
    """Choose among candidates 0 (the default) to `count` - 1, likely ones first.

    `flops` of a call and the device's `peak` (10^9/s) let it stop early: what runs at `enough` of
    the peak is not worth beating. `known`: times measured before, by candidate.
    """
    if count == 1:
        return Result(0, 1.0, 0)
    times: dict[int, list[float]] = {n: list(found) for n, found in (known or {}).items()}
    alive = list(range(count))
    samples = FIRST
    while len(alive) > FINALISTS:
        missing = [n for n in alive if len(times.get(n, ())) < samples]
        if missing:
            wanted = [0, *(n for n in missing if n)]
            for n, found in zip(wanted, (yield Ask(wanted, samples)), strict=True):
                times[n] = [*times.get(n, ()), *found] if found else []
        alive = sorted((n for n in alive if times[n]), key=lambda n: (median(times[n]), n))
        if not alive:
            break
        fastest = median(times[alive[0]])
        if flops and peak and fastest > 0 and flops / fastest / 1e9 >= enough * peak:
            break
        alive = alive[: max(FINALISTS, len(alive) // KEEP)]
        samples *= 2
    finalists = [0, *(n for n in alive[:FINALISTS] if n)]
    # Chosen for their times, the best look better than they are: only fresh samples decide.
    final = dict(zip(finalists, (yield Ask(finalists, FINAL)), strict=True))
    for n, found in final.items():
        times[n] = [*times.get(n, ()), *found] if found else []
    return _decide(final, times)


def _decide(final: Mapping[int, Sequence[float]], times: dict[int, list[float]]) -> Result:
    """The fastest, unless the default is as fast: what is there stays when nothing is won."""
    measured = sum(map(len, times.values()))
    best = min((n for n in final if final[n]), key=lambda n: median(final[n]), default=0)
    if best == 0 or not final[0] or median(final[0]) <= 0:
        return Result(0, 1.0, measured, times)
    gain = median(final[best]) / median(final[0])
    # Mann and Whitney's U over its maximum: how often a sample of one beats a sample of the other.
    wins = sum(a < b for a in final[best] for b in final[0])
    if gain > 1 - MARGIN or wins < SURE * len(final[best]) * len(final[0]):
        return Result(0, 1.0, measured, times)
    return Result(best, gain, measured, times)


def drive(
    conversation: Generator[Ask, Samples, Result], measure: Callable[[Ask], Samples]
) -> Result:
    """Hold the conversation with a function that measures."""
    try:
        ask = next(conversation)
        while True:
            ask = conversation.send(measure(ask))
    except StopIteration as end:
        result: Result = end.value
        return result


def median(values: Sequence[float]) -> float:
    return quantile(values, 0.5)


def quantile(values: Sequence[float], share: float) -> float:
    """Linear between neighbours (type 7, as numpy's default)."""
    ordered = sorted(values)
    at = share * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)
