"""Cases distance-* and scan-1bit-*: what a vector costs, in a kernel of the compiler and in the
engine's C++ (kernels_wasm/bench/inner_loops.cpp), over all vectors of a set, one after another.

The two scans differ: the engine sums tables, which estimates distances, and keeps the best; the
kernel counts the bits that differ.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pywasm_jit import recipes
from pywasm_jit.interpret import evaluate
from pywasm_jit.ir import Kernel
from pywasm_jit.sizes import grid
from pywasm_jit.wasm import WasmTarget, render

from .context import Bench
from .core import Subject, interleave
from .engines import InPage
from .inference_device import text

DIM = 384
ROWS = 20_000
BLOCK = 16  # rows of the kernel's blocks of codes
ENGINE = Path(__file__).resolve().parents[2] / "kernels_wasm"
# Of a case: the kernel, its parameters, and the function of inner_loops.cpp.
CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    f"distance-f32-{DIM}": ("distance", {"dim": DIM, "dtype": "f32"}, "distances_f32"),
    f"distance-int8-{DIM}": ("distance", {"dim": DIM, "dtype": "i8"}, "distances_i8"),
    f"scan-1bit-{DIM}": ("scan_1bit", {"dim": DIM}, "scan_1bit"),
}
_ENGINES = ("pywasm-jit", "pywasm-cpp")
_WIDTH = {"f32": 4, "i32": 4, "i8": 1}


def distances(context: Bench) -> None:
    """Kernel and C++ in turns, in workers of one page."""
    context.step("distances: building the engine's inner loops")
    loops = _inner_loops()
    page = context.browser.new_page()
    page.goto(f"{context.server.url}/bench/")
    for case, (name, parameters, function) in CASES.items():
        context.step(case)
        hosts = {
            engine: InPage(page, "kernels", [], host=f"{case}-{engine}") for engine in _ENGINES
        }
        for host in hosts.values():
            host.call("start", {"engine": "kernels", "options": {}})
        _load(hosts["pywasm-jit"], recipes.build(recipes.default(name, parameters, "fused")))
        module = {"number": 0, "wasm": text(loops), "prepare": [DIM, ROWS], "name": function}
        hosts["pywasm-cpp"].ask("add_other", module)
        _measure(context, case, hosts)
        for host in hosts.values():
            host.stop()
    page.close()


def _measure(context: Bench, case: str, hosts: dict[str, InPage]) -> None:
    def subject(engine: str) -> Subject:
        def sample(number: int) -> list[float]:
            argument = {"numbers": [0], "samples": 3, "ms": 3}
            (times,) = hosts[engine].ask("measure", argument)
            return [seconds * 1e9 / ROWS for seconds in times]

        return Subject(engine, sample)

    def keep(engine: str, values: Sequence[float]) -> None:
        context.samples.add(case, engine, "latency_ns", "ns", values)

    rounds = 10 if context.quick else 60
    interleave([subject(engine) for engine in hosts], rounds, keep)
    for engine in hosts:
        context.samples.series_of(case, "latency_ns", engine).note = f"a vector of {ROWS:,}"


def _inner_loops() -> bytes:
    """The module with the engine's loops. Raises RuntimeError where it can't be built."""
    if shutil.which("emcc") is None or not (ENGINE / "Makefile").exists():
        raise RuntimeError(
            "the engine's inner loops are built from a checkout, with Emscripten: run `make setup`"
        )
    command = ["make", "-s", "-C", str(ENGINE), "inner-loops"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}:\n{done.stderr[-1500:]}")
    return (ENGINE / "build" / "inner_loops.wasm").read_bytes()


def _load(page: InPage, kernel: Kernel) -> None:
    sizes = {"rows": ROWS, "count": ROWS, "blocks": ROWS // BLOCK}
    extents = {name: sizes[name] for name in kernel.extents}
    buffers = [
        {
            "bytes": int(np.prod([evaluate(size, extents) for size in buffer.shape]))
            * _WIDTH[buffer.dtype.name],
            "kind": _kind(buffer.name, buffer.dtype.name),
            "written": buffer.name == "out",
        }
        for buffer in kernel.buffers
    ]
    page.ask("load", {"buffers": buffers, "extents": list(extents.values())})
    code = render([("run", kernel)], WasmTarget(relaxed=True))
    end = evaluate(grid(kernel), extents)
    page.ask("add", [{"number": 0, "wasm": text(code), "grid": end}])


def _kind(name: str, dtype: str) -> str:
    """How pages/engines/kernels.js fills a buffer; lists of ids name every row in order."""
    if name == "ids":
        return "ids"
    return "f32" if dtype == "f32" else "bytes"
