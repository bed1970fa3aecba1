"""The commands `pywasm compile`, of a language model, and `pywasm generate`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rich.console import Console

from pywasm import models
from pywasm.compile.compile import Compiled, plan_bytes
from pywasm.compile.plan_types import FILE_NAME
from pywasm.errors import UserError
from pywasm.generator.compile import compile_generator, gguf_of
from pywasm.generator.hf_model import is_decoder
from pywasm.generator.lower import Activations, DecoderWeights
from pywasm.generator.run import open_generator, text_of


def is_language_model(name: str) -> bool:
    """Whether a name is that of a language model: it is fetched to be looked at, where needed."""
    path = models.find_model(name)
    return gguf_of(path) is not None or (path.is_dir() and is_decoder(path))


def compile_to(
    model: str,
    output: Path,
    weights: DecoderWeights,
    activations: Activations,
    status: Console | None,
) -> dict[str, Any]:
    """Compiles and writes; what is printed goes into the result. `status`: where progress goes."""
    start = time.perf_counter()
    if output.exists() and not output.is_dir():
        raise UserError(f"{output}: is a file; expected a folder to write the plan to")
    if status is None:
        compiled = compile_generator(model, weights, activations)
    else:
        with status.status("finding the model") as spinner:
            compiled = compile_generator(model, weights, activations, spinner.update)
    compiled.write(output)
    seconds = round(time.perf_counter() - start, 2)
    return {"output": str(output), **_described(compiled), "seconds": seconds}


def _described(compiled: Compiled) -> dict[str, Any]:
    plan = compiled.plan
    info = plan.language_model()
    return {
        "model": plan.name,
        "kind": plan.kind,
        "weights": plan.weights_dtype,
        "activations": info.activations,
        "weights_bytes": plan.weights.bytes,
        "shards": len(plan.weights.shards),
        "kernels": len(plan.kernels),
        "modules_bytes": {
            f"{module.numeric}{'-shared' if module.shared else ''}": module.bytes
            for module in plan.modules
        },
        "plan_bytes": len(plan_bytes(plan)),
        "tokenizer_bytes": info.tokenizer.bytes,
        "steps": len(plan.steps),
        "layers": info.layers,
        "vocab": info.vocab,
        "context": info.context,
        "kv_token_bytes": info.kv_block_bytes // info.kv_block,
        "agreement": info.agreement.model_dump() if info.agreement else None,
    }


def print_compiled(result: dict[str, Any], console: Console) -> None:
    found = result["agreement"]
    lines = (
        f"[bold]{result['output']}[/bold]: {result['model']}, weights in {result['weights']}: "
        f"{result['weights_bytes'] / 1e6:.1f} MB in {result['shards']} shards, activations in "
        f"{result['activations']}, {result['kernels']} kernels in "
        f"{max(result['modules_bytes'].values()) / 1e3:.1f} kB, {result['steps']} steps; "
        f"{result['seconds']} s",
        f"{result['layers']} layers, {result['vocab']:,} tokens, a context of "
        f"{result['context']:,}; {result['kv_token_bytes'] / 1024:.1f} KiB of KV a token",
        f"against its weights in f32, {found['positions']} next tokens of sample texts: the same "
        f"most likely one for {found['same_top']:.0%}, KL divergence {found['mean_kl']:.5f} nats, "
        f"log-probabilities of the top 20 within {found['max_difference']:.3f}",
    )
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def generate_to(directory: Path, prompt: str, most: int, plain: bool) -> None:
    """Prints the answer as it comes. `plain`: goes on with the text instead of answering it."""
    if not (directory / FILE_NAME).is_file():
        raise UserError(f"{directory}: no {FILE_NAME} here; make it with `pywasm compile`")
    generator = open_generator(directory)
    if plain or not generator.info.template:
        ids = generator.tokens(prompt)
    else:
        ids = generator.chat([{"role": "user", "content": prompt}])
    if not ids or len(ids) >= generator.info.context:
        raise UserError(
            f"the prompt has {len(ids):,} tokens; {generator.plan.name} takes from 1 to "
            f"{generator.info.context - 1:,}"
        )
    for text in text_of(generator, generator.generate(ids, most)):
        print(text, end="", flush=True)
    print()
