"""What is known of the visitor's device: measured by its browser in well under 100 ms.

`probe_kernels` are the loops whose times tell the SIMD peak; the host (TypeScript, or a test)
runs them and writes the JSON that `Device.parse` reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pywasm_jit.builder import Builder
from pywasm_jit.ir import F32, I8X4, I32, Kernel, KernelError, Numeric, op
from pywasm_jit.schedule import Schedule

VECTORS = 12  # independent chains: enough to hide the latency of a multiply-add


@dataclass(frozen=True, slots=True)
class Device:
    """Sizes in bytes; peaks in 10^9 operations/s of one thread (a multiply-add is two).

    `relaxed`: relaxed SIMD validates. `fused`: its multiply-add rounds once here (a browser may
    do either; where it rounds twice the separate class is as fast and the same everywhere).
    """

    relaxed: bool
    fused: bool
    threads: int = 1
    l1: int = 32 << 10
    l2: int = 512 << 10
    peak_fused: float = 0.0
    peak_separate: float = 0.0
    peak_dot: float = 0.0

    def json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def parse(found: Mapping[str, Any]) -> Device:
        """Raises KernelError for a description that can't be."""
        device = Device(
            relaxed=bool(found.get("relaxed")),
            fused=bool(found.get("fused")),
            threads=int(found.get("threads", 1)),
            l1=int(found.get("l1", 32 << 10)),
            l2=int(found.get("l2", 512 << 10)),
            peak_fused=float(found.get("peak_fused", 0)),
            peak_separate=float(found.get("peak_separate", 0)),
            peak_dot=float(found.get("peak_dot", 0)),
        )
        if not (1 <= device.threads <= 1024 and 4096 <= device.l1 <= device.l2 <= 1 << 30):
            raise KernelError(f"{device} is no device")
        return device


def peak(numeric: Numeric, inner: int = 4) -> Kernel:
    """`n` * `inner` * 12 vector multiply-adds, none waiting for another: the SIMD peak.

    values f32[56]: 12 accumulators of 4 lanes, then two factors of 4. Flops: n * inner * 96.
    """
    k = Builder("peak", numeric)
    n = k.extent("n")
    values = k.inout("values", F32, VECTORS * 4 + 8)
    with k.parallel("once", 1):
        total = k.register("total", "f32", VECTORS * 4)
        factors = k.register("factors", "f32", 8)
        with k.parallel("start", VECTORS * 4) as i:
            total[i] = values[i]
        with k.parallel("load", 8) as i:
            factors[i] = values[VECTORS * 4 + i]
        with (
            k.serial("n_", n),
            k.serial("inner", inner),
            k.parallel("chain", VECTORS) as chain,
            k.parallel("lane", 4) as lane,
        ):
            at = chain * 4 + lane
            total[at] = k.mac(factors[lane], factors[4 + lane], total[at])
        with k.parallel("end", VECTORS * 4) as i:
            values[i] = total[i]
    return _finish(k.kernel())


def peak_dot(inner: int = 4) -> Kernel:
    """The same of dot4: `n` * `inner` * 12 vectors of 4 dot products of 4, 384 operations."""
    k = Builder("peak_dot", "separate")
    n = k.extent("n")
    totals = k.inout("totals", I32, VECTORS * 4)
    values = k.input("values", I8X4, 8)
    with k.parallel("once", 1):
        total = k.register("total", "i32", VECTORS * 4)
        factors = k.register("factors", "i32", 8)
        with k.parallel("start", VECTORS * 4) as i:
            total[i] = totals[i]
        with k.parallel("load", 8) as i:
            factors[i] = values[i]
        with (
            k.serial("n_", n),
            k.serial("inner", inner),
            k.parallel("chain", VECTORS) as chain,
            k.parallel("lane", 4) as lane,
        ):
            at = chain * 4 + lane
            total[at] = op("dot4", factors[lane], factors[4 + lane], total[at])
        with k.parallel("end", VECTORS * 4) as i:
            totals[i] = total[i]
    return _finish(k.kernel())


def _finish(kernel: Kernel) -> Kernel:
    schedule = Schedule(kernel).bind("once", "grid").unroll("inner").unroll("chain")
    for loop in ("start", "load", "lane", "end"):
        schedule.vectorise(loop)
    return schedule.kernel()
