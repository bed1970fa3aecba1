"""Cases gemm-*: a matrix product with its default schedule against the SIMD peak of one thread.

Both are kernels of pywasm_jit, of one numeric class: the peak is a loop of independent vector
multiply-adds in registers. They take turns within a page, some milliseconds each; the share is the
median over the rounds of one rate over the other.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from pywasm_jit import recipes
from pywasm_jit.device import VECTORS, peak
from pywasm_jit.interpret import evaluate
from pywasm_jit.ir import Numeric
from pywasm_jit.sizes import grid
from pywasm_jit.wasm import WasmTarget, render

from .context import Bench
from .engines import InPage
from .inference_device import text

# rows x K x N, c[rows, N] = a[rows, K] b[K, N].
CASES: dict[str, tuple[int, int, int]] = {
    f"gemm-{rows}x{inner}x{columns}": (rows, inner, columns)
    for rows, inner, columns in (
        (128, 384, 384),
        (128, 1536, 384),
        (128, 384, 1536),
        (512, 512, 512),
    )
}
ENGINES: dict[str, Numeric] = {"pywasm-relaxed": "fused", "pywasm-simd": "separate"}
_PEAK_STEPS = 20_000
_INNER = 4  # multiply-adds of every chain in a step of the peak
_TOLERANCE = 1e-5  # of the largest sum, against float64


def gemm(context: Bench) -> None:
    """All shapes in both numeric classes, interleaved in one page."""
    page = context.browser.new_page()
    page.goto(f"{context.server.url}/bench/")
    engine = InPage(page, "gemm", [])
    context.step("gemm: compiling, checking")
    engine.call("start", {"engine": "gemm", "options": {"modules": modules()}})
    for case, (rows, inner, columns) in CASES.items():
        for name in ENGINES:
            _check(engine, f"{case} {name}", rows, inner, columns)
    rounds = 40 if context.quick else 300
    context.step(f"gemm: {len(CASES)} shapes and the peak in turns, {rounds} rounds")
    rates: dict[str, list[float]] = engine.ask("measure", rounds)
    for case in CASES:
        for name in ENGINES:
            top, mine = np.array(rates[name]), np.array(rates[f"{case} {name}"])
            series = context.samples.add(case, name, "peak_share", "", (mine / top).tolist())
            series.note = f"{np.median(mine):.1f} of {np.median(top):.1f} GFLOP/s"
    page.close()


def modules() -> list[dict[str, Any]]:
    """What the page runs: {name, wasm (base64), flops, ...}; `peak` entries are named after the
    engine, products "case engine".
    """
    entries: list[dict[str, Any]] = []
    for engine, numeric in ENGINES.items():
        target = WasmTarget(relaxed=numeric == "fused")
        code = render([("run", peak(numeric, _INNER))], target)
        flops = _PEAK_STEPS * _INNER * VECTORS * 4 * 2
        entries.append({"name": engine, "wasm": text(code), "flops": flops, "steps": _PEAK_STEPS})
        for case, (rows, inner, columns) in CASES.items():
            recipe = recipes.default("matmul", {"K": inner, "N": columns}, numeric)
            kernel = recipes.build(recipe)
            entries.append(
                {
                    "name": f"{case} {engine}",
                    "wasm": text(render([("run", kernel)], target)),
                    "flops": 2 * rows * inner * columns,
                    "shape": [rows, inner, columns],
                    "grid": evaluate(grid(kernel), {"rows": rows}),
                }
            )
    return entries


def _check(engine: InPage, name: str, rows: int, inner: int, columns: int) -> None:
    """The product is right: a kernel that skips work would be fast."""
    random = np.random.default_rng(rows + inner + columns)
    a = random.standard_normal((rows, inner), np.float32)
    b = random.standard_normal((inner, columns), np.float32)
    panels = np.ascontiguousarray(b.reshape(inner, columns // 8, 8).transpose(1, 0, 2))
    given = {"name": name, "a": text(a.tobytes()), "b": text(panels.tobytes())}
    answer = engine.ask("product", given)
    found = np.frombuffer(base64.b64decode(answer), np.float32).reshape(rows, columns)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    error = float(np.abs(found - exact).max() / np.abs(exact).max())
    if not error < _TOLERANCE:
        raise RuntimeError(f"{name}: the product is wrong by {error:.2g} of its largest element")
