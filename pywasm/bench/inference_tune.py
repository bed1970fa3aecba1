"""Cases minilm-tune*: what tuning takes in a browser that was never here, and what it gains."""

from __future__ import annotations

from collections.abc import Sequence

from . import inference_space
from .context import Bench
from .core import Subject, interleave
from .inference_engines import PageSentences
from .inference_models import DType, Models

CASES: dict[str, DType] = {"minilm-tune": "f32", "minilm-tune-int8": "int8"}
SHAPE = (1, 128)


def tune(context: Bench, case: str) -> None:
    """One thread, on SHAPE; then its choices against all there are, where it was not developed."""
    models = Models(context)
    for visit in range(1 if context.quick else 3):
        context.step(f"{case}: visit {visit + 1}")
        _visit(context, models, case, 8 if context.quick else 30)
    inference_space.choices(context, models, case, CASES[case])


def _visit(context: Bench, models: Models, case: str, rounds: int) -> None:
    """Pyodide is booted and all is tuned in a tab whose storage is empty; then the tuned session
    and one with the defaults take turns.
    """
    add = context.samples.add
    page = context.browser.new_page(isolated=True)
    page.goto(f"{context.server.url}/bench/")
    try:
        ids = models.ids(*SHAPE)
        engines = {}
        for name, more in (("tuned", models.tuning), ("default", {})):
            engine = PageSentences(page, "encoder", name, 1, on_page=True)
            engine.start(**models.session(CASES[case], 1), **more)
            engine.prepare(ids)
            engines[name] = engine
        status = engines["tuned"].ask("tuning")
        stats = status["stats"]
        series = add(case, "pywasm", "tune_s", "s", stats["tuneMs"] / 1e3)
        series.note = (
            f"{status['total']} kernels, {stats['candidates']} candidates, "
            f"{len(status['winners'])} faster than the default; Pyodide was up before"
        )
        add(case, "pywasm", "boot_s", "s", stats["bootMs"] / 1e3)
        for metric, field in (("emit_ms", "emitMs"), ("compile_ms", "compileMs")):
            series = add(case, "pywasm", metric, "ms", stats[field] / stats["candidates"])
            series.note = "a candidate"
        times: dict[str, list[float]] = {"tuned": [], "default": []}

        def subject(name: str) -> Subject:
            return Subject(name, lambda number: engines[name].time(1, 3))

        def keep(name: str, values: Sequence[float]) -> None:
            times[name] += values

        interleave([subject(name) for name in times], rounds, keep)
        pairs = zip(times["tuned"], times["default"], strict=True)
        series = add(case, "pywasm", "tuned_vs_default", "", [a / b for a, b in pairs])
        series.note = "of the time of a run, in pairs"
    finally:
        page.close()
