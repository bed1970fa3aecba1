"""The kernels of a plan: recipes for both numeric classes, and the modules made of them."""

from __future__ import annotations

import json
import math
from typing import get_args

from pywasm.compile.lower import Parameters
from pywasm.compile.plan_types import KernelBuffer, Numeric, PlanKernel, Recipe, Variant
from pywasm.errors import UserError
from pywasm_jit import gpu, ir, recipes, wasm
from pywasm_jit.sizes import expr_json, grid
from pywasm_jit.wgsl import Shader

NUMERICS: tuple[Numeric, ...] = get_args(Numeric)


class Kernels:
    """Collects the kernels that calls need, each once. `where` names the model in errors."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._numbers: dict[str, int] = {}
        self._built: dict[Numeric, list[tuple[str, ir.Kernel]]] = {n: [] for n in NUMERICS}
        self.kernels: list[PlanKernel] = []

    def number(self, name: str, parameters: Parameters) -> int:
        """Which of `kernels` it is. Raises UserError for sizes that no kernel takes."""
        key = json.dumps([name, parameters], sort_keys=True)
        if key not in self._numbers:
            self._numbers[key] = len(self.kernels)
            self.kernels.append(self._kernel(name, parameters))
        return self._numbers[key]

    def _kernel(self, name: str, parameters: Parameters) -> PlanKernel:
        try:
            made = {numeric: recipes.default(name, parameters, numeric) for numeric in NUMERICS}
            built = {numeric: recipes.build(recipe) for numeric, recipe in made.items()}
        except ir.KernelError as error:
            raise UserError(
                f"{self._where}: {name} with {_listed(parameters)} can't be: {error}"
            ) from error
        export = f"k{len(self.kernels)}"
        for numeric, kernel in built.items():
            self._built[numeric].append((export, kernel))
        first = built["fused"]
        buffers = [_buffer(buffer) for buffer in first.buffers]
        scratch = [
            math.prod(_constant(size) for size in buffer.shape) * buffer.dtype.bytes
            for buffer in first.buffers
            if buffer.space == "scratch"
        ]
        return PlanKernel(
            name=f"{name} {_listed(parameters)}".strip(),
            export=export,
            extents=list(first.extents),
            buffers=buffers,
            scratch=scratch,
            variants={
                numeric: Variant(
                    recipe=Recipe.model_validate(made[numeric]),
                    grid=expr_json(grid(built[numeric])),
                )
                for numeric in NUMERICS
            },
        )

    def module(self, numeric: Numeric, shared: bool) -> bytes:
        """A Wasm module with every kernel of one numeric class; `fused` uses relaxed SIMD."""
        return wasm.render(self._built[numeric], wasm.WasmTarget(numeric == "fused", shared))

    def shaders(self) -> list[Shader | None]:
        """Every kernel for WebGPU; None: WebGPU can't run it."""
        return gpu.shaders(kernel.variants["fused"].recipe.model_dump() for kernel in self.kernels)


def _buffer(buffer: ir.Buffer) -> KernelBuffer:
    return KernelBuffer(
        name=buffer.name,
        dtype=buffer.dtype.name,
        shape=[expr_json(size) for size in buffer.shape],
        access=buffer.access,
        scratch=buffer.space == "scratch",
    )


def _constant(size: ir.Expr) -> int:
    assert isinstance(size, ir.Int)  # the builder of kernels sees to it
    return size.number


def _listed(parameters: Parameters) -> str:
    """What is on, and what has a number: "K=384 N=1536 weights=f32 bias activation=gelu"."""
    parts = []
    for name, value in parameters.items():
        if value is True:
            parts.append(name)
        elif value is not False and value != "":
            parts.append(f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value}")
    return " ".join(parts)
