"""Schedules change no bit: every transform, on random shapes, against the unscheduled kernel."""

from __future__ import annotations

import json
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wasm_host import WasmHost, interpreted

from pywasm_jit.builder import Builder
from pywasm_jit.ir import F32, Kernel, KernelError, Numeric
from pywasm_jit.schedule import Schedule, apply


def product(k_extent: int, panels: int, numeric: Numeric) -> Kernel:
    """c[row, n] = sum over k of a[row, k] * b[n // 8, k, n % 8]"""
    k = Builder("product", numeric)
    rows = k.extent("rows")
    a = k.input("a", F32, rows, k_extent)
    b = k.input("b", F32, panels, k_extent, 8)
    c = k.output("c", F32, rows, panels * 8)
    with k.parallel("panel", panels) as panel, k.parallel("row", rows) as row:
        total = k.register("total", "f32", 8)
        with k.parallel("zero", 8) as n:
            total[n] = 0.0
        with k.serial("k", k_extent) as p, k.parallel("column", 8) as n:
            total[n] = k.mac(a[row, p], b[panel, p, n], total[n])
        with k.parallel("out", 8) as n:
            c[row, panel * 8 + n] = total[n]
    return k.kernel()


def floats(count: int, seed: int) -> bytes:
    rng = random.Random(seed)
    return struct.pack(f"<{count}f", *(rng.uniform(-2, 2) for _ in range(count)))


def memory(rows: int, k_extent: int, panels: int) -> dict[str, bytes]:
    return {
        "a": floats(rows * k_extent, 1),
        "b": floats(panels * 8 * k_extent, 2),
        "c": bytes(rows * panels * 32),
    }


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 15),
    k_extent=st.integers(1, 9),
    panels=st.integers(1, 3),
    tile=st.integers(1, 6),
    tails=st.sampled_from([(), (2,), (4, 2), (3,)]),
    back=st.integers(0, 2),
    whole=st.sampled_from([(), (5,), (3, 5)]),
    unroll=st.integers(1, 4),
    block=st.sampled_from([0, 1, 5, 7]),
    grid=st.sampled_from(["panel", "fused", "row"]),
    numeric=st.sampled_from(["fused", "separate"]),
)
def test_a_register_tile_computes_the_same_bits(
    wasm: WasmHost, rows: int, k_extent: int, panels: int, tile: int, tails: tuple[int, ...],
    back: int, whole: tuple[int, ...], unroll: int, block: int, grid: str, numeric: Numeric,
) -> None:  # fmt: skip
    kernel = product(k_extent, panels, numeric)
    schedule = Schedule(kernel)
    if grid != "panel" and block:
        schedule.block("row", block).reorder("panel", "row.b")
        schedule.fuse("row.b", "panel")
    elif grid == "row":
        schedule.reorder("panel", "row")
    if grid != "row" or block:
        schedule.split("row", tile, tails, min(back, tile - 1), whole).split("k*", unroll).jam(
            "row*.i"
        )
        schedule.unroll("row*.i*").unroll("k*.i" if unroll <= k_extent else "k*")
    for loop in ("zero*", "column*", "out*"):
        schedule.vectorise(loop)
    outermost = {"panel": "panel", "fused": "panel", "row": "row"}[grid]
    if grid != "panel" and block:
        outermost = "row.b+panel"
    schedule.bind(outermost, "grid")
    scheduled = schedule.kernel()
    buffers = memory(rows, k_extent, panels)
    expected = interpreted(kernel, buffers, {"rows": rows})
    assert interpreted(scheduled, buffers, {"rows": rows}) == expected
    assert wasm.run(scheduled, buffers, {"rows": rows}) == expected
    assert apply(kernel, json.loads(json.dumps(schedule.steps))) == scheduled


def test_threads_share_a_grid(wasm: WasmHost) -> None:
    schedule = Schedule(product(4, 4, "separate")).vectorise("zero").vectorise("column")
    kernel = schedule.vectorise("out").bind("panel", "grid").kernel()
    buffers = memory(3, 4, 4)
    whole = wasm.run(kernel, buffers, {"rows": 3})
    first = wasm.run(kernel, buffers, {"rows": 3}, (0, 1))
    both = wasm.run(kernel, first, {"rows": 3}, (1, 4))
    assert first != whole
    assert both == whole
    assert interpreted(kernel, first, {"rows": 3}, (1, 4)) == whole


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([["unroll", "nothing"]], "no loop nothing; there are panel, row"),
        ([["vectorise", "row"]], "vectorise: row is not parallel with 4n iterations"),
        ([["vectorise", "k"]], "vectorise: k is not parallel"),
        ([["bind", "k", "grid"]], "bind: k is serial"),
        ([["bind", "row", "moon"]], "moon is none of grid"),
        ([["jam", "row"]], "jam: row is not parallel, from 0 and of constant length"),
        ([["reorder", "row", "k"]], "k is not all there is in row"),
        ([["split", "row", 0]], "factors are positive"),
        ([["fly", "row"]], "is no step of a schedule"),
        ([["split", "row"]], "wrong arguments"),
    ],
)
def test_a_step_that_is_not_legal_says_so(steps: list[list[object]], message: str) -> None:
    with pytest.raises(KernelError, match=message):
        apply(product(4, 1, "separate"), steps)
