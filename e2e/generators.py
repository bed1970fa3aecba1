"""Folders with the bundle and a compiled decoder, pages that run it, what the sample answers."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from host import Host

from pywasm.bench.browsers import Page

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "web/test/generation/sample"  # the next token is a sum of all: see make_sample.py
END = 257  # its <|im_end|>

OPEN = """async ({ bundle, where, options }) => {
  const { Generator } = await import(bundle);
  globalThis.progress = [];
  const onProgress = (event) => progress.push(event);
  globalThis.generator = await Generator.open(where, { ...options, onProgress });
  return generator.info;
}"""
GENERATE = """async ({ prompt, options }) => {
  const starts = [];
  const generation = generator.generate(prompt, { ...options, onStart: (s) => starts.push(s) });
  const text = await generation.text();
  return { text, starts, stats: await generation.stats };
}"""
LOGITS = "async (prompt) => Array.from(await generator.logits(prompt))"


def generator_site(model: Path, root: Path) -> Path:
    """`root` with the bundle in pywasm/ and the model in model/."""
    (root / "pywasm").mkdir(parents=True)
    for file in (ROOT / "pywasm/_web").glob("*.js"):
        shutil.copy(file, root / "pywasm")
    shutil.copytree(model, root / "model")
    return root


def continued(tokens: Sequence[int], most: int) -> list[int]:
    """What the sample generates behind `tokens`, END last if it comes."""
    h = 0
    for token in tokens:
        h = (h * 31 + token) % 65521
    made: list[int] = []
    while len(made) < most and made[-1:] != [END]:
        made.append(END if h % 27 == 26 else ord("a") + h % 27)
        h = (h * 31 + made[-1]) % 65521
    return made


def sample_text(prompt: str, most: int) -> str:
    """The same, of a text of ASCII, as text."""
    return bytes(t for t in continued(prompt.encode(), most) if t != END).decode()


def sample_prompt(least: int) -> str:
    """A prompt whose answer has at least `least` tokens."""
    for number in range(1000):
        prompt = f"{number} question"
        if END not in continued(prompt.encode(), least):
            return prompt
    raise AssertionError("none of a thousand prompts has a long answer")


class GeneratorPage:
    """A tab on `host`'s blank page."""

    def __init__(self, page: Page, host: Host) -> None:
        self.page = page
        self.host = host
        self.load()

    def load(self) -> None:
        """(Re)load; what was open is gone."""
        self.page.goto(f"{self.host.url}/blank.html")

    def open(self, where: str = "/model/", timeout: float = 60.0, **options: Any) -> dict[str, Any]:
        """Generator.open."""
        bundle = f"{self.host.url}/pywasm/generator.js"
        argument = {"bundle": bundle, "where": where, "options": options}
        info: dict[str, Any] = self.page.evaluate(OPEN, argument, timeout)
        return info

    def generate(self, prompt: Any, timeout: float = 60.0, **options: Any) -> dict[str, Any]:
        """generator.generate, all of it: {text, starts, stats}."""
        argument = {"prompt": prompt, "options": options}
        made: dict[str, Any] = self.page.evaluate(GENERATE, argument, timeout)
        return made

    def logits(self, prompt: Any, timeout: float = 60.0) -> list[float]:
        """generator.logits."""
        found: list[float] = self.page.evaluate(LOGITS, prompt, timeout)
        return found

    def status(self) -> dict[str, Any]:
        """generator.status."""
        status: dict[str, Any] = self.page.evaluate("() => generator.status()")
        return status
