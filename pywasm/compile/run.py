"""Runs a plan natively under wasmtime: the oracle of the browser's runtime, and the judge of what
quantisation costs.

One thread, one instance. The memory is laid out as in the browser: a control block, the weights,
the slots of the largest size asked for so far, scratch.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydantic
import tokenizers
import wasmtime

from pywasm.compile.plan_check import LARGEST_MEMORY, problem
from pywasm.compile.plan_types import (
    FILE_NAME,
    FORMAT,
    TENSOR_ALIGN,
    Numeric,
    Plan,
    PlanFile,
    PlanModule,
    Port,
    ScratchRef,
    SlotRef,
    Step,
    WeightRef,
    evaluate,
)
from pywasm.encoder import load_tokenizer
from pywasm.errors import UserError

F32 = npt.NDArray[np.float32]
Slice = Callable[[int, int], None]  # runs the iterations from, up to
CONTROL_BYTES = 1024  # at address 0: what threads synchronise by
_PAGE = 65536
_NUMPY = {"f32": np.float32, "i32": np.int32}


@functools.cache
def wasm_engine() -> wasmtime.Engine:
    """With relaxed SIMD; one for the process."""
    config = wasmtime.Config()
    config.wasm_simd = True
    config.wasm_relaxed_simd = True
    config.cranelift_opt_level = "speed"
    return wasmtime.Engine(config)


class PlanRun:
    """A plan with its weights in memory. `module` is one of its unshared modules."""

    def __init__(
        self, plan: Plan, weights: Sequence[bytes], module: bytes, numeric: Numeric
    ) -> None:
        self.plan = plan
        self._numeric: Numeric = numeric
        self._store = wasmtime.Store(wasm_engine())
        self._arena = _aligned(CONTROL_BYTES + plan.weights.bytes)
        limits = wasmtime.Limits(-(-self._arena // _PAGE), LARGEST_MEMORY // _PAGE)
        self._memory = wasmtime.Memory(self._store, wasmtime.MemoryType(limits))
        code = wasmtime.Module(wasm_engine(), module)
        instance = wasmtime.Instance(self._store, code, [self._memory])
        exports = instance.exports(self._store)
        self._functions: list[Any] = [exports[kernel.export] for kernel in plan.kernels]
        offset = CONTROL_BYTES
        for piece in weights:
            self._write(offset, piece)
            offset += len(piece)

    def run(
        self, inputs: Mapping[str, npt.ArrayLike], symbols: Mapping[str, int], threads: int = 1
    ) -> dict[str, npt.NDArray[Any]]:
        """Outputs by name. `threads`: how many slices each step is cut into (run one by one)."""
        addresses = self._slots(symbols)
        for port in self.plan.inputs:
            given = np.ascontiguousarray(inputs[port.name], _NUMPY[port.dtype])
            shape = _shape(port, symbols)
            if given.shape != shape:
                raise ValueError(f"input {port.name} is {given.shape}, expected {shape}")
            self._write(addresses[port.slot], given.tobytes())
        for step in self.plan.steps:
            self.run_step(step, symbols, threads)
        return {
            port.name: self._read(addresses[port.slot], port.dtype, _shape(port, symbols))
            for port in self.plan.outputs
        }

    def run_step(self, step: Step, symbols: Mapping[str, int], threads: int = 1) -> None:
        """One step, on what the steps before have left in the slots."""
        call, grid = self.call(step, symbols)
        for thread in range(threads):
            call(grid * thread // threads, grid * (thread + 1) // threads)

    def call(
        self, step: Step, symbols: Mapping[str, int]
    ) -> tuple[Callable[[int, int], None], int]:
        """The step as a function of (grid begin, grid end), and its grid."""
        kernel = self.plan.kernels[step.kernel]
        slots = self._slots(symbols)
        end = slots[-1]
        scratch = list(itertools.accumulate(map(_aligned, kernel.scratch), initial=end))
        self._grow(scratch[-1])
        arguments: list[int] = []
        for buffer in step.buffers:
            match buffer:
                case WeightRef(weight=index):
                    arguments.append(CONTROL_BYTES + self.plan.weights.tensors[index].offset)
                case SlotRef(slot=index):
                    arguments.append(slots[index])
                case ScratchRef(scratch=index):
                    arguments.append(scratch[index])
        extents = [evaluate(expr, symbols) for expr in step.extents]
        grid = evaluate(
            kernel.variants[self._numeric].grid, dict(zip(kernel.extents, extents, strict=True))
        )
        function = self._functions[step.kernel]

        def call(begin: int, end: int) -> None:
            function(self._store, *arguments, *extents, begin, end)

        return call, grid

    def times(
        self, inputs: Mapping[str, npt.ArrayLike], symbols: Mapping[str, int], repeats: int
    ) -> list[float]:
        """Least seconds of each step over `repeats` runs of the whole."""
        self.run(inputs, symbols)
        least = [float("inf")] * len(self.plan.steps)
        for _ in range(repeats):
            for number, step in enumerate(self.plan.steps):
                call, grid = self.call(step, symbols)
                start = time.perf_counter()
                call(0, grid)
                least[number] = min(least[number], time.perf_counter() - start)
        return least

    def _slots(self, symbols: Mapping[str, int]) -> list[int]:
        """The address of each slot, and of what is behind the last."""
        sizes = (_aligned(evaluate(slot.bytes, symbols)) for slot in self.plan.slots)
        addresses = list(itertools.accumulate(sizes, initial=self._arena))
        self._grow(addresses[-1])
        return addresses

    def _grow(self, size: int) -> None:
        if size > LARGEST_MEMORY:
            raise UserError(f"{self.plan.name}: a run of this size needs {size:,} bytes of memory")
        missing = size - self._memory.data_len(self._store)
        if missing > 0:
            self._memory.grow(self._store, -(-missing // _PAGE))

    def _write(self, address: int, data: bytes) -> None:
        self._memory.write(self._store, data, address)

    def _read(self, address: int, dtype: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        kind = np.dtype(_NUMPY[dtype])
        size = int(np.prod(shape)) * kind.itemsize
        base = ctypes.addressof(self._memory.data_ptr(self._store).contents)
        data = ctypes.string_at(base + address, size)
        return np.frombuffer(data, kind).reshape(shape)


class TextEncoder:
    """Texts to embeddings by a plan: what `Encoder` is in the browser."""

    def __init__(self, run: PlanRun, tokenizer: tokenizers.Tokenizer) -> None:
        self._run = run
        self._info = run.plan.text_encoder()
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def embed_documents(self, texts: Sequence[str], batch: int = 8) -> F32:
        """f32[len(texts), dim]; a text is cut at `max_tokens`, a shorter one padded."""
        return self._embed([self._info.document_prefix + text for text in texts], batch)

    def embed_queries(self, texts: Sequence[str], batch: int = 8) -> F32:
        return self._embed([self._info.query_prefix + text for text in texts], batch)

    def _embed(self, texts: list[str], batch: int) -> F32:
        rows = [self._ids(text) for text in texts]
        parts = [
            self.embed_ids(rows[first : first + batch]) for first in range(0, len(rows), batch)
        ]
        empty = np.zeros((0, self._info.dim), np.float32)
        return np.concatenate(parts or [empty])

    def embed_ids(self, rows: Sequence[Sequence[int]]) -> F32:
        """f32[len(rows), dim] of token ids, special ones included."""
        lengths = [len(row) for row in rows]
        seq = max(lengths)
        ids = [[*row, *[0] * (seq - len(row))] for row in rows]
        symbols = {"batch": len(rows), "seq": seq}
        made = self._run.run({"ids": ids, "lengths": lengths}, symbols)
        return made["embedding"]

    def _ids(self, text: str) -> list[int]:
        """Cut in front of the closing special token."""
        ids: list[int] = self._tokenizer.encode(text).ids
        limit = self._info.max_tokens
        return [*ids[: limit - 1], ids[-1]] if len(ids) > limit else ids


def read_plan(directory: Path) -> Plan:
    """plan.json, checked. Raises UserError."""
    file = directory / FILE_NAME
    try:
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise UserError(
            f"{directory}: no {FILE_NAME} here; expected a folder made by `pywasm compile`"
        ) from error
    try:
        plan = Plan.model_validate_json(data)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(
            f"{file}: {place}: {first['msg']}; expected a plan of format {FORMAT}"
        ) from error
    if found := problem(plan):
        raise UserError(f"{file}: {found}; compile the model again")
    return plan


def read_file(directory: Path, info: PlanFile | PlanModule) -> bytes:
    """A file that a plan names, its length and hash compared. Raises UserError."""
    file = directory / info.file
    if not file.is_file():
        raise UserError(f"{file}: missing; compile the model again")
    size = file.stat().st_size
    if size != info.bytes:
        raise UserError(f"{file}: {size:,} bytes, expected {info.bytes:,}; compile the model again")
    data = file.read_bytes()
    if hashlib.sha256(data).hexdigest() != info.sha256:
        raise UserError(f"{file}: damaged: its hash is another; compile the model again")
    return data


def open_run(directory: Path, numeric: Numeric = "fused") -> PlanRun:
    """The plan of a compiled model, ready to run."""
    plan = read_plan(directory)
    module = next(m for m in plan.modules if m.numeric == numeric and not m.shared)
    code = read_file(
        directory, PlanFile(file=module.file, bytes=module.bytes, sha256=module.sha256)
    )
    weights = [read_file(directory, shard) for shard in plan.weights.shards]
    return PlanRun(plan, weights, code, numeric)


def open_encoder(directory: Path, numeric: Numeric = "fused") -> TextEncoder:
    """The encoder of a compiled model, ready to run."""
    run = open_run(directory, numeric)
    read_file(directory, run.plan.text_encoder().tokenizer)
    return TextEncoder(run, load_tokenizer(directory / run.plan.text_encoder().tokenizer.file))


def _aligned(size: int) -> int:
    return -(-size // TENSOR_ALIGN) * TENSOR_ALIGN


def _shape(port: Port, symbols: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(evaluate(size, symbols) for size in port.shape)
