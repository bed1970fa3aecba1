"""Engines that turn token ids into embeddings: one interface over those in pages and native."""

from __future__ import annotations

import abc
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from numpy.typing import NDArray

from .browsers import Page
from .engines import InPage

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]


class Sentences(abc.ABC):
    """An engine holding a model, on so many threads."""

    name: str
    threads: int

    @abc.abstractmethod
    def prepare(self, ids: Ids) -> None:
        """Take i64[batch, seq], none of it padding, as the input of what follows."""

    @abc.abstractmethod
    def embed(self) -> Floats:
        """f32[batch, dim], unit length."""

    @abc.abstractmethod
    def time(self, warm: int, count: int) -> list[float]:
        """Milliseconds of each of `count` runs, one after another, after `warm` unmeasured."""


class PageSentences(Sentences):
    """An adapter of pages/engines/ in a worker, or on the page itself (`on_page`)."""

    def __init__(self, page: Page, adapter: str, name: str, threads: int, on_page: bool) -> None:
        self.name = name
        self.threads = threads
        host = f"{'page:' if on_page else ''}{name}-t{threads}"
        self._engine = InPage(page, name, [], host=host)
        self._adapter = adapter

    def start(self, **options: Any) -> dict[str, Any]:
        """Load the model; what the adapter says of it."""
        argument = {"engine": self._adapter, "options": {**options, "threads": self.threads}}
        answer: dict[str, Any] = self._engine.call("start", argument, 300.0)
        return answer

    def prepare(self, ids: Ids) -> None:
        batch, seq = ids.shape
        argument = {"ids": ids.ravel().tolist(), "batch": batch, "seq": seq}
        self._engine.call("call", {"method": "prepare", "argument": argument}, 300.0)

    def embed(self) -> Floats:
        return np.array(self._engine.ask("embed"), np.float32)

    def time(self, warm: int, count: int) -> list[float]:
        times: list[float] = self._engine.ask("time", {"warm": warm, "count": count})
        return times

    def ask(self, method: str, argument: Any = None) -> Any:
        """A further method of the adapter."""
        return self._engine.ask(method, argument)


class NativeSentences(Sentences):
    """onnxruntime in this process."""

    name = "onnxruntime"

    def __init__(self, model: Path, threads: int) -> None:
        self.threads = threads
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # A pool that spins between calls would take a core from the engine measured next.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        providers = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(str(model), options, providers=providers)
        self._feeds: dict[str, Ids] = {}

    def prepare(self, ids: Ids) -> None:
        values = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        self._feeds = {**values, "token_type_ids": np.zeros_like(ids)}

    def embed(self) -> Floats:
        (hidden,) = self._session.run(["last_hidden_state"], self._feeds)
        mean = np.asarray(hidden, np.float64).mean(axis=1)
        unit: Floats = (mean / np.linalg.norm(mean, axis=1, keepdims=True)).astype(np.float32)
        return unit

    def time(self, warm: int, count: int) -> list[float]:
        times = []
        for number in range(-warm, count):
            started = time.perf_counter_ns()
            self._session.run(["last_hidden_state"], self._feeds)
            if number >= 0:
                times.append((time.perf_counter_ns() - started) / 1e6)
        return times
