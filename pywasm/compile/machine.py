"""What this machine can do at most, measured under wasmtime: the roof of a roofline."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import wasmtime

from pywasm.compile.instance import wasm_engine
from pywasm.compile.plan_types import Numeric
from pywasm_jit import device, ir, wasm

_FLOPS, _DOT_OPERATIONS = 4 * 96, 4 * 384  # of one turn of the peak kernels (device.py)
_TURNS = 200_000
_REPEATS = 5


@dataclass(frozen=True)
class Machine:
    """A second of one thread: f32 operations and those of 8-bit dot products, in registers, and
    bytes read from memory."""

    flops: float
    dot_operations: float
    bandwidth: float


def measure(numeric: Numeric) -> Machine:
    """In well under a second."""
    relaxed = numeric == "fused"
    return Machine(
        flops=_FLOPS * _TURNS / _seconds(device.peak(numeric), relaxed),
        dot_operations=_DOT_OPERATIONS * _TURNS / _seconds(device.peak_dot(), relaxed),
        bandwidth=_bandwidth(),
    )


def _seconds(kernel: ir.Kernel, relaxed: bool) -> float:
    """Of one call of a peak kernel with `_TURNS` turns, the least of several."""
    store = wasmtime.Store(wasm_engine())
    memory = wasmtime.Memory(store, wasmtime.MemoryType(wasmtime.Limits(1, 65536)))
    code = wasm.render([("run", kernel)], wasm.WasmTarget(relaxed))
    instance = wasmtime.Instance(store, wasmtime.Module(wasm_engine(), code), [memory])
    run = instance.exports(store)["run"]
    assert isinstance(run, wasmtime.Func)
    buffers = [1024 * (index + 1) for index in range(len(kernel.buffers))]
    best = float("inf")
    for _ in range(_REPEATS):
        start = time.perf_counter()
        run(store, *buffers, _TURNS, 0, 1)
        best = min(best, time.perf_counter() - start)
    return best


def _bandwidth() -> float:
    """From reading more than any cache holds."""
    data = np.ones(8 << 20, np.int64)
    best = float("inf")
    for _ in range(_REPEATS):
        start = time.perf_counter()
        data.max()
        best = min(best, time.perf_counter() - start)
    return data.nbytes / best
