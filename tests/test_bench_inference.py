"""The benchmark of inference: its goals, its checks, and that what it times is right."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import wasmtime

from pywasm.bench import inference, inference_gemm, inference_minilm, inference_visit, suite
from pywasm.bench.browsers.chromium import Chromium
from pywasm.bench.context import Bench
from pywasm.bench.core import Samples
from pywasm.bench.goals import Verdict, judge
from pywasm.bench.inference_device import least_ms
from pywasm.bench.inference_engines import Floats, Ids, Sentences
from pywasm.bench.inference_memory import Renderers
from pywasm.compile.plan_types import Plan
from pywasm.errors import UserError
from pywasm_jit.device import Device


def verdicts(*figures: tuple[str, str, str, float]) -> dict[tuple[str, str], Verdict]:
    """By case and what it is against, of (case, engine, metric, value)."""
    samples = Samples("inference")
    for case, engine, metric, value in figures:
        samples.add(case, engine, metric, "", value)
    found = judge(samples.rows())
    return {(v.goal.case, str(v.goal.against or v.goal.engine)): v for v in found}


def test_goals_compare_with_peers_and_with_one_thread() -> None:
    case = "minilm-f32-1x128"
    found = verdicts(
        (f"{case}-t1", "pywasm", "latency_ms", 55.0),
        (f"{case}-t1", "onnxruntime-web", "latency_ms", 100.0),
        (f"{case}-t2", "pywasm", "latency_ms", 40.0),
    )
    web = found[f"{case}-t1", "('', 'onnxruntime-web')"]
    assert web.value == pytest.approx(0.55) and web.must and web.aim is False
    threads = found[f"{case}-t2", f"('{case}-t1', 'pywasm')"]
    assert threads.value == pytest.approx(40 / 55) and not threads.must
    assert len(found) == 2  # nothing is judged that was not measured


def test_goals_of_each_instruction_set() -> None:
    case = "gemm-128x384x384"
    found = verdicts(
        (case, "pywasm-relaxed", "peak_share", 0.98), (case, "pywasm-simd", "peak_share", 0.89)
    )
    assert found[case, "pywasm-relaxed"].must and found[case, "pywasm-relaxed"].aim
    assert not found[case, "pywasm-simd"].must


def test_every_goal_is_of_a_case_that_is_measured() -> None:
    from pywasm.bench import goals

    known = {name for case in inference.CASES for name in case.names}
    for goal in goals._INFERENCE:
        assert goal.case in known, goal
        if goal.against and goal.against[0]:
            assert goal.against[0] in known, goal


def test_cases_are_selected_by_the_beginning_of_a_name() -> None:
    found = suite.selected(inference.CASES, ("gemm",))
    assert [case.names for case in found] == [tuple(inference_gemm.CASES)]
    assert len(suite.selected(inference.CASES, ())) == len(inference.CASES)
    with pytest.raises(UserError, match=r"no case 'minilm-f16'; known: gemm-128x384x384"):
        suite.selected(inference.CASES, ("minilm-f16",))


def test_matrix_products_that_are_timed_are_right() -> None:
    entries = {entry["name"]: entry for entry in inference_gemm.modules()}
    config = wasmtime.Config()
    config.wasm_relaxed_simd = True
    store = wasmtime.Store(wasmtime.Engine(config))
    rows, inner, columns = 128, 384, 384
    random = np.random.default_rng(1)
    a = random.standard_normal((rows, inner), np.float32)
    b = random.standard_normal((inner, columns), np.float32)
    panels = b.reshape(inner, columns // 8, 8).transpose(1, 0, 2)
    for engine in inference_gemm.ENGINES:
        entry = entries[f"gemm-{rows}x{inner}x{columns} {engine}"]
        assert entry["flops"] == 2 * rows * inner * columns
        memory = wasmtime.Memory(store, wasmtime.MemoryType(wasmtime.Limits(64, 65536)))
        module = wasmtime.Module(store.engine, base64.b64decode(entry["wasm"]))
        run = cast(Any, wasmtime.Instance(store, module, [memory]).exports(store)["run"])
        places = np.cumsum([64, a.nbytes, b.nbytes]).tolist()
        memory.write(store, a.tobytes(), places[0])
        memory.write(store, panels.tobytes(), places[1])
        run(store, *places, rows, 0, entry["grid"])
        found = memory.read(store, places[2], places[2] + rows * columns * 4)
        product = np.frombuffer(bytes(found), np.float32).reshape(rows, columns)
        assert np.abs(product - a.astype(np.float64) @ b).max() < 1e-3, engine


class Fixed(Sentences):
    """Answers `embedding`, and says that every run takes `ms`."""

    threads = 1

    def __init__(self, name: str, ms: float, embedding: list[float]) -> None:
        self.name = name
        self._ms = ms
        self._embedding = np.array([embedding], np.float32)
        self.asked: list[tuple[int, int]] = []

    def prepare(self, ids: Ids) -> None:
        pass

    def embed(self) -> Floats:
        return self._embedding

    def time(self, warm: int, count: int) -> list[float]:
        self.asked.append((warm, count))
        return [self._ms] * count


def test_an_engine_that_gives_other_vectors_is_not_timed() -> None:
    expected = np.array([[1.0, 0.0]], np.float32)
    inference_minilm._check(Fixed("right", 1, [1.0, 0.0]), "f32", expected)
    near = Fixed("near", 1, [0.995, 0.0998])
    inference_minilm._check(near, "int8", expected)
    with pytest.raises(RuntimeError, match=r"near on 1 threads, f32: cosine 0\.995000"):
        inference_minilm._check(near, "f32", expected)
    with pytest.raises(RuntimeError, match="cosine nan"):
        inference_minilm._check(Fixed("broken", 1, [float("nan"), 0.0]), "int8", expected)


def test_short_runs_are_repeated_and_every_round_is_kept_but_the_first() -> None:
    kept: dict[str, list[float]] = {"short": [], "long": []}
    engines = [Fixed("short", 10.0, [1.0]), Fixed("long", 400.0, [1.0])]
    inference_minilm._measure(
        engines, lambda engine, values: kept[engine.name].extend(values), quick=True
    )
    # Round 0 and the estimate before it are not kept.
    assert engines[0].asked == [(2, 3), *[(1, 6)] * (len(kept["short"]) // 6 + 1)]
    assert engines[1].asked == [(2, 3), *[(0, 1)] * (len(kept["long"]) + 1)]
    assert len(kept["short"]) == 6 * len(kept["long"])


def test_least_time_is_the_arithmetic_at_the_peak() -> None:
    def kernel(family: str) -> SimpleNamespace:
        recipe = SimpleNamespace(kernel=family)
        return SimpleNamespace(variants={"fused": SimpleNamespace(recipe=recipe)})

    steps = [(0, ["*", "batch", "seq"]), (1, ["*", "seq", 2])]
    plan = SimpleNamespace(
        kernels=[kernel("matmul"), kernel("matmul_i8")],
        steps=[SimpleNamespace(kernel=number, flops=flops) for number, flops in steps],
    )
    device = Device(relaxed=True, fused=True, peak_fused=1e-6, peak_dot=4e-6)
    # 30 operations at 1000 a second, and 20 at 4000.
    assert least_ms(cast(Plan, plan), device, 3, 10, 1) == pytest.approx(30 + 5)
    assert least_ms(cast(Plan, plan), device, 3, 10, 2) == pytest.approx(17.5)


class OneRenderer:
    """A browser whose only renderer is this process."""

    class Rpc:
        def call(self, method: str) -> dict[str, Any]:
            assert method == "SystemInfo.getProcessInfo"
            other = {"type": "browser", "id": 1}
            return {"processInfo": [other, {"type": "renderer", "id": os.getpid()}]}

        def close(self) -> None:
            pass

    def rpc(self) -> Rpc:
        return self.Rpc()


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux")
def test_the_peak_of_a_renderer_is_what_it_had_and_gave_back() -> None:
    renderers = Renderers(cast(Chromium, OneRenderer()))
    renderers.reset()
    before = renderers.resident()
    held = np.ones(100_000_000, np.uint8)
    assert renderers.resident() - before > 90
    del held
    assert renderers.peak() - before > 90
    assert renderers.resident() - before < 50


def test_a_first_visit_has_the_hints_of_the_page_that_sites_carry(tmp_path: Path) -> None:
    preload = '<link rel="preload" href="manifest.json" as="fetch" crossorigin>'
    icon = '<link rel="icon" href="icon.svg">'
    (tmp_path / "index.html").write_text(f"<head>\n  {icon}\n  {preload}\n</head>")
    assert inference_visit._hints(tmp_path) == preload


def test_a_context_is_made_of_what_a_suite_has() -> None:
    """Search adds to Bench what it alone needs."""
    from pywasm.bench.context import Context

    bench = Bench(*[cast(Any, None)] * 9)
    assert Context(**vars(bench), wordnet_directory=Path("x")).wordnet_directory == Path("x")
