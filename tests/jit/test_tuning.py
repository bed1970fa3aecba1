"""A tuning session held as a browser holds it: JSON, modules run in wasmtime, simulated times."""

from __future__ import annotations

import json
import struct

import pytest
from wasm_host import WasmHost, grid_size

from pywasm_jit import recipes
from pywasm_jit.device import Device
from pywasm_jit.interpret import evaluate
from pywasm_jit.schedule import apply
from pywasm_jit.sizes import grid
from pywasm_jit.space import schedules, tile_cost
from pywasm_jit.tuning import Session

_PRODUCT = {"K": 48, "N": 16, "bias": True}
_DEVICE = Device(relaxed=True, fused=True, peak_fused=50.0, peak_separate=40.0, peak_dot=90.0)


def tasks(rows: int) -> str:
    recipe = recipes.default("matmul", _PRODUCT, "fused")
    norm = recipes.default("layer_norm", {"width": 16, "eps": 1e-5}, "fused")
    flops = 2 * rows * 48 * 16
    return json.dumps(
        [
            {"name": "k0", "recipe": recipe, "extents": {"rows": rows}, "flops": flops},
            {"name": "k1", "recipe": norm, "extents": {"rows": rows}, "flops": rows},
        ]
    )


def test_a_session_finds_the_fast_candidate() -> None:
    session = Session(tasks(24))
    assert session.probe("peak_fused") != session.probe("peak_separate")
    session.describe(json.dumps(_DEVICE.json()))
    decided = []
    asked = 0
    ask = json.loads(session.ask())
    while ask["task"] >= 0:
        assert ask["task"] == 0  # a layer norm has one schedule: there is nothing to ask
        asked += len(ask["candidates"]) * ask["samples"]
        modules = [session.module(number) for number in ask["candidates"]]
        assert len(set(modules)) == len(modules)
        assert all(size > 0 for size in ask["grids"])
        samples = range(ask["samples"])
        # Candidate 5 is twice as fast, candidate 3 fails.
        times = [
            [] if n == 3 else [(1 if n == 5 else 2) * (1e-6 + 1e-9 * i) for i in samples]
            for n in ask["candidates"]
        ]
        session.answer(json.dumps(times))
        ask = json.loads(session.ask())
        decided += ask["decided"]
        if ask["decided"]:
            winner = ask["decided"][0]["winner"]
            kernel = apply(recipes.naive(json.loads(tasks(24))[0]["recipe"]), winner["steps"])
            assert evaluate(grid(kernel), {"rows": 24}) == grid_size(kernel, {"rows": 24})
            shared, own = session.winner(True), session.winner(False)
            assert shared != own and len(shared) == len(own)
    assert [entry["task"] for entry in decided] == [0, 1]
    assert decided[0]["winner"]["number"] == 5
    assert decided[0]["winner"]["gain"] == pytest.approx(0.5)
    assert decided[1]["winner"] is None
    assert asked < 24 * 3 * 3


def test_the_space_holds_what_the_shape_needs() -> None:
    recipe = recipes.default("matmul", _PRODUCT, "fused")
    naive = recipes.naive(recipe)
    for rows in (1, 6, 128):
        found = schedules("matmul", naive, recipe["steps"], {"rows": rows}, _PRODUCT, _DEVICE)
        assert found[0] == recipe["steps"]
        assert len({json.dumps(steps) for steps in found}) == len(found) > 4
        tiles = {step[2] for steps in found[1:] for step in steps if step[:2] == ["split", "row"]}
        assert max(tiles) <= max(rows, 1)


def test_the_model_of_the_machine_prefers_full_tiles() -> None:
    """6 rows share each load of b; 4 rows are the least that hide a multiply-add's latency."""
    cost = {tile: tile_cost(48, tile, (), 4) for tile in range(1, 7)}
    assert cost[6] < cost[4] < cost[2] < cost[1]
    assert tile_cost(8, 4, (), 4) < tile_cost(8, 6, (2,), 4)


def test_results_of_all_candidates_are_the_same_bits(wasm: WasmHost) -> None:
    """What the browser checks before it times a candidate holds for the whole space."""
    recipe = recipes.default("matmul", _PRODUCT, "separate")
    naive = recipes.naive(recipe)
    rows = 11
    buffers = {
        "a": struct.pack(f"<{rows * 48}f", *((i * 37 % 101) / 50 - 1 for i in range(rows * 48))),
        "b": struct.pack("<768f", *((i * 53 % 97) / 48 - 1 for i in range(768))),
        "bias": struct.pack("<16f", *range(16)),
        "c": bytes(rows * 64),
    }
    found = schedules("matmul", naive, recipe["steps"], {"rows": rows}, _PRODUCT, _DEVICE)
    results = {
        bytes(wasm.run(apply(naive, steps), buffers, {"rows": rows})["c"]) for steps in found
    }
    assert len(results) == 1
