"""Cases answer-page and answer-memory: what an answer takes of the page, and of the machine."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from typing import Any

from .answers_engines import Tabs, TextEngine
from .answers_models import Models
from .answers_rag import question, stored
from .browsers.chromium import Chromium, ChromiumPage
from .context import Bench
from .inference_memory import Renderers

PAGE, MEMORY = "answer-page", "answer-memory"
KV_MB = 48  # the budget of the KV cache, somewhat more than a full context
MORE_MB = 40  # what there may be beside the weights and the KV
ROUNDS = 3
_CATEGORIES = ("blink.user_timing", "disabled-by-default-devtools.timeline", "toplevel")
_BEGIN, _END = "bench:answer", "bench:answered"
_TASKS = ("RunTask", "ThreadControllerImpl::RunTask")


@dataclasses.dataclass(frozen=True)
class Task:
    """ms from its begin to its end, and of processor time."""

    wall: float
    cpu: float


def longest_task(context: Bench, models: Models) -> None:
    """The main thread while an answer comes in and its text is shown, by Chromium's own trace."""
    engine = Tabs(context, models).ours(1)
    texts = models.texts
    try:
        for number in range(1 + ROUNDS):
            context.step(f"{PAGE}: answer {number + 1} of {1 + ROUNDS}")
            ask = {"text": texts.take(500).text, "count": 64, "marks": [_BEGIN, _END]}
            events = _traced(engine, ask)
            if number == 0:
                continue  # the page's own code is compiled
            tasks = main_thread(events)
            add = context.samples.add
            add(PAGE, "pywasm", "longest_task_ms", "ms", max(task.wall for task in tasks))
            busy = add(PAGE, "pywasm", "longest_cpu_ms", "ms", max(task.cpu for task in tasks))
            busy.note = "processor time: what other programs took is not in it"
            add(PAGE, "pywasm", "main_thread_ms", "ms", sum(task.cpu for task in tasks))
    finally:
        engine.page.close()


def _traced(engine: TextEngine, ask: dict[str, Any]) -> list[dict[str, Any]]:
    """Events of Chromium's trace while an answer is shown."""
    page = engine.page
    if not isinstance(page, ChromiumPage):
        raise RuntimeError("only Chromium tells how long its tasks are")
    session = page.cdp()
    events: list[dict[str, Any]] = []
    ended: list[object] = []
    session.on("Tracing.dataCollected", lambda data: events.extend(data["value"]))
    session.on("Tracing.tracingComplete", lambda data: ended.append(data))
    session.send("Tracing.start", {"traceConfig": {"includedCategories": list(_CATEGORIES)}})
    engine.ask("show", ask)
    session.send("Tracing.end")
    end = time.monotonic() + 30
    while not ended and time.monotonic() < end:
        page.tab.wait_for_timeout(50)
    session.detach()
    return events


def main_thread(events: list[dict[str, Any]]) -> list[Task]:
    """The tasks between the two marks, on the thread that set them.
    Raises RuntimeError where the trace has none.
    """
    marks = {event["name"]: event for event in events if event["name"] in (_BEGIN, _END)}
    if len(marks) != 2:
        raise RuntimeError(f"the trace of {len(events)} events has no marks of the answer")
    begin, end = marks[_BEGIN], marks[_END]
    thread = (begin["pid"], begin["tid"])
    found: dict[str, list[Task]] = {name: [] for name in _TASKS}
    for event in events:
        inside = event["ph"] == "X" and begin["ts"] <= event["ts"] <= end["ts"]
        if inside and (event["pid"], event["tid"]) == thread and event["name"] in found:
            found[event["name"]].append(Task(event["dur"] / 1e3, event.get("tdur", 0) / 1e3))
    # Both names stand for the same tasks, one around the other.
    tasks = next((tasks for tasks in found.values() if tasks), [])
    if not tasks:
        raise RuntimeError("the trace has no tasks of the answer's thread")
    return tasks


def peak_memory(context: Bench, models: Models) -> None:
    """A first visit, weights stored on the way, then prompts until the KV cache is full."""
    texts = models.texts
    rounds = 1 if context.quick else 3
    for number in range(rounds):
        context.step(f"{MEMORY}: visit {number + 1} of {rounds}")
        with contextlib.closing(Chromium(None, ())) as browser:
            blank = browser.new_page()
            blank.goto(f"{context.server.url}/bench/")
            time.sleep(1)
            renderers = Renderers(browser)
            renderers.reset()
            empty = renderers.resident()
            blank.close()
            tabs = Tabs(context, models, browser)
            engine = tabs.ours(1, storage="local", memory=KV_MB << 20)
            for _ in range(3):
                document = {"kind": "document", "text": texts.take(750).text}
                engine.ask("first", {"segments": [document, *question(texts)]})
                stored(engine)
            status = engine.ask("status")
            peak = renderers.peak() - empty
            weights = status["memory"]["weights"] / 1e6
            kv = (KV_MB << 20) / 1e6
            series = context.samples.add(MEMORY, "pywasm", "peak_mb", "MB", peak)
            series.bound = weights + kv + MORE_MB
            series.note = f"above an empty page; weights {weights:.1f}, KV {kv:.1f} MB"
            share = context.samples.add(MEMORY, "pywasm", "peak_share", "", peak / series.bound)
            share.note = f"of weights, KV budget and {MORE_MB} MB"
            time.sleep(2)
            resident = renderers.resident() - empty
            context.samples.add(MEMORY, "pywasm", "resident_mb", "MB", resident)
            total = status["memory"]["total"] / 1e6
            context.samples.add(MEMORY, "pywasm", "wasm_mb", "MB", total)
            engine.page.close()
