"""Cases rag-*: time to the first token of prompts with documents, by what is cached of them.

A prompt is 32 tokens of system, four documents of 128 and a question of 32 (rag1: one document).
Times are a page's: from generate() to the first token of the answer. `rag-last32` is what none can
go below: the run of the last 32 tokens alone, with everything before them in memory.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from .answers_engines import Tabs, TextEngine
from .answers_models import Models
from .answers_prompts import Texts
from .browsers.chromium import Chromium
from .context import Bench, Skipped
from .core import Subject, interleave

MEMORY = ("rag-none", "rag-last32", "rag-system", "rag-exact", "rag1-none")
RELOAD = "rag-reload"
LINKED = "rag-linked"
SYSTEM, DOCUMENT, QUESTION = 32, 128, 32
DOCUMENTS = 4
BEFORE = SYSTEM + DOCUMENTS * DOCUMENT  # tokens in front of the question
WARM = 200  # tokens of a prompt that lets code be compiled

Segments = list[dict[str, str]]


def system(texts: Texts) -> Segments:
    return [{"kind": "system", "text": texts.take(SYSTEM).text}]


def documents(texts: Texts, count: int = DOCUMENTS) -> Segments:
    return [{"kind": "document", "text": texts.take(DOCUMENT).text} for _ in range(count)]


def question(texts: Texts) -> Segments:
    return [{"kind": "question", "text": texts.take(QUESTION).text}]


def in_memory(context: Bench, models: Models) -> None:
    """What does not need a reload, in turns in one tab, on one thread."""
    engine = Tabs(context, models).ours(1)
    texts = models.texts
    try:
        fixed, known = system(texts), documents(texts)

        def none() -> tuple[Segments, int]:
            return [*system(texts), *documents(texts), *question(texts)], 0

        def one() -> tuple[Segments, int]:
            return [*system(texts), *documents(texts, 1), *question(texts)], 0

        def prefix() -> tuple[Segments, int]:
            return [*fixed, *documents(texts), *question(texts)], SYSTEM

        def exact() -> tuple[Segments, int]:
            return [*fixed, *known, *question(texts)], BEFORE

        engine.ask("first", {"segments": [*fixed, *known, *question(texts)]})
        prompts = {"rag-none": none, "rag-system": prefix, "rag-exact": exact, "rag1-none": one}
        subjects = [Subject(case, _first(engine, make)) for case, make in prompts.items()]
        last = {"rows": QUESTION, "start": BEFORE}
        subjects.append(Subject("rag-last32", lambda _: [float(engine.ask("last", last))]))

        def keep(case: str, values: Sequence[float]) -> None:
            context.samples.add(case, "pywasm", "ttft_ms", "ms", values)

        rounds = 3 if context.quick else 15
        context.step(f"{', '.join(MEMORY)}: {rounds} rounds")
        interleave(subjects, rounds, keep)
    finally:
        engine.page.close()


def linked(context: Bench, models: Models) -> None:
    """Documents whose KV is moved to where they stand."""
    raise Skipped("the generator has no mode `linked`: documents are used again as prefixes only")


def _first(
    engine: TextEngine, make: Callable[[], tuple[Segments, int]]
) -> Callable[[int], list[float]]:
    def sample(_: int) -> list[float]:
        segments, cached = make()
        found = engine.ask("first", {"segments": segments})
        # Texts may begin alike: a token or two of what is new may be known.
        if not cached <= found["cachedTokens"] <= cached + 8:
            raise RuntimeError(f"{found['cachedTokens']} tokens were cached, expected {cached}")
        return [found["ms"]]

    return sample


def reload(context: Bench, models: Models) -> None:
    """A tab computes, storage keeps; other tabs of the same browser ask again."""
    texts = models.texts
    prefix = [*system(texts), *documents(texts)]
    with contextlib.closing(Chromium(None, ())) as browser:
        tabs = Tabs(context, models, browser)
        engine = tabs.ours(1, storage="local")
        context.step(f"{RELOAD}: filling the storage")
        engine.ask("first", {"segments": [*prefix, *question(texts)]})
        stored(engine)
        engine.page.close()
        rounds = 2 if context.quick else 8
        for number in range(rounds):
            context.step(f"{RELOAD}: reload {number + 1} of {rounds}")
            for metric, warm in (("ttft_ms", True), ("cold_ttft_ms", False)):
                engine = tabs.ours(1, storage="local")
                if warm:
                    first = {"segments": [{"kind": "text", "text": texts.take(WARM).text}]}
                    engine.ask("first", first)
                found = engine.ask("first", {"segments": [*prefix, *question(texts)]})
                _from_storage(found)
                series = context.samples.add(RELOAD, "pywasm", metric, "ms", found["ms"])
                said = "after another answer" if warm else "the first thing that is asked"
                series.note = f"{found['sources']['storage']} tokens from storage, {said}"
                stored(engine)
                engine.page.close()


def _from_storage(found: dict[str, Any]) -> None:
    if found["sources"]["storage"] < BEFORE:
        raise RuntimeError(f"{BEFORE} tokens expected from storage, but {found['sources']}")


def stored(engine: TextEngine, timeout: float = 30.0) -> None:
    """Wait until what was computed is in storage: its size does not change any more."""
    end = time.monotonic() + timeout
    before = None
    while time.monotonic() < end:
        storage = engine.ask("status")["kv"]["storage"]
        if storage is None:
            raise RuntimeError("the generator stores no KV here")
        if storage["records"] and storage == before:
            return
        before = storage
        time.sleep(0.5)
    raise RuntimeError(f"KV is still being stored after {timeout:.0f} s")
