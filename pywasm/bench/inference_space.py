"""How good the tuner's choices are: against the best of all schedules, measured one by one, on
numbers of rows and in a browser that it was not developed with.

The tuner is the product's, here in CPython instead of Pyodide; the page only times.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter

import numpy as np

from pywasm.compile.plan_types import Plan, PlanKernel, evaluate
from pywasm_jit import recipes
from pywasm_jit.device import Device
from pywasm_jit.interpret import evaluate as value_of
from pywasm_jit.ir import KernelError, Numeric
from pywasm_jit.schedule import Step, apply
from pywasm_jit.sizes import grid
from pywasm_jit.space import SPACES
from pywasm_jit.tuning import Session
from pywasm_jit.wasm import WasmTarget, render

from .browsers import BrowserError, launch
from .context import Bench
from .engines import InPage
from .inference_device import measured, text
from .inference_models import DType, Models

SHAPES = ((1, 44), (3, 50))
BROWSERS = ("firefox", "chromium")
_FINALISTS = 4
_TUNERS = 10_000  # numbers of the tuner's own candidates begin here
_WIDTH = {"f32": 4, "i32": 4, "i8x4": 4, "f16": 2, "i8": 1, "u8": 1}


@dataclasses.dataclass
class Task:
    """A kernel of a plan on a shape, and how many steps run it."""

    kernel: PlanKernel
    extents: dict[str, int]
    flops: int
    calls: int


def choices(context: Bench, models: Models, case: str, dtype: DType) -> None:
    """`tuned_vs_best`: the time of all tuned kernels of a run over that of the best ones, a value
    for each shape.
    """
    plan = Plan.model_validate_json((models.compiled(dtype) / "plan.json").read_bytes())
    for name in BROWSERS:
        try:
            browser = launch(name)
        except BrowserError:
            continue
        with browser:
            page = browser.new_page()
            page.goto(f"{context.server.url}/bench/")
            engine = InPage(page, "kernels", [])
            engine.call("start", {"engine": "kernels", "options": {}})
            device = measured(page)
            for batch, seq in SHAPES[:1] if context.quick else SHAPES:
                context.step(f"{case}: every schedule at {batch}x{seq}, in {name}")
                _shape(context, case, plan, engine, device, batch, seq, f"{name} {browser.version}")
        return
    raise BrowserError(f"none of {', '.join(BROWSERS)} can be started")


def _shape(
    context: Bench,
    case: str,
    plan: Plan,
    engine: InPage,
    device: Device,
    batch: int,
    seq: int,
    browser: str,
) -> None:
    tuned = best = 0.0
    worst = 1.0
    kernels = candidates = 0
    for task in _tasks(plan, device, batch, seq):
        trial = _Trial(engine, task, device)
        chosen, fastest = trial.chosen_and_fastest()
        tuned += chosen * task.calls
        best += fastest * task.calls
        worst = max(worst, chosen / fastest)
        kernels += 1
        candidates += len(trial.schedules)
    series = context.samples.add(case, "pywasm", "tuned_vs_best", "", tuned / best)
    series.note = (
        f"{browser}; last shape: {candidates} schedules of {kernels} kernels, worst {worst:.2f}"
    )


def _tasks(plan: Plan, device: Device, batch: int, seq: int) -> list[Task]:
    """The kernels that have a space."""
    symbols = {"batch": batch, "seq": seq}
    calls = Counter(step.kernel for step in plan.steps)
    tasks = {}
    for step in plan.steps:
        kernel = plan.kernels[step.kernel]
        if kernel.variants[_numeric(device)].recipe.kernel in SPACES:
            sizes = [evaluate(expr, symbols) for expr in step.extents]
            extents = dict(zip(kernel.extents, sizes, strict=True))
            flops = evaluate(step.flops, symbols)
            tasks[step.kernel] = Task(kernel, extents, flops, calls[step.kernel])
    return list(tasks.values())


def _numeric(device: Device) -> Numeric:
    return "fused" if device.relaxed and device.fused else "separate"


class _Trial:
    """All schedules of a task, loaded in the page."""

    def __init__(self, engine: InPage, task: Task, device: Device) -> None:
        self._engine, self._task, self._device = engine, task, device
        self._recipe = task.kernel.variants[_numeric(device)].recipe.model_dump()
        self._naive = recipes.naive(self._recipe)
        space = SPACES[self._recipe["kernel"]]
        parameters = self._recipe["parameters"]
        self.schedules: list[list[Step]] = [self._recipe["steps"]]
        for steps in space(self._naive, task.extents, parameters, device):
            if steps not in self.schedules:
                self.schedules.append(steps)
        buffers = [
            {
                "bytes": int(np.prod([evaluate(size, task.extents) for size in buffer.shape]))
                * _WIDTH[buffer.dtype],
                "kind": "f32" if buffer.dtype == "f32" else "bytes",
                "written": buffer.access == "write" and not buffer.scratch,
            }
            for buffer in task.kernel.buffers
        ]
        engine.ask("load", {"buffers": buffers, "extents": list(task.extents.values())})
        self._right: set[int] = set()
        for number, steps in enumerate(self.schedules):
            self._add(number, *self._module(number, steps))

    def chosen_and_fastest(self) -> tuple[float, float]:
        """Seconds of a call: of what the tuner chooses, and of the best there is; both from
        measurements that chose neither.
        """
        chosen = self.schedules.index(self._choice())
        numbers = sorted(number for number in self._right if number < _TUNERS)
        first = self._measure(numbers, 5)
        ranked = sorted(numbers, key=lambda number: first[number])
        finalists = sorted({0, chosen, *ranked[:_FINALISTS]})
        last = self._measure(finalists, 40, ms=4)
        return last[chosen], min(last.values())

    def _choice(self) -> list[Step]:
        """What the product's tuner decides, timed by this page."""
        task = {
            "name": "run",
            "recipe": self._recipe,
            "extents": self._task.extents,
            "flops": self._task.flops,
        }
        session = Session(json.dumps([task]))
        session.describe(json.dumps(self._device.json()))
        while (ask := json.loads(session.ask()))["task"] >= 0:
            numbers = [_TUNERS + number for number in ask["candidates"]]
            for number, end in zip(ask["candidates"], ask["grids"], strict=True):
                if _TUNERS + number not in self._right:
                    self._add(_TUNERS + number, session.module(number), end)
            session.answer(json.dumps(self._times(numbers, ask["samples"])))
        winner = ask["decided"][0]["winner"]
        return self.schedules[0] if winner is None else winner["steps"]

    def _times(self, numbers: list[int], samples: int, ms: float = 2) -> list[list[float]]:
        right = [number for number in numbers if number in self._right]
        argument = {"numbers": right, "samples": samples, "ms": ms}
        found = dict(zip(right, self._engine.ask("measure", argument), strict=True))
        return [found.get(number, []) for number in numbers]

    def _measure(self, numbers: list[int], samples: int, ms: float = 2) -> dict[int, float]:
        times = self._times(numbers, samples, ms)
        return {n: float(np.median(found)) for n, found in zip(numbers, times, strict=True)}

    def _module(self, number: int, steps: list[Step]) -> tuple[bytes, int]:
        try:
            kernel = apply(self._naive, steps)
        except KernelError as error:
            raise RuntimeError(f"schedule {number} of {self._task.kernel.name}: {error}") from error
        code = render([("run", kernel)], WasmTarget(relaxed=self._device.relaxed))
        return code, value_of(grid(kernel), self._task.extents)

    def _add(self, number: int, module: bytes, end: int) -> None:
        """Load it; one that is wrong is never measured."""
        schedule = {"number": number, "wasm": text(module), "grid": end}
        self._right.update(self._engine.ask("add", [schedule]))
