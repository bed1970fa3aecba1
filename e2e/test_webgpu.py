"""The WebGPU backend, on Chromium's software adapter: right results, and Wasm where it can't."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from encoders import ROOT, EncoderPage, encoder_site
from host import Host
from numpy.typing import NDArray
from sites import pywasm

from pywasm.bench.browsers import Browser, PageError, launch

GOLDEN = json.loads((ROOT / "tests/data/minilm.json").read_text("utf-8"))["rows"]
ADAPTER = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
SLOW = 300.0  # s: the software adapter compiles a shader in a second, multiplies at 0.1 GFLOP/s

# Keeps the devices that the page is given, so that a test can lose them.
KEEP_DEVICES = """if (globalThis.GPUAdapter) {
  const { requestDevice } = GPUAdapter.prototype;
  globalThis.devices = [];
  GPUAdapter.prototype.requestDevice = async function (...args) {
    const device = await requestDevice.apply(this, args);
    devices.push(device);
    return device;
  };
}"""
ABORT = """async (text) => {
  const controller = new AbortController();
  const encoding = encoder.encode(text, { signal: controller.signal });
  await new Promise((resolve) => setTimeout(resolve, 100));
  controller.abort();
  const start = performance.now();
  await encoding.catch((error) => { globalThis.aborted = error.name; });
  return { name: globalThis.aborted, ms: performance.now() - start };
}"""

Vectors = NDArray[np.float32]
Weights = Callable[[str], Path]


@pytest.fixture(scope="module")
def gpu() -> Iterator[Browser]:
    """Chromium with the software adapter."""
    browser = launch("chromium", args=ADAPTER)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """Sites with MiniLM by type of weights; tests don't change them."""
    made: dict[str, Path] = {}

    def get(dtype: str) -> Path:
        if dtype not in made:
            root = tmp_path_factory.mktemp(dtype)
            pywasm("compile", "minilm", "--weights", dtype, "-o", str(root / "model"))
            made[dtype] = encoder_site(root / "model", root / "site")
        return made[dtype]

    return get


@pytest.fixture
def tab(serve: Callable[[Path], Host]) -> Iterator[Callable[[Browser, Path], EncoderPage]]:
    """Opens tabs on sites; all are closed at the end of the test."""
    tabs: list[EncoderPage] = []

    def open_tab(browser: Browser, root: Path) -> EncoderPage:
        tabs.append(EncoderPage(browser.new_page(), serve(root)))
        return tabs[-1]

    yield open_tab
    for opened in tabs:
        opened.page.close()


Tab = Callable[[Browser, Path], EncoderPage]


def golden(count: int) -> tuple[list[str], Vectors]:
    """The `count` shortest texts of the oracle and their vectors."""
    rows = sorted(GOLDEN, key=lambda row: len(row["input_ids"]))[:count]
    vectors = np.array([row["embedding"] for row in rows], np.float32)
    return [row["text"] for row in rows], vectors


def test_the_golden_vectors(gpu: Browser, tab: Tab, site: Weights) -> None:
    """One text, a batch with padding, and the first again: two shapes, and what is kept of them."""
    page = tab(gpu, site("f32"))
    page.open(backend="webgpu", storage="memory", timeout=SLOW)
    texts, vectors = golden(3)
    for chosen in (slice(0, 1), slice(0, 3), slice(0, 1)):
        found = np.array(page.encode(texts[chosen], timeout=SLOW), np.float32)
        assert np.abs(found - vectors[chosen]).max() < 1e-4
    status = page.status()
    assert (status["backend"], status["numeric"]) == ("webgpu", "fused")
    assert "note" not in status
    assert status["memory"]["weights"] > 80e6
    timings = page.page.evaluate(
        "(texts) => encoder.timings(texts, { repeat: 1 })", texts[:1], SLOW
    )
    assert len(timings) == 45
    assert all(step["ms"] > 0 for step in timings)


def test_int8_agrees_with_wasm(gpu: Browser, tab: Tab, site: Weights) -> None:
    page = tab(gpu, site("int8"))
    texts, _ = golden(2)
    found = []
    for backend in ("webgpu", "wasm"):
        page.open(backend=backend, storage="memory", timeout=SLOW)
        assert page.status()["backend"] == backend
        found.append(np.array(page.encode(texts, timeout=SLOW), np.float32))
    assert (found[0] * found[1]).sum(axis=1).min() > 0.9999


def test_without_an_adapter_it_is_wasm(browser: Browser, tab: Tab, site: Weights) -> None:
    page = tab(browser, site("f32"))
    page.open(backend="webgpu", storage="memory")
    status = page.status()
    assert status["backend"] == "wasm"
    assert "WebGPU" in status["note"]
    texts, vectors = golden(1)
    assert np.abs(np.array(page.encode(texts)) - vectors).max() < 1e-4


def test_a_lost_gpu_is_replaced(gpu: Browser, tab: Tab, site: Weights) -> None:
    """In the middle of a run, whose caller gets its vectors all the same."""
    page = tab(gpu, site("f32"))
    page.page.add_init_script(KEEP_DEVICES)
    page.load()
    page.open(backend="webgpu", storage="memory", thread="inline", timeout=SLOW)
    texts, vectors = golden(1)
    page.page.evaluate("() => void setTimeout(() => devices[0].destroy(), 200)")
    found = np.array(page.encode(texts, timeout=SLOW))
    assert np.abs(found - vectors).max() < 1e-4
    status = page.status()
    assert status["backend"] == "wasm"
    assert "lost" in status["note"]


def test_an_aborted_run_does_not_disturb_the_next(gpu: Browser, tab: Tab, site: Weights) -> None:
    page = tab(gpu, site("f32"))
    page.open(backend="webgpu", storage="memory", timeout=SLOW)
    texts, vectors = golden(1)
    aborted = page.page.evaluate(ABORT, texts[0], SLOW)
    assert aborted["name"] == "AbortError"
    assert aborted["ms"] < 300
    found = np.array(page.encode(texts, timeout=SLOW))
    assert np.abs(found - vectors).max() < 1e-4


def test_shaders_of_another_plan_are_refused(gpu: Browser, tab: Tab, site: Weights) -> None:
    """A file that is damaged is an error, not a reason to run elsewhere."""
    page = tab(gpu, site("f32"))
    page.host.faults.change[r"wgsl-"] = lambda data: data.replace(b"main", b"niam")
    with pytest.raises(PageError, match="SHA-256") as caught:
        page.open(backend="webgpu", storage="memory", timeout=SLOW)
    assert caught.value.code == "corrupt"
