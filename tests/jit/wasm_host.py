"""Runs rendered kernels under wasmtime, next to the interpreter that defines them."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import wasmtime

from pywasm_jit.interpret import evaluate, interpret
from pywasm_jit.ir import Kernel, KernelError, loops
from pywasm_jit.wasm import WasmTarget, render

PAGE = 65536


class WasmHost:
    """One engine for all tests: relaxed SIMD on, as in Chromium."""

    def __init__(self) -> None:
        config = wasmtime.Config()
        config.wasm_relaxed_simd = True
        self._engine = wasmtime.Engine(config)
        self._last: tuple[Kernel, wasmtime.Module] | None = None

    def run(
        self,
        kernel: Kernel,
        buffers: Mapping[str, bytes | bytearray],
        extents: Mapping[str, int],
        grid: tuple[int, int] | None = None,
    ) -> dict[str, bytearray]:
        """All global buffers as a call leaves them. A guard around each must stay untouched."""
        places: dict[str, int] = {}
        at = 1024
        for buffer in kernel.buffers:
            size = len(buffers[buffer.name]) if buffer.space == "global" else scratch_bytes(kernel)
            places[buffer.name] = at
            at += (size + 64 + 15) // 16 * 16
        store = wasmtime.Store(self._engine)
        pages = at // PAGE + 1
        kind = wasmtime.MemoryType(wasmtime.Limits(pages, 65536))
        memory = wasmtime.Memory(store, kind)
        memory.write(store, b"\xa5" * at, 0)
        for name, content in buffers.items():
            memory.write(store, bytes(content), places[name])
        instance = wasmtime.Instance(store, self._module(kernel), [memory])
        first, last = grid or (0, grid_size(kernel, extents))
        function = instance.exports(store)["run"]
        assert isinstance(function, wasmtime.Func)
        sizes = [extents[name] for name in kernel.extents]
        function(store, *places.values(), *sizes, first, last)
        for name, content in buffers.items():
            end = places[name] + len(content)
            assert memory.read(store, end, end + 32) == b"\xa5" * 32, f"wrote behind {name}"
        return {
            name: bytearray(memory.read(store, places[name], places[name] + len(content)))
            for name, content in buffers.items()
        }

    def _module(self, kernel: Kernel) -> wasmtime.Module:
        """The kernel's module; the last one is kept, for runs in slices."""
        if self._last is None or self._last[0] is not kernel:
            target = WasmTarget(relaxed=kernel.numeric == "fused")
            self._last = kernel, wasmtime.Module(self._engine, render([("run", kernel)], target))
        return self._last[1]


def scratch_bytes(kernel: Kernel) -> int:
    """An upper bound for any scratch buffer of the kernel."""
    sizes = [
        prod(_number(size) for size in buffer.shape) * buffer.dtype.bytes
        for buffer in kernel.buffers
        if buffer.space == "scratch"
    ]
    return max(sizes, default=0)


def _number(size: object) -> int:
    number = getattr(size, "number", None)
    if not isinstance(number, int):
        raise KernelError(f"{size!r} is not constant")
    return number


def grid_size(kernel: Kernel, extents: Mapping[str, int]) -> int:
    """The number of iterations of the grid loop."""
    for loop in loops(kernel.body):
        if loop.mapping == "grid":
            return evaluate(loop.end, extents)
    return 0


def interpreted(
    kernel: Kernel,
    buffers: Mapping[str, bytes | bytearray],
    extents: Mapping[str, int],
    grid: tuple[int, int] | None = None,
) -> dict[str, bytearray]:
    """All buffers as the interpreter leaves them."""
    memory = {name: bytearray(content) for name, content in buffers.items()}
    interpret(kernel, memory, extents, grid)
    return memory
