"""Cases minilm-*-t1/-t2: one run of MiniLM, every engine in turns, from token ids to what it gives.

Ours gives the pooled, normalised embedding and is called through its worker, as a page does; the
others give hidden states, and are called on the thread that computes.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from pywasm.compile.plan_types import Plan

from .context import Bench
from .core import Series, Subject, interleave
from .inference_device import least_ms, measured
from .inference_engines import Floats, NativeSentences, PageSentences, Sentences
from .inference_models import DType, Models

Shape = tuple[int, int]  # batch, tokens
SHAPES: tuple[Shape, ...] = ((1, 16), (1, 64), (1, 128), (1, 256), (8, 128))
THREADS = (1, 2)
CLOSE: dict[DType, float] = {"f32": 0.9999, "int8": 0.99}  # cosine to native onnxruntime, f32
TURN_MS = 60.0  # an engine's part of a round, about
SHORT_MS = 30.0  # runs as short as this are repeated after one that wakes threads and caches


def case_name(dtype: DType, batch: int, seq: int, threads: int) -> str:
    return f"minilm-{dtype}-{batch}x{seq}-t{threads}"


def names(dtype: DType, shape: Shape) -> tuple[str, ...]:
    """The cases that are measured together."""
    return tuple(case_name(dtype, *shape, threads) for threads in THREADS)


def latency(context: Bench, dtype: DType, shape: Shape) -> None:
    """On one and on two threads."""
    models = Models(context)
    plan = Plan.model_validate_json((models.compiled(dtype) / "plan.json").read_bytes())
    ids = models.ids(*shape)
    judge = NativeSentences(models.onnx("f32"), 1)
    judge.prepare(ids)
    expected = judge.embed()
    with _engines(context, models, dtype, shape) as loaded:
        page = context.browser.new_page()
        page.goto(f"{context.server.url}/bench/")
        device = measured(page)
        page.close()
        engines = []
        context.step(f"{names(dtype, shape)[0][:-3]}: tuning and checking {len(loaded)} engines")
        for engine in loaded:
            case = case_name(dtype, *shape, engine.threads)
            try:
                engine.prepare(ids)
                _check(engine, dtype, expected)
            except RuntimeError as error:
                context.failed(f"{case} {engine.name}", error)
                continue
            engines.append(engine)
            series = _add(context, dtype, shape, engine, [])  # rows in this order
            if engine.name.startswith("pywasm"):
                series.bound = least_ms(plan, device, *shape, engine.threads)
        context.step(f"{names(dtype, shape)[0][:-3]}: {len(engines)} engines in turns")
        _measure(engines, functools.partial(_add, context, dtype, shape), context.quick)


def _add(
    context: Bench, dtype: DType, shape: Shape, engine: Sentences, values: Sequence[float]
) -> Series:
    case = case_name(dtype, *shape, engine.threads)
    return context.samples.add(case, engine.name, "latency_ms", "ms", values)


def _check(engine: Sentences, dtype: DType, expected: Floats) -> None:
    cosine = float((engine.embed() * expected).sum(axis=1).min())
    if not cosine >= CLOSE[dtype]:
        raise RuntimeError(
            f"{engine.name} on {engine.threads} threads, {dtype}: cosine {cosine:.6f} to native "
            f"onnxruntime in f32, at least {CLOSE[dtype]} expected"
        )


def _measure(
    engines: Sequence[Sentences], add: Callable[[Sentences, Sequence[float]], object], quick: bool
) -> None:
    """Rounds until the time is spent."""
    by_label = {f"{engine.name}/{engine.threads}": engine for engine in engines}
    # The first runs are in the browser's baseline code.
    took = {label: float(np.median(engine.time(2, 3))) for label, engine in by_label.items()}

    def subject(label: str, engine: Sentences) -> Subject:
        warm = 1 if took[label] <= SHORT_MS else 0
        count = int(np.clip(round(TURN_MS / took[label]), 1, 10))

        def sample(number: int) -> list[float]:
            time.sleep(0.005)  # what the engine before has left spinning comes to rest
            return engine.time(warm, count)

        return Subject(label, sample)

    round_ms = sum(max(TURN_MS, ms) for ms in took.values())
    budget, least = (4e3, 3) if quick else (45e3, 12)
    rounds = int(np.clip(budget / round_ms, least, 60))
    subjects = [subject(label, engine) for label, engine in by_label.items()]

    def keep(label: str, values: Sequence[float]) -> None:
        add(by_label[label], values)

    interleave(subjects, rounds, keep)


@contextlib.contextmanager
def _engines(
    context: Bench, models: Models, dtype: DType, shape: Shape
) -> Iterator[list[Sentences]]:
    """Every engine with its model loaded."""
    with contextlib.ExitStack() as stack:
        engines: list[Sentences] = []

        def in_page(adapter: str, name: str, threads: int, on_page: bool) -> PageSentences:
            page = context.browser.new_page()
            stack.callback(page.close)
            page.goto(f"{context.server.url}/bench/")
            engine = PageSentences(page, adapter, name, threads, on_page)
            engines.append(engine)
            return engine

        for threads in THREADS:
            _ours(models, dtype, functools.partial(in_page, threads=threads))
            native = NativeSentences(models.onnx(dtype), threads)
            engines.append(native)
            if not context.peers:
                continue
            context.step(f"loading the peers' {dtype} models, {threads} threads")
            web = in_page("onnxruntime-web", "onnxruntime-web", threads, False)
            web.start(model=models.url(models.onnx(dtype)))
            if dtype == "f32":
                file = models.url(models.tflite(*shape))
                in_page("litert", "litert", threads, True).start(model=file)
        yield engines


def _ours(models: Models, dtype: DType, in_page: Callable[..., PageSentences]) -> None:
    """With kernels tuned here on each shape, and with those that ship."""
    tuning = models.tuning
    for name, more in (("pywasm", tuning), ("pywasm-default", {})):
        engine = in_page("encoder", name, on_page=True)
        engine.start(**models.session(dtype, engine.threads), **more)
