"""Engines that continue a prompt: one interface over those in pages, and the proof that they do."""

from __future__ import annotations

import dataclasses
from typing import Any

from .answers_models import Models
from .answers_prompts import GOLDEN_ANSWER, GOLDEN_IDS, Prompt
from .browsers import Browser, Page
from .context import Bench
from .engines import InPage

CONTEXT = 1024  # of wllama's cache: the longest prompt of a comparison and its answer
TIMEOUT = 600.0


@dataclasses.dataclass(frozen=True)
class Run:
    """ms to the first token and from it to the last of `count`, and the answer."""

    first: float
    rest: float
    count: int
    ids: tuple[int, ...] | None
    text: str | None


class TextEngine:
    """An adapter of pages/engines/ with a model loaded, in a tab of its own."""

    def __init__(self, page: Page, adapter: str, name: str, threads: int, on_page: bool) -> None:
        self.name = name
        self.threads = threads
        self.page = page
        self._engine = InPage(page, name, [], host=f"{'page:' if on_page else ''}{name}")
        self._adapter = adapter

    def start(self, **options: Any) -> dict[str, Any]:
        """Load the model; what the adapter says of it."""
        argument = {"engine": self._adapter, "options": options}
        answer: dict[str, Any] = self._engine.call("start", argument, TIMEOUT)
        return answer

    def run(self, prompt: Prompt, count: int) -> Run:
        """The prompt and `count` tokens."""
        given = {"ids": list(prompt.ids), "text": prompt.text}
        found = self.ask("generate", {"prompt": given, "count": count})
        ids = found.get("ids")
        return Run(
            found["first"],
            found["rest"],
            found["count"],
            None if ids is None else tuple(ids),
            found.get("text"),
        )

    def ask(self, method: str, argument: Any = None) -> Any:
        """A further method of the adapter."""
        return self._engine.call("call", {"method": method, "argument": argument}, TIMEOUT)


def check(engine: TextEngine, prompt: Prompt) -> None:
    """It continues the golden prompt as transformers does. Raises RuntimeError."""
    found = engine.run(prompt, len(GOLDEN_IDS))
    right = found.ids == GOLDEN_IDS if found.ids else (found.text or "").startswith(GOLDEN_ANSWER)
    if not right:
        raise RuntimeError(
            f"{engine.name} is left out: it continues the golden prompt with "
            f"{found.text if found.ids is None else list(found.ids)!r}, "
            f"expected {GOLDEN_ANSWER if found.ids is None else list(GOLDEN_IDS)!r}"
        )


class Tabs:
    """Opens engines, each in a tab that the caller closes: in the run's browser or in `browser`."""

    def __init__(self, context: Bench, models: Models, browser: Browser | None = None) -> None:
        self._context = context
        self._models = models
        self._browser = browser or context.browser

    def ours(self, threads: int, **options: object) -> TextEngine:
        """Of the public bundle. Nothing is stored unless the options say so."""
        engine = self._engine("generator", "pywasm", threads, True)
        opened = {"threads": threads, "storage": "memory", **options}
        engine.start(
            module=f"{self._models.bundle}generator.js",
            model=self._models.url(self._models.compiled),
            open=opened,
        )
        return engine

    def peer(self, name: str, threads: int) -> TextEngine:
        """One of PEERS."""
        models = self._models
        if name.startswith("wllama"):
            engine = self._engine("wllama", name, threads, True)
            file = models.q8 if name == "wllama-q8" else models.gguf
            engine.start(model=models.url(file), threads=threads, context=CONTEXT)
            return engine
        engine = self._engine("onnxruntime-decoder", name, threads, False)
        shape = models.shape
        engine.start(
            model=models.url(models.onnx("int8" if name.endswith("int8") else "q4")),
            threads=threads,
            layers=shape.layers,
            kvHeads=shape.kv_heads,
            headDim=shape.head_dim,
        )
        return engine

    def _engine(self, adapter: str, name: str, threads: int, on_page: bool) -> TextEngine:
        page = self._browser.new_page()
        page.goto(f"{self._context.server.url}/bench/")
        return TextEngine(page, adapter, name, threads, on_page)


PEERS = ("wllama", "wllama-q8", "onnxruntime-web-int8", "onnxruntime-web-q4")
