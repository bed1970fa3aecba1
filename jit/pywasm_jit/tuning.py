"""Tuning of a model's kernels, as a host without Python's types drives it: JSON in, JSON out.

The host (web/src/tuning/worker.ts in a browser, a test here) calls `ask`, times the candidates
whose modules it gets from `module`, and calls `answer`, until `ask` says that all is done.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from typing import Any

from pywasm_jit import recipes
from pywasm_jit.device import Device, peak, peak_dot
from pywasm_jit.interpret import evaluate
from pywasm_jit.ir import Kernel
from pywasm_jit.schedule import Step, apply
from pywasm_jit.sizes import expr_json, grid
from pywasm_jit.space import schedules
from pywasm_jit.tune import Ask, Result, Samples, tune
from pywasm_jit.wasm import WasmTarget, render

_NOTHING: dict[str, Any] = {"candidates": [], "grids": [], "samples": 0}


class Session:
    """`tasks`: JSON, a list of {name, recipe, extents, flops}; see TuneTask in messages.ts."""

    def __init__(self, tasks: str) -> None:
        self._tasks: list[Mapping[str, Any]] = json.loads(tasks)
        self._device = Device(relaxed=False, fused=False)
        self._number = -1
        self._task: _Task | None = None
        self._decided: _Task | None = None

    def probe(self, name: str) -> bytes:
        """A module exporting `run`, a loop of device.py by the name of what it measures."""
        probes = {
            "peak_fused": (peak("fused"), True),
            "peak_separate": (peak("separate"), False),
            "peak_dot": (peak_dot(), False),
            "peak_dot_relaxed": (peak_dot(), True),
        }
        kernel, relaxed = probes[name]
        return render([("run", kernel)], WasmTarget(relaxed))

    def describe(self, device: str) -> None:
        """What the probes have shown, as JSON of a Device."""
        self._device = Device.parse(json.loads(device))

    def ask(self) -> str:
        """JSON: {task, candidates, grids, samples, decided}; task -1 when all is done.

        decided: [{task, winner}] since the last ask, winner null where the default stays.
        """
        decided: list[dict[str, Any]] = []
        while self._task is None or self._task.result is not None:
            if self._task is not None:
                decided.append({"task": self._number, "winner": self._task.winner()})
                self._decided = self._task if self._task.winner() else self._decided
            self._number += 1
            if self._number == len(self._tasks):
                return json.dumps({"task": -1, "decided": decided, **_NOTHING})
            self._task = _Task(self._tasks[self._number], self._device)
        ask = self._task.ask
        grids = [self._task.grid(number) for number in ask.candidates]
        return json.dumps(
            {"task": self._number, "candidates": ask.candidates, "grids": grids}
            | {"samples": ask.samples, "decided": decided}
        )

    def module(self, number: int) -> bytes:
        """The module of a candidate of the task that was asked about last."""
        assert self._task is not None
        return self._task.module(number)

    def winner(self, shared: bool) -> bytes:
        """The module of the winner that the last `ask` told of; `shared`: for shared memory."""
        assert self._decided is not None and self._decided.result is not None
        return self._decided.module(self._decided.result.winner, shared)

    def answer(self, times: str) -> None:
        """JSON: seconds of a call, a list for each candidate; empty where it failed."""
        assert self._task is not None
        self._task.answer(json.loads(times))


class _Task:
    def __init__(self, task: Mapping[str, Any], device: Device) -> None:
        recipe = task["recipe"]
        self._name = str(task["name"])
        self._extents: dict[str, int] = task["extents"]
        self._device = device
        self._naive = recipes.naive(recipe)
        self._schedules = schedules(
            recipe["kernel"],
            self._naive,
            recipe["steps"],
            self._extents,
            recipe["parameters"],
            device,
        )
        self._kernels: dict[int, Kernel] = {}
        self.result: Result | None = None
        self.ask = Ask([], 0)
        self._conversation = tune(len(self._schedules), float(task["flops"]), self._peak(recipe))
        self._advance(None)

    def _peak(self, recipe: Mapping[str, Any]) -> float:
        if "i8" in recipe["kernel"]:
            return self._device.peak_dot
        fused = recipe["numeric"] == "fused"
        return self._device.peak_fused if fused else self._device.peak_separate

    def answer(self, times: Samples) -> None:
        self._advance(times)

    def _advance(self, times: Samples | None) -> None:
        conversation: Generator[Ask, Samples, Result] = self._conversation
        try:
            self.ask = next(conversation) if times is None else conversation.send(times)
        except StopIteration as end:
            self.result = end.value

    def kernel(self, number: int) -> Kernel:
        if number not in self._kernels:
            self._kernels[number] = apply(self._naive, self._schedules[number])
        return self._kernels[number]

    def grid(self, number: int) -> int:
        return evaluate(grid(self.kernel(number)), self._extents)

    def module(self, number: int, shared: bool = False) -> bytes:
        target = WasmTarget(relaxed=self._device.relaxed, shared=shared)
        return render([(self._name, self.kernel(number))], target)

    def winner(self) -> dict[str, Any] | None:
        assert self.result is not None
        number = self.result.winner
        if number == 0:
            return None
        steps: list[Step] = self._schedules[number]
        size = expr_json(grid(self.kernel(number)))
        return {"number": number, "steps": steps, "grid": size, "gain": self.result.gain}
