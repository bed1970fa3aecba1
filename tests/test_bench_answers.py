"""The benchmark of answers: bounds, goals, what is sampled, what is left out, traces."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import tokenizers
import wasmtime

from pywasm.bench import answers, answers_page, answers_rag, answers_shipped, answers_speed, goals
from pywasm.bench.answers_device import STEP, Limits, reading
from pywasm.bench.answers_engines import Run, TextEngine, check
from pywasm.bench.answers_models import Models
from pywasm.bench.answers_page import Task
from pywasm.bench.answers_prompts import GOLDEN_ANSWER, GOLDEN_IDS, Prompt, Texts
from pywasm.bench.context import Bench, Skipped
from pywasm.bench.core import Samples
from pywasm.bench.goals import judge
from pywasm_jit.wasm import WasmTarget, render


def test_the_lower_of_two_bounds_is_the_bound() -> None:
    limits = Limits(gigabytes=10.0, gigaops=100.0)
    assert limits.tokens_per_s(weight_bytes=100e6, weights=100e6) == 100
    assert limits.what(100e6, 100e6) == "10.0 GB/s"
    # So few bytes a weight that the products take longer than reading them.
    assert limits.tokens_per_s(weight_bytes=20e6, weights=200e6) == 250
    assert limits.what(20e6, 200e6) == "100 GOP/s"


def test_the_bandwidth_kernel_reads_everything() -> None:
    store = wasmtime.Store()
    memory = wasmtime.Memory(store, wasmtime.MemoryType(wasmtime.Limits(1, 65536)))
    module = wasmtime.Module(store.engine, render([("run", reading())], WasmTarget(relaxed=False)))
    run = cast(Any, wasmtime.Instance(store, module, [memory]).exports(store)["run"])
    values = np.arange(10 * STEP // 4, dtype=np.float32)
    memory.write(store, values.tobytes(), 1024)
    run(store, 0, 1024, 10, 0, 1)
    sums = np.frombuffer(bytes(memory.read(store, 0, STEP)), np.float32)
    assert sums.tolist() == values.reshape(10, -1).sum(axis=0).tolist()


def verdicts(*figures: tuple[str, str, str, float]) -> dict[tuple[str, str, str], tuple[Any, ...]]:
    samples = Samples("answers")
    for case, engine, metric, value in figures:
        samples.add(case, engine, metric, "", value)
    return {
        (v.goal.case, v.goal.metric, str(v.goal.against or v.goal.aim_against)): (
            pytest.approx(v.value),
            v.must,
            v.aim,
        )
        for v in judge(samples.rows())
    }


def test_goals_of_speed_compare_with_every_peer() -> None:
    case = "smollm2-prefill500-t1"
    found = verdicts(
        (case, "pywasm", "tokens_per_s", 250.0),
        (case, "wllama", "tokens_per_s", 20.0),
        (case, "onnxruntime-web-int8", "tokens_per_s", 260.0),
        ("smollm2-prefill500-t2", "pywasm", "tokens_per_s", 400.0),
    )
    assert found[case, "tokens_per_s", "None"] == (250, True, False)
    assert found[case, "tokens_per_s", "('', 'wllama')"] == (12.5, True, None)
    assert found[case, "tokens_per_s", "('', 'onnxruntime-web-int8')"] == (250, True, False)
    threads = f"('{case}', 'pywasm')"
    assert found["smollm2-prefill500-t2", "tokens_per_s", threads] == (1.6, True, None)


def test_goals_of_first_tokens_are_ratios_of_cases() -> None:
    found = verdicts(
        ("rag-last32", "pywasm", "ttft_ms", 100.0),
        ("rag-exact", "pywasm", "ttft_ms", 120.0),
        ("rag-reload", "pywasm", "ttft_ms", 170.0),
    )
    last = "('rag-last32', 'pywasm')"
    assert found["rag-exact", "ttft_ms", last] == (1.2, True, False)
    assert found["rag-reload", "ttft_ms", last] == (1.7, False, False)


def test_a_policy_is_compared_with_lru() -> None:
    found = verdicts(
        ("trace-500", "pgdsf", "hit_rate", 0.33), ("trace-500", "lru", "hit_rate", 0.30)
    )
    assert found["trace-500", "hit_rate", "('', 'lru')"] == (1.1, True, False)


def test_every_goal_is_of_a_case_that_is_measured() -> None:
    known = {name for case in answers.CASES for name in case.names}
    for goal in goals._ANSWERS:
        assert goal.case in known, goal
        if goal.against and goal.against[0]:
            assert goal.against[0] in known, goal


class Fixed:
    """A TextEngine that takes so long, and says so much."""

    def __init__(self, name: str, seconds: float, run: Callable[[int], Run] | None = None) -> None:
        self.name = name
        self.prompts: list[int] = []
        self._run = run or (lambda count: Run(seconds * 900, seconds * 100, count, None, ""))

    def run(self, prompt: Prompt, count: int) -> Run:
        self.prompts.append(len(prompt.ids))
        return self._run(count)


def engine(fixed: Fixed) -> TextEngine:
    return cast(TextEngine, fixed)


def test_who_continues_otherwise_is_left_out() -> None:
    prompt = Prompt("", (1,))
    check(engine(Fixed("ids", 1, lambda count: Run(1, 1, count, GOLDEN_IDS, None))), prompt)
    check(engine(Fixed("text", 1, lambda count: Run(1, 1, count, None, GOLDEN_ANSWER))), prompt)
    other = Fixed("other", 1, lambda count: Run(1, 1, count, (*GOLDEN_IDS[:-1], 7), None))
    with pytest.raises(RuntimeError, match=r"other is left out: .* \[2683, .* 7\], expected"):
        check(engine(other), prompt)
    silent = Fixed("silent", 1, lambda count: Run(1, 1, count, None, ""))
    with pytest.raises(RuntimeError, match="silent is left out"):
        check(engine(silent), prompt)


def words(count: int) -> Texts:
    """A token a word; documents of 40 different words."""
    vocabulary = {f"w{n}": n for n in range(count * 40)}
    model = tokenizers.models.WordLevel(vocabulary, unk_token="w0")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    every = list(vocabulary)
    return Texts(tokenizer, [" ".join(every[n * 40 : n * 40 + 40]) for n in range(count)])


def test_texts_have_exactly_so_many_tokens_and_never_come_again() -> None:
    texts = words(10)
    first, second, third = texts.take(32), texts.take(60), texts.take(40)
    assert [len(text.ids) for text in (first, second, third)] == [32, 60, 40]
    assert not set(first.ids) & set(second.ids) and not set(second.ids) & set(third.ids)
    with pytest.raises(RuntimeError, match="no text of 300 tokens is left"):
        texts.take(300)


def bench(samples: Samples, quick: bool) -> Bench:
    return cast(Bench, SimpleNamespace(samples=samples, quick=quick, step=lambda what: None))


def test_slow_engines_are_asked_in_every_third_round() -> None:
    samples = Samples("answers")
    fast, slow = Fixed("pywasm", 0.5), Fixed("wllama", 7.0)
    models = cast(Models, SimpleNamespace(texts=words(400)))
    loaded = {"pywasm/1": engine(fast), "wllama/1": engine(slow)}
    answers_speed._measure(bench(samples, quick=False), models, loaded)
    rates = samples.series_of("smollm2-prefill500-t1", "tokens_per_s").values
    # A short prompt and a round that are not kept, then eight.
    assert fast.prompts == [50] + [500] * 9
    assert rates == [pytest.approx(500 / 0.45)] * 8
    assert samples.series_of("smollm2-decode-t1", "tokens_per_s").values[0] == pytest.approx(640)
    assert slow.prompts == [50] + [500] * 3
    kept = samples.series_of("smollm2-prefill500-t1", "tokens_per_s", "wllama").values
    assert kept == [pytest.approx(500 / 6.3)] * 3


def test_shares_of_the_bound() -> None:
    samples = Samples("answers")
    samples.add("smollm2-decode-t1", "pywasm", "tokens_per_s", "tokens/s", [50.0, 60.0])
    samples.add("smollm2-prefill500-t1", "pywasm", "tokens_per_s", "tokens/s", [250.0])
    models = SimpleNamespace(matrix_bytes=100e6, matrix_elements=150e6, layer_elements=100e6)
    limits = [Limits(9.0, 100.0), Limits(11.0, 100.0)]  # before and after
    answers_speed._bound(bench(samples, False), cast(Models, models), 1, limits)
    assert samples.series_of("smollm2-decode-t1", "bound_share").values == [0.5, 0.6]
    assert samples.series_of("smollm2-decode-t1", "tokens_per_s").bound == 100
    assert samples.series_of("smollm2-prefill500-t1", "tokens_per_s").bound == 500


def test_a_prompt_of_which_something_else_is_cached_is_no_sample() -> None:
    def asked(cached: int) -> list[float]:
        found = {"ms": 5.0, "cachedTokens": cached}
        given = SimpleNamespace(ask=lambda method, argument: found)
        return answers_rag._first(cast(TextEngine, given), lambda: ([], 544))(1)

    assert asked(544) == [5.0] and asked(546) == [5.0]
    for cached in (32, 576):
        with pytest.raises(RuntimeError, match=f"{cached} tokens were cached, expected 544"):
            asked(cached)


def test_shipped_kv_comes_from_where_the_case_says() -> None:
    def visit(case: str, shipped: int, fetched: int) -> Samples:
        samples = Samples("answers")
        found = {"ms": 100.0, "promptTokens": 160, "sources": {"shipped": shipped}}
        asked = [{"shipped": found, "none": {**found, "ms": 800.0}}]
        answers_shipped.keep(bench(samples, quick=True), case, asked, fetched)
        return samples

    for case, fetched in (("rag1-shipped", 0), ("rag1-shipped-network", 12)):
        figures = judge(visit(case, 119, fetched).rows())
        assert [(v.goal.case, v.value, v.must) for v in figures] == [(case, 0.125, True)]
        with pytest.raises(RuntimeError, match=f"{case}: {12 - fetched} ranges"):
            visit(case, 119, 12 - fetched)
    with pytest.raises(Skipped, match="KV was not used"):
        visit("rag1-shipped", 2, 0)


def event(name: str, ts: float, dur: float = 0.0, tid: int = 1, ph: str = "X") -> dict[str, Any]:
    return {"name": name, "ts": ts, "dur": dur, "tdur": dur / 2, "pid": 7, "tid": tid, "ph": ph}


def test_tasks_of_the_thread_that_shows_the_answer() -> None:
    events = [
        event("RunTask", 50, 90e3),  # before the answer
        event("bench:answer", 100, ph="R"),
        event("RunTask", 150, 4e3),
        event("ThreadControllerImpl::RunTask", 149, 5e3),  # the same one
        event("RunTask", 160, 70e3, tid=2),  # a worker's
        event("RunTask", 9000, 12e3),
        event("bench:answered", 20e3, ph="R"),
        event("RunTask", 21e3, 80e3),  # behind it
    ]
    assert answers_page.main_thread(events) == [Task(4, 2), Task(12, 6)]
    with pytest.raises(RuntimeError, match="of 7 events has no marks"):
        answers_page.main_thread(events[:6] + events[7:])
    with pytest.raises(RuntimeError, match="no tasks"):
        answers_page.main_thread([events[1], events[6]])
