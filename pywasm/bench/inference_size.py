"""Case bundle-runtime: what a visitor downloads to run an encoder, beside its weights."""

from __future__ import annotations

import gzip
from collections.abc import Mapping

from pywasm.compile.plan_types import Plan

from . import peers
from .context import Bench
from .inference_models import Models

CASE = "bundle-runtime"
OURS = ("encoder.js", "encoder-worker.js", "tuning.js", "tuner-worker.js")
WEB = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


def bundle(context: Bench) -> None:
    """JavaScript and Wasm, each compressed as a server would (gzip -9); ours with the one module
    of kernels that a browser fetches, and with what tunes them but for Pyodide.
    """
    models = Models(context)
    ours = {name: (models.bundle_folder / name).read_bytes() for name in OURS}
    folder = models.compiled("int8")
    plan = Plan.model_validate_json((folder / "plan.json").read_bytes())
    ours["kernels"] = max(((folder / module.file).read_bytes() for module in plan.modules), key=len)
    _add(context, "pywasm", ours)
    if context.peers:
        dist = peers.install() / "onnxruntime-web" / "dist"
        _add(context, "onnxruntime-web", {name: (dist / name).read_bytes() for name in WEB})


def _add(context: Bench, engine: str, files: Mapping[str, bytes]) -> None:
    sizes = {name: len(gzip.compress(data, 9)) / 1024 for name, data in files.items()}
    series = context.samples.add(CASE, engine, "gzip_kb", "KB", sum(sizes.values()))
    series.note = ", ".join(f"{name} {size:.1f}" for name, size in sizes.items())
