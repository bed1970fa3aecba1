"""Runs a plan natively under wasmtime: the oracle of the browser's runtime, and the judge of what
quantisation costs.

Behind the weights (instance.py) lie the slots of the size that is asked for, then scratch.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydantic
import tokenizers

from pywasm.compile.instance import PlanInstance, aligned, shape_of
from pywasm.compile.plan_check import problem
from pywasm.compile.plan_types import (
    FILE_NAME,
    FORMAT,
    Numeric,
    Plan,
    PlanFile,
    PlanModule,
    Step,
)
from pywasm.encoder import load_tokenizer
from pywasm.errors import UserError

F32 = npt.NDArray[np.float32]
Slice = Callable[[int, int], None]  # runs the iterations from, up to
_NUMPY = {"f32": np.float32, "i32": np.int32}


class PlanRun:
    """A plan with its weights in memory."""

    def __init__(self, instance: PlanInstance) -> None:
        self.plan = instance.plan
        self._instance = instance

    def run(
        self, inputs: Mapping[str, npt.ArrayLike], symbols: Mapping[str, int], threads: int = 1
    ) -> dict[str, npt.NDArray[Any]]:
        """Outputs by name. `threads`: how many slices each step is cut into (run one by one)."""
        addresses = self._slots(symbols)
        for port in self.plan.inputs:
            given = np.ascontiguousarray(inputs[port.name], _NUMPY[port.dtype])
            shape = shape_of(port, symbols)
            if given.shape != shape:
                raise ValueError(f"input {port.name} is {given.shape}, expected {shape}")
            self._instance.write(addresses[port.slot], given.tobytes())
        for step in self.plan.steps:
            self.run_step(step, symbols, threads)
        return {
            port.name: self._instance.view(
                addresses[port.slot], port.dtype, shape_of(port, symbols)
            ).copy()
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
        slots = self._slots(symbols)
        scratch = self.plan.kernels[step.kernel].scratch
        self._instance.grow(slots[-1] + sum(map(aligned, scratch)))
        return self._instance.call(step, symbols, slots, slots[-1], 0)

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
        addresses = self._instance.slots(symbols)
        self._instance.grow(addresses[-1])
        return addresses


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


def open_instance(directory: Path, numeric: Numeric = "fused") -> PlanInstance:
    """The kernels and weights of a compiled model in memory."""
    plan = read_plan(directory)
    module = next(m for m in plan.modules if m.numeric == numeric and not m.shared)
    code = read_file(
        directory, PlanFile(file=module.file, bytes=module.bytes, sha256=module.sha256)
    )
    weights = [read_file(directory, shard) for shard in plan.weights.shards]
    return PlanInstance(plan, weights, code, numeric)


def open_run(directory: Path, numeric: Numeric = "fused") -> PlanRun:
    """The plan of a compiled model, ready to run."""
    return PlanRun(open_instance(directory, numeric))


def open_encoder(directory: Path, numeric: Numeric = "fused") -> TextEncoder:
    """The encoder of a compiled model, ready to run."""
    run = open_run(directory, numeric)
    read_file(directory, run.plan.text_encoder().tokenizer)
    return TextEncoder(run, load_tokenizer(directory / run.plan.text_encoder().tokenizer.file))
