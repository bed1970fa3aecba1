"""A plan's kernels and weights in a memory of their own, under wasmtime.

One thread, one instance. The memory is laid out as in the browser: a control block, the weights,
what runs need (slots, scratch), and behind it whatever else there is.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import wasmtime

from pywasm.compile.plan_check import LARGEST_MEMORY
from pywasm.compile.plan_types import (
    TENSOR_ALIGN,
    KvRef,
    Numeric,
    Plan,
    Port,
    ScratchRef,
    SlotRef,
    Step,
    WeightRef,
    evaluate,
)
from pywasm.errors import UserError

CONTROL_BYTES = 1024  # at address 0: what threads synchronise by
_PAGE = 65536
_NUMPY: dict[str, npt.DTypeLike] = {"f32": "<f4", "i32": "<i4", "f16": "<f2", "u8": "u1"}


@functools.cache
def wasm_engine() -> wasmtime.Engine:
    """With relaxed SIMD; one for the process."""
    config = wasmtime.Config()
    config.wasm_simd = True
    config.wasm_relaxed_simd = True
    config.cranelift_opt_level = "speed"
    return wasmtime.Engine(config)


class PlanInstance:
    """`module` is one of the plan's unshared modules, `weights` its shards.

    `arena`: the address behind the weights, where slots begin.
    """

    def __init__(
        self, plan: Plan, weights: Sequence[bytes], module: bytes, numeric: Numeric
    ) -> None:
        self.plan = plan
        self.numeric: Numeric = numeric
        self.arena = aligned(CONTROL_BYTES + plan.weights.bytes)
        self._store = wasmtime.Store(wasm_engine())
        limits = wasmtime.Limits(-(-self.arena // _PAGE), LARGEST_MEMORY // _PAGE)
        self._memory = wasmtime.Memory(self._store, wasmtime.MemoryType(limits))
        code = wasmtime.Module(wasm_engine(), module)
        instance = wasmtime.Instance(self._store, code, [self._memory])
        exports = instance.exports(self._store)
        self._functions: list[Any] = [exports[kernel.export] for kernel in plan.kernels]
        offset = CONTROL_BYTES
        for piece in weights:
            self.write(offset, piece)
            offset += len(piece)

    def slots(self, symbols: Mapping[str, int]) -> list[int]:
        """The address of each slot, and of what is behind the last."""
        sizes = (aligned(evaluate(slot.bytes, symbols)) for slot in self.plan.slots)
        return list(itertools.accumulate(sizes, initial=self.arena))

    def weight(self, number: int) -> int:
        """The address of a tensor."""
        return CONTROL_BYTES + self.plan.weights.tensors[number].offset

    def call(
        self, step: Step, symbols: Mapping[str, int], slots: Sequence[int], scratch: int, kv: int
    ) -> tuple[Callable[[int, int], None], int]:
        """The step as a function of (grid begin, grid end), and its grid.

        Addresses: `slots` of each, `scratch` of the first scratch buffer, `kv` of the KV arena.
        """
        kernel = self.plan.kernels[step.kernel]
        inner = list(itertools.accumulate(map(aligned, kernel.scratch), initial=scratch))
        arguments: list[int] = []
        for buffer in step.buffers:
            match buffer:
                case WeightRef(weight=index):
                    arguments.append(self.weight(index))
                case SlotRef(slot=index):
                    arguments.append(slots[index])
                case ScratchRef(scratch=index):
                    arguments.append(inner[index])
                case KvRef(kv=layer):
                    decoder = self.plan.language_model()
                    arguments.append(kv + layer * decoder.kv_block_bytes // decoder.layers)
        extents = [evaluate(expr, symbols) for expr in step.extents]
        return self.function(step.kernel, arguments, extents)

    def function(
        self, kernel: int, addresses: Sequence[int], extents: Sequence[int]
    ) -> tuple[Callable[[int, int], None], int]:
        """A kernel with its buffers and extents as a function of (grid begin, end); its grid."""
        info = self.plan.kernels[kernel]
        sizes = dict(zip(info.extents, extents, strict=True))
        grid = evaluate(info.variants[self.numeric].grid, sizes)
        function = self._functions[kernel]
        # wasmtime takes addresses as signed numbers
        arguments = [address - (address >> 31 << 32) for address in (*addresses, *extents)]

        def call(begin: int, end: int) -> None:
            function(self._store, *arguments, begin, end)

        return call, grid

    def grow(self, size: int) -> None:
        """The memory to at least `size` bytes. Raises UserError beyond what addresses reach."""
        if size > LARGEST_MEMORY:
            raise UserError(f"{self.plan.name}: a run of this size needs {size:,} bytes of memory")
        missing = size - self._memory.data_len(self._store)
        if missing > 0:
            self._memory.grow(self._store, -(-missing // _PAGE))

    def write(self, address: int, data: bytes) -> None:
        self._memory.write(self._store, data, address)

    def view(self, address: int, dtype: str, shape: Sequence[int]) -> npt.NDArray[Any]:
        """The memory itself, to be read and written; until it grows."""
        kind = np.dtype(_NUMPY[dtype])
        size = int(np.prod(shape)) * kind.itemsize
        if address + size > self._memory.data_len(self._store):
            raise ValueError(f"{size:,} bytes at {address:,} do not lie in memory")
        base = ctypes.addressof(self._memory.data_ptr(self._store).contents)
        held: Any = (ctypes.c_uint8 * size).from_address(base + address)
        held.owner = self  # the memory lives as long as the array
        return np.ndarray(tuple(shape), kind, held)


def aligned(size: int) -> int:
    return -(-size // TENSOR_ALIGN) * TENSOR_ALIGN


def shape_of(port: Port, symbols: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(evaluate(size, symbols) for size in port.shape)
