"""The lite space: for a kernel, a shape and a device, some dozens of schedules worth timing.

After nn-JIT.web (MobiSys 2024, section 4.2): on the web only a few choices matter, so the space
holds those alone, each admissible by registers and caches, ranked by what a simple model of the
machine expects. Tuning goes down the ranking (`tune.py`); the default schedule is number 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pywasm_jit.device import Device
from pywasm_jit.ir import Kernel, KernelError
from pywasm_jit.kernels.matmul import share, tile_rows
from pywasm_jit.schedule import Schedule, Step

Parameters = Mapping[str, Any]

REGISTERS = 15  # v128 that an engine leaves of 16
FMA_LATENCY, FMA_PER_CYCLE, LOADS_PER_CYCLE = 4, 2, 2  # of x64 and of large Arm cores
MOST = 24  # candidates that are worth a visitor's time


def schedules(
    name: str,
    naive: Kernel,
    default: list[Step],
    extents: Mapping[str, int],
    parameters: Parameters,
    device: Device,
) -> list[list[Step]]:
    """The default, then others by expected time; only the default where there is no choice."""
    space = SPACES.get(name)
    found = [default]
    if space is None:
        return found
    for steps in space(naive, extents, parameters, device):
        if steps not in found:
            found.append(steps)
    return found[:MOST]


def tile_cost(rows: int, tile: int, tails: Sequence[int], unroll: int, vectors: int = 2) -> float:
    """Cycles for one step of k over all `rows`, of a register tile of `vectors` columns of 4.

    A tile of t rows does vectors * t multiply-adds, each waiting for its own last one, and
    vectors + t loads; a loop costs about 1.5 cycles, shared by what is unrolled.
    """
    cycles, left = 0.0, rows
    for size in (tile, *tails, 1):
        groups, left = divmod(left, size)
        multiply = vectors * size / FMA_PER_CYCLE
        loads = (vectors + size) / LOADS_PER_CYCLE
        cycles += groups * (max(multiply, loads, FMA_LATENCY) + 1.5 / unroll)
    return cycles


def _rests(tile: int) -> list[tuple[tuple[int, ...], int, tuple[int, ...]]]:
    """How rows that no whole tile takes are divided: `split`'s tails, back and whole."""
    tails = tuple(size for size in (4, 3, 2) if size < tile)
    plain = (tails, 0, ())
    return [plain, (tails, 2, (5,))] if tile == 6 else [plain]


def _matmul(
    naive: Kernel, extents: Mapping[str, int], parameters: Parameters, device: Device
) -> list[list[Step]]:
    """Rows of the tile, how the rest is divided, unrolling of k, rows that stay in L2."""
    rows, depth = extents["rows"], int(parameters["K"])
    if naive.buffer("a").dtype.name == "i8x4":
        depth //= 4
    separate = naive.numeric == "separate"
    # A product that is not fused needs a register until it is added; so does a dot made of parts.
    spare = 1 if separate or not device.relaxed else 0
    ranked: list[tuple[float, list[Step]]] = []
    for tile in range(1, 7):
        if 2 * tile + 2 + 1 + spare > REGISTERS or (tile > rows and tile > 1):
            continue
        for rest in _rests(tile):
            for unroll in (1, 2, 4, 8):
                if depth % unroll:
                    continue
                for block in _blocks(rows, depth, device):
                    steps = _steps(naive, tile, rest, unroll, block)
                    if steps is not None:
                        cost = tile_cost(min(rows, block), tile, rest[0], unroll)
                        ranked.append((cost * -(-rows // block), steps))
    ranked.sort(key=lambda item: item[0])
    return [steps for _, steps in ranked]


def _blocks(rows: int, depth: int, device: Device) -> list[int]:
    """Rows of `a` worked on before the next panel: all, or what half of L2, or of L1, holds."""
    found = {rows}
    for cache in (device.l2, device.l1):
        fits = cache // 2 // (4 * depth) // 12 * 12
        if 12 <= fits < rows:
            found.add(fits)
    return sorted(found, reverse=True)


def _steps(
    naive: Kernel,
    tile: int,
    rest: tuple[tuple[int, ...], int, tuple[int, ...]],
    unroll: int,
    block: int,
) -> list[Step] | None:
    schedule = Schedule(naive)
    try:
        share(schedule, block)
        tails, back, whole = rest
        tile_rows(schedule, tile, tails, unroll, back, whole)
    except KernelError:
        return None
    return schedule.steps


Space = Callable[[Kernel, Mapping[str, int], Parameters, Device], list[list[Step]]]
SPACES: dict[str, Space] = {"matmul": _matmul, "matmul_i8": _matmul}
