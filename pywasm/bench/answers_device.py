"""How many tokens a second this machine's browser could decode at most.

A token reads every weight once and is multiplied with it once. What bounds it is measured in the
same run by small kernels: reading 256 MB that no cache holds, and the integer dot product in
registers.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from pywasm_jit.builder import Builder
from pywasm_jit.device import VECTORS
from pywasm_jit.ir import F32, Kernel
from pywasm_jit.schedule import Schedule
from pywasm_jit.wasm import WasmTarget, render

from .browsers import Page
from .context import Bench
from .engines import InPage
from .inference_device import measured, text

BYTES = 256 << 20
STEP = VECTORS * 16  # bytes that an iteration of the loop reads


@dataclasses.dataclass(frozen=True)
class Limits:
    """Of so many threads together: GB/s read, and 10^9 integer operations a second."""

    gigabytes: float
    gigaops: float

    def tokens_per_s(self, weight_bytes: float, weights: float) -> float:
        """At most: the lower of both bounds, for weights of so many bytes and so many in number."""
        return min(self.gigabytes * 1e9 / weight_bytes, self.gigaops * 1e9 / (2 * weights))

    def what(self, weight_bytes: float, weights: float) -> str:
        """Which of the two it is, for people."""
        reading = self.gigabytes * 1e9 / weight_bytes <= self.gigaops * 1e9 / (2 * weights)
        return f"{self.gigabytes:.1f} GB/s" if reading else f"{self.gigaops:.0f} GOP/s"


def limits(context: Bench, threads: int) -> Limits:
    """Measured now, each thread in a worker of its own."""
    page = context.browser.new_page()
    page.goto(f"{context.server.url}/bench/")
    try:
        # The integer peak is of one thread in registers: others have their own.
        return Limits(_bandwidth(page, threads), measured(page).peak_dot * threads)
    finally:
        page.close()


def _bandwidth(page: Page, threads: int) -> float:
    """GB/s of all threads at once: the median of their rounds, added up."""
    engines = [InPage(page, "bandwidth", [], host=f"bandwidth-{n}") for n in range(threads)]
    code = text(render([("run", reading())], WasmTarget(relaxed=False)))
    options = {"wasm": code, "bytes": BYTES // threads, "step": STEP}
    for engine in engines:
        engine.call("start", {"engine": "bandwidth", "options": options})
    rounds = 10 * threads
    asked = """(hosts) => Promise.all(hosts.map(([host, rounds]) =>
      bench.call({ host, method: "call", argument: { method: "rates", argument: rounds } })))"""
    hosts = [[f"bandwidth-{n}", rounds] for n in range(threads)]
    rates: list[list[float]] = page.evaluate(asked, hosts)
    for engine in engines:
        engine.stop()
    return float(np.median(np.array(rates).sum(axis=0)))


def reading() -> Kernel:
    """Adds up f32[n * 48] in 48 sums: sums f32[48], readwrite."""
    k = Builder("reading", "separate")
    n = k.extent("n")
    sums = k.inout("sums", F32, VECTORS * 4)
    values = k.input("values", F32, n, VECTORS * 4)
    with k.parallel("once", 1):
        total = k.register("total", "f32", VECTORS * 4)
        with k.parallel("start", VECTORS * 4) as i:
            total[i] = sums[i]
        with (
            k.serial("n_", n) as step,
            k.parallel("chain", VECTORS) as chain,
            k.parallel("lane", 4) as lane,
        ):
            at = chain * 4 + lane
            total[at] = total[at] + values[step, at]
        with k.parallel("end", VECTORS * 4) as i:
            sums[i] = total[i]
    schedule = Schedule(k.kernel()).bind("once", "grid").unroll("chain")
    for loop in ("start", "lane", "end"):
        schedule.vectorise(loop)
    return schedule.kernel()
