"""Folders with the bundle and a compiled model, and pages that run it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from host import Host

from pywasm.bench.browsers import Page

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "web/test/inference/sample"  # three kernels, eight words: see make_sample.py

OPEN = """async ({ bundle, where, options }) => {
  const { Encoder } = await import(bundle);
  globalThis.progress = [];
  const onProgress = (event) => progress.push(event);
  globalThis.encoder = await Encoder.open(where, { ...options, onProgress });
  return { dim: encoder.dim, maxTokens: encoder.maxTokens, name: encoder.name };
}"""
ENCODE = """async ({ texts, options }) =>
  (await encoder.encode(texts, options)).map((vector) => Array.from(vector))"""


def encoder_site(model: Path, root: Path) -> Path:
    """`root` with the bundle in pywasm/ and the model in model/."""
    bundle = ROOT / "pywasm/_web"
    (root / "pywasm").mkdir(parents=True)
    for file in bundle.glob("*.js"):
        shutil.copy(file, root / "pywasm")
    shutil.copytree(model, root / "model")
    return root


class EncoderPage:
    """A tab on `host`'s blank page."""

    def __init__(self, page: Page, host: Host) -> None:
        self.page = page
        self.host = host
        self.load()

    def load(self) -> None:
        """(Re)load; what was open is gone."""
        self.page.goto(f"{self.host.url}/blank.html")

    def open(self, where: str = "/model/", timeout: float = 60.0, **options: Any) -> dict[str, Any]:
        """Encoder.open."""
        bundle = f"{self.host.url}/pywasm/encoder.js"
        argument = {"bundle": bundle, "where": where, "options": options}
        opened: dict[str, Any] = self.page.evaluate(OPEN, argument, timeout)
        return opened

    def encode(self, texts: list[str], timeout: float = 60.0, **options: Any) -> list[list[float]]:
        """encoder.encode; rows of numbers."""
        argument = {"texts": texts, "options": options}
        vectors: list[list[float]] = self.page.evaluate(ENCODE, argument, timeout)
        return vectors

    def status(self) -> dict[str, Any]:
        """encoder.status."""
        status: dict[str, Any] = self.page.evaluate("() => encoder.status()")
        return status
