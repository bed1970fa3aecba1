"""Cases minilm-open*: from the opening of a page to its first embedding, with everything it needs
on the visitor's disk, and the memory that it takes.

Ours is given a text; the peers are given its tokens, and keep their model in Cache Storage as
transformers.js does.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pywasm.encoder import load_tokenizer
from pywasm.site_tuner import write_tuner

from . import peers
from .browsers import Browser, Page, PageError, launch
from .browsers.chromium import Chromium
from .context import Bench
from .core import Subject, interleave
from .inference_memory import Renderers
from .inference_models import DType, Models
from .network import literal
from .sites import served

CASES: dict[str, DType] = {"minilm-open": "f32", "minilm-open-int8": "int8"}
QUESTION = "How do I parse a date from a string?"
SIZES = ((1, 128), (8, 128))  # run for the peak of memory, after the first embedding
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<link rel="icon" href="data:,">
<script type="module">
const opened = (globalThis.opened = {{}});
try {{
{script}
  opened.first = performance.now();
}} catch (error) {{
  opened.error = String(error);
}}
</script>
"""
_OURS = """  const { Encoder } = await import("./pywasm/encoder.js");
  const encoder = await Encoder.open("./encoder/", { threads: 1 });
  const [vector] = await encoder.encode(QUESTION, { kind: "query" });
  opened.vector = Array.from(vector);
  globalThis.more = (batch, seq) => encoder.run({
    ids: new Int32Array(batch * seq).fill(2000), lengths: new Int32Array(batch).fill(seq),
  }, { batch, seq });
  globalThis.tuned = async () => {
    const { tune } = await import("./pywasm/tuning.js");
    return new Promise((resolve) => {
      const onChange = ({ state, reason }) =>
        ["done", "failed", "off"].includes(state) && resolve(reason ?? state);
      tune(encoder, { mode: "on", folder: "./tune/", onChange });
    });
  };
"""
_WEB = """  const ort = await import("./onnxruntime-web/ort.wasm.min.mjs");
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = new URL("./onnxruntime-web/", location.href).href;
  const cache = await caches.open("models");
  let response = await cache.match("./model.onnx");
  if (!response) {
    await cache.put("./model.onnx", await fetch("./model.onnx"));
    response = await cache.match("./model.onnx");
  }
  const bytes = new Uint8Array(await response.arrayBuffer());
  const options = { executionProviders: ["wasm"] };
  const session = await ort.InferenceSession.create(bytes, options);
  const run = (ids, batch) => {
    const tensor = (numbers) => new ort.Tensor(
      "int64", BigInt64Array.from(numbers, BigInt), [batch, ids.length / batch]);
    return session.run({
      input_ids: tensor(ids), attention_mask: tensor(ids.map(() => 1)),
      token_type_ids: tensor(ids.map(() => 0)),
    });
  };
  const { last_hidden_state: { data } } = await run(TOKENS, 1);
  const mean = new Float64Array(data.length / TOKENS.length);
  data.forEach((value, index) => (mean[index % mean.length] += value));
  const length = Math.hypot(...mean);
  opened.vector = Array.from(mean, (value) => value / length);
  globalThis.more = async (batch, seq) =>
    void (await run(new Array(batch * seq).fill(2000), batch));
"""


def open_page(context: Bench, case: str) -> None:
    """Time and memory of ours and, with peers, of onnxruntime-web."""
    models = Models(context)
    site = _site(context, models, CASES[case])
    engines = ["pywasm", *(["onnxruntime-web"] if context.peers else [])]
    with served(site) as address:
        _first_embedding(context, case, address, engines)
        for engine in engines:
            _peak(context, case, address, engine)


def _site(context: Bench, models: Models, dtype: DType) -> Path:
    """A folder with a page for each engine and one that is empty."""
    site = context.work / f"open-{dtype}"
    shutil.copytree(models.compiled(dtype), site / "encoder")
    shutil.copytree(models.bundle_folder, site / "pywasm")
    write_tuner(site, "")
    (site / "manifest.json").write_text("{}")  # what `pywasm serve` knows a site by
    (site / "empty.html").write_text(_PAGE.format(title="empty", script=""))
    tokens = load_tokenizer(models.files.tokenizer).encode(QUESTION).ids
    names = f"const QUESTION = {literal(QUESTION)}, TOKENS = {literal([t for t in tokens if t])};\n"
    (site / "pywasm.html").write_text(_PAGE.format(title="pywasm", script=names + _OURS))
    if context.peers:
        source = peers.install() / "onnxruntime-web" / "dist"
        (site / "onnxruntime-web").mkdir()
        for name in ("ort.wasm.min.mjs", *(f"ort-wasm-simd-threaded.{e}" for e in ("mjs", "wasm"))):
            shutil.copy(source / name, site / "onnxruntime-web")
        shutil.copy(models.onnx(dtype), site / "model.onnx")
        page = _PAGE.format(title="onnxruntime-web", script=names + _WEB)
        (site / "onnxruntime-web.html").write_text(page)
    return site


def _first_embedding(context: Bench, case: str, address: str, engines: Sequence[str]) -> None:
    """Tabs of one browser, opened in turns; the first of each fill its storage."""
    vectors: dict[str, list[float]] = {}
    with launch("chromium") as browser:
        for engine in engines:
            context.step(f"{case}: {engine}, the first visits")
            for _ in range(2):  # the second finds compiled code in the browser's cache
                _visit(browser, address, engine)
                time.sleep(0.5)

        def subject(engine: str) -> Subject:
            def sample(number: int) -> list[float]:
                found = _visit(browser, address, engine)
                vectors[engine] = found["vector"]
                return [found["first"]]

            return Subject(engine, sample)

        def keep(engine: str, values: Sequence[float]) -> None:
            context.samples.add(case, engine, "first_embedding_ms", "ms", values)

        context.step(f"{case}: opened again and again")
        rounds = 5 if context.quick else 20
        interleave([subject(engine) for engine in engines], rounds, keep)
    for engine in engines[1:]:
        cosine = float(np.dot(vectors[engines[0]], vectors[engine]))
        if not cosine > 0.98:  # both may be quantised, each in its own way
            raise RuntimeError(f"{case}: cosine {cosine:.4f} between ours and {engine}")


def _visit(browser: Browser, address: str, engine: str) -> dict[str, Any]:
    page = browser.new_page()
    try:
        return _load(page, address, engine)
    finally:
        page.close()


def _load(page: Page, address: str, engine: str) -> dict[str, Any]:
    page.goto(f"{address}/{engine}.html")
    page.wait_for("opened.first || opened.error", timeout=120)
    opened: dict[str, Any] = page.evaluate("() => opened")
    if "error" in opened:
        raise PageError(f"{engine}.html: {opened['error']}")
    return opened


def _peak(context: Bench, case: str, address: str, engine: str) -> None:
    """On a first visit, download and storing included, in a browser of its own; and what stays."""
    context.step(f"{case}: {engine}, memory")
    repeats = 1 if context.quick else 3
    for _ in range(repeats):
        with contextlib.closing(Chromium(None, ())) as browser:
            page = browser.new_page()
            page.goto(f"{address}/empty.html")
            time.sleep(1)
            renderers = Renderers(browser)
            renderers.reset()
            empty = renderers.resident()
            _load(page, address, engine)
            for batch, seq in SIZES:
                more = "async ([batch, seq]) => void (await more(batch, seq))"
                page.evaluate(more, [batch, seq], 120)
            add = context.samples.add
            series = add(case, engine, "peak_mb", "MB", renderers.peak() - empty)
            series.note = "first visit, then 1x128 and 8x128; above an empty page"
            time.sleep(2)
            add(case, engine, "resident_mb", "MB", renderers.resident() - empty)
            if engine == "pywasm":
                renderers.reset()
                if (ended := page.evaluate("async () => tuned()", timeout=120)) != "done":
                    raise RuntimeError(f"{case}: tuning ended: {ended}")
                series = add(case, engine, "peak_tuning_mb", "MB", renderers.peak() - empty)
                series.note = "while Pyodide tunes its kernels"
            page.close()
