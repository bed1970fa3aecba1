"""Cases smollm2-prefill500-* and smollm2-decode-*: one run of each engine gives a sample of both.

Every engine reads 500 tokens it has not seen and writes the 33 most probable ones behind them;
decoding counts from the first of these to the last, at that context.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np

from .answers_device import Limits, limits
from .answers_engines import PEERS, Tabs, TextEngine, check
from .answers_models import Models
from .answers_prompts import Prompt
from .context import Bench
from .core import Subject, interleave

PREFILL = "smollm2-prefill500"
DECODE = "smollm2-decode"
THREADS = (1, 2)
NAMES = tuple(f"{case}-t{threads}" for threads in THREADS for case in (PREFILL, DECODE))
PROMPT = 500
ANSWER = 33
LEAST = 9  # tokens of an answer that ended early and still counts
SLOW_S = 6.0  # an engine that takes longer for a run is asked in every third round only


def speed(context: Bench, models: Models) -> None:
    """On one and on two threads, all engines in turns."""
    before = {threads: limits(context, threads) for threads in THREADS}
    try:
        with _engines(context, models) as engines:
            _measure(context, models, engines)
    finally:  # what was measured until Ctrl-C has its bounds
        for threads in THREADS:
            _bound(context, models, threads, (before[threads], limits(context, threads)))


@contextlib.contextmanager
def _engines(context: Bench, models: Models) -> Iterator[dict[str, TextEngine]]:
    """Those that are right, by name and threads."""
    tabs = Tabs(context, models)
    found: dict[str, TextEngine] = {}
    golden = models.texts.golden()
    with contextlib.ExitStack() as stack:
        for threads in THREADS:
            for name in ("pywasm", *(PEERS if context.peers else ())):
                context.step(f"loading and checking {name}, {threads} threads")
                try:
                    engine = tabs.ours(threads) if name == "pywasm" else tabs.peer(name, threads)
                    stack.callback(engine.page.close)
                    check(engine, golden)
                except RuntimeError as error:
                    context.failed(f"{PREFILL}-t{threads} {name}", error)
                    continue
                found[f"{name}/{threads}"] = engine
        yield found


def _measure(context: Bench, models: Models, engines: dict[str, TextEngine]) -> None:
    took: dict[str, float] = {}

    def subject(label: str, engine: TextEngine) -> Subject:
        def sample(number: int) -> Sequence[float]:
            if took.get(label, 0) > SLOW_S and number % 3 != 1:
                return []
            run = engine.run(models.texts.take(PROMPT), ANSWER)
            took[label] = (run.first + run.rest) / 1e3
            if run.count < LEAST:
                return [PROMPT / run.first * 1e3]
            return [PROMPT / run.first * 1e3, (run.count - 1) / run.rest * 1e3]

        return Subject(label, sample)

    def keep(label: str, values: Sequence[float]) -> None:
        name, threads = label.split("/")
        for case, rate in zip((PREFILL, DECODE), values, strict=False):
            context.samples.add(f"{case}-t{threads}", name, "tokens_per_s", "tokens/s", rate)

    # How long each takes is told by a short prompt, so that slow ones have no warm-up of a minute.
    for label, engine in engines.items():
        run = engine.run(short(models), 5)
        took[label] = (run.first * PROMPT / 50 + run.rest * ANSWER / 5) / 1e3
    # In how much of a round a slow engine takes part.
    round_s = sum(seconds if seconds <= SLOW_S else seconds / 3 for seconds in took.values())
    rounds = int(np.clip((40 if context.quick else 480) / round_s, 1, 8))
    context.step(f"{PREFILL}, {DECODE}: {len(engines)} engines in turns, {rounds} rounds")
    interleave([subject(label, engine) for label, engine in engines.items()], rounds, keep)


def short(models: Models) -> Prompt:
    """What lets code be compiled."""
    return models.texts.take(50)


def _bound(context: Bench, models: Models, threads: int, found: Sequence[Limits]) -> None:
    """Bounds of what was measured, and the share of decoding's that ours reaches."""
    both = Limits(
        sum(limit.gigabytes for limit in found) / len(found),
        sum(limit.gigaops for limit in found) / len(found),
    )
    most = both.tokens_per_s(models.matrix_bytes, models.matrix_elements)
    prefill = both.gigaops * 1e9 / (2 * models.layer_elements)
    decode, read = f"{DECODE}-t{threads}", f"{PREFILL}-t{threads}"
    with contextlib.suppress(KeyError):
        rates = context.samples.series_of(decode, "tokens_per_s")
        rates.bound = most
        context.samples.series_of(read, "tokens_per_s").bound = prefill
        shares = [rate / most for rate in rates.values]
        series = context.samples.add(decode, "pywasm", "bound_share", "", shares)
        limit = both.what(models.matrix_bytes, models.matrix_elements)
        series.note = (
            f"of {most:.0f} tokens/s at {limit}, {models.matrix_bytes / 1e6:.1f} MB a token"
        )
