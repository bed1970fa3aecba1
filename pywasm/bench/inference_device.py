"""What a browser's Wasm can do here, and how long a plan takes at least at that."""

from __future__ import annotations

import base64
from typing import Any

from pywasm.compile.plan_types import Plan, evaluate
from pywasm_jit.device import VECTORS, Device, peak, peak_dot
from pywasm_jit.wasm import WasmTarget, render

from .browsers import Page
from .engines import InPage

_STEPS = 200_000  # of the loops of the peak: a millisecond, fifty ticks of the coarsest clock
_FLOPS = _STEPS * 4 * VECTORS * 8


def text(code: bytes) -> str:
    """A module as pages take it."""
    return base64.b64encode(code).decode()


def measured(page: Page) -> Device:
    """The device of a browser: peaks of one thread; the numeric class as a page would choose it."""
    engine = InPage(page, "kernels", [], host="device")
    engine.call("start", {"engine": "kernels", "options": {}})
    fma = render([("run", peak("fused"))], WasmTarget(relaxed=True))
    relaxed = bool(engine.ask("valid", text(fma)))
    found: dict[str, Any] = {"relaxed": relaxed, "fused": relaxed, "threads": 1}
    for name, kernel, fused in (
        ("peak_separate", peak("separate"), False),
        ("peak_fused", peak("fused"), True),
        ("peak_dot", peak_dot(), relaxed),
    ):
        if fused and not relaxed:
            continue
        dot = name == "peak_dot"
        args = [0, 1024, _STEPS, 0, 1] if dot else [0, _STEPS, 0, 1]
        code = text(render([("run", kernel)], WasmTarget(relaxed=fused)))
        argument = {"wasm": code, "args": args, "flops": _FLOPS * 4 if dot else _FLOPS}
        found[name] = engine.ask("peak", argument)
    engine.stop()
    return Device.parse(found)


def least_ms(plan: Plan, device: Device, batch: int, seq: int, threads: int) -> float:
    """The arithmetic of a run at the peak of so many threads."""
    symbols = {"batch": batch, "seq": seq}
    single = device.peak_fused or device.peak_separate
    seconds = 0.0
    for step in plan.steps:
        integer = "i8" in plan.kernels[step.kernel].variants["fused"].recipe.kernel
        rate = device.peak_dot if integer else single
        seconds += evaluate(step.flops, symbols) / (rate * 1e9)
    return seconds * 1e3 / threads
