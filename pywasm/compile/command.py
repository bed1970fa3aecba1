"""The commands `pywasm compile` and `pywasm profile`."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from pywasm.compile import machine
from pywasm.compile.compile import Compiled, compile_model, plan_bytes, read_encoder
from pywasm.compile.compile import assemble as assemble_plan
from pywasm.compile.lower import WeightsDType
from pywasm.compile.plan_types import FILE_NAME, Numeric
from pywasm.compile.profile import print_profile, profile
from pywasm.compile.run import PlanRun, open_run
from pywasm.encoder import find_encoder
from pywasm.errors import UserError


def compile_to(
    model: str, output: Path, dtype: WeightsDType, status: Console | None
) -> dict[str, Any]:
    """Compiles and writes; what it printed goes into the result. `status`: where progress goes."""
    start = time.perf_counter()
    if output.exists() and not output.is_dir():
        raise UserError(f"{output}: is a file; expected a folder to write the plan to")
    compiled = _compiled(model, dtype, status)
    compiled.write(output)
    return {
        "output": str(output),
        **_described(compiled),
        "seconds": round(time.perf_counter() - start, 2),
    }


def _compiled(model: str, dtype: WeightsDType, status: Console | None) -> Compiled:
    if status is None:
        return compile_model(find_encoder(model), dtype)
    with status.status("finding the model") as spinner:
        return compile_model(find_encoder(model), dtype, lambda name: spinner.update(name))


def _described(compiled: Compiled) -> dict[str, Any]:
    plan = compiled.plan
    encoder = plan.text_encoder()
    return {
        "model": plan.name,
        "weights": plan.weights_dtype,
        "weights_bytes": plan.weights.bytes,
        "shards": len(plan.weights.shards),
        "kernels": len(plan.kernels),
        "modules_bytes": {
            f"{module.numeric}{'-shared' if module.shared else ''}": module.bytes
            for module in plan.modules
        },
        "plan_bytes": len(plan_bytes(plan)),
        "tokenizer_bytes": encoder.tokenizer.bytes,
        "steps": len(plan.steps),
        "dim": encoder.dim,
        "max_tokens": encoder.max_tokens,
        "loss": encoder.loss.model_dump() if encoder.loss else None,
    }


def print_compiled(result: dict[str, Any], console: Console) -> None:
    loss = result["loss"]
    console.print(
        f"[bold]{result['output']}[/bold]: {result['model']}, weights in {result['weights']}: "
        f"{result['weights_bytes'] / 1e6:.1f} MB in {result['shards']} shards, "
        f"{result['kernels']} kernels in {max(result['modules_bytes'].values()) / 1e3:.1f} kB, "
        f"{result['steps']} steps; {result['seconds']} s",
        highlight=False,
        soft_wrap=True,
    )
    console.print(
        f"against the model in f32, {loss['texts']} texts: cosine {loss['mean_cosine']:.6f} on "
        f"average, {loss['min_cosine']:.6f} at least",
        highlight=False,
        soft_wrap=True,
    )


def profile_model(
    model: str,
    dtype: WeightsDType,
    batch: int,
    seq: int,
    relaxed: bool,
    as_json: bool,
    console: Console,
) -> None:
    """Of a compiled folder, or of a model compiled for it in memory."""
    numeric: Numeric = "fused" if relaxed else "separate"
    run = _run_of(model, dtype, numeric)
    run.plan.text_encoder()
    limit = run.plan.limits["seq"]
    if seq > limit:
        raise UserError(f"--seq {seq}: {run.plan.name} takes at most {limit} tokens")
    roof = machine.measure(numeric)
    rows = profile(run, batch, seq, roof)
    if as_json:
        print(json.dumps({"machine": asdict(roof), "kernels": [asdict(row) for row in rows]}))
    else:
        print_profile(rows, roof, console)


def _run_of(model: str, dtype: WeightsDType, numeric: Numeric) -> PlanRun:
    if (Path(model) / FILE_NAME).is_file():
        return open_run(Path(model), numeric)
    files = find_encoder(model)
    return assemble_plan(files, read_encoder(files), dtype).run(numeric)
