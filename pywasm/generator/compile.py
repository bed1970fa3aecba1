"""From a language model to a folder with its plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pywasm import __version__, models
from pywasm.compile.assembly import add_file, assemble_parts
from pywasm.compile.compile import Compiled
from pywasm.compile.plan_types import FORMAT, Plan, PlanDecoder, Port
from pywasm.errors import UserError
from pywasm.generator.agreement import measure
from pywasm.generator.decoder import KV_BLOCK, Decoder
from pywasm.generator.gguf_model import read_gguf
from pywasm.generator.hf_model import read_hf
from pywasm.generator.lower import (
    CHUNK,
    Activations,
    DecoderWeights,
    in_dtype,
    lower,
)
from pywasm.generator.matrix import Dense
from pywasm.generator.run import generator_of
from pywasm.jit_wheel import jit_digest

# Share of most likely tokens that must be the model's own: less is a fault of the compiler.
_LEAST_SAME = 0.7


def compile_generator(
    name: str,
    weights: DecoderWeights = "auto",
    activations: Activations = "int16",
    on_stage: Callable[[str], None] = lambda name: None,
) -> Compiled:
    """The plan of a language model, its agreement with the model's own weights measured.

    `name`: of a package or on the hub, a directory, a .gguf file (models.py). Raises UserError.
    """
    on_stage("finding the model")
    path = models.find_model(name)
    on_stage("reading the model")
    decoder = read_decoder(path, name)
    on_stage("compiling kernels")
    compiled = assemble(decoder, weights, activations)
    on_stage("measuring the agreement")
    found = measure(generator_of(compiled.plan, compiled.files), decoder)
    if found.same_top < _LEAST_SAME:
        raise UserError(
            f"{name}: the plan's most likely tokens are the model's for {found.same_top:.0%} of "
            f"the sample texts, expected {_LEAST_SAME:.0%} or more"
        )
    info = compiled.plan.language_model().model_copy(update={"agreement": found})
    return Compiled(compiled.plan.model_copy(update={"decoder": info}), compiled.files)


def read_decoder(path: Path, name: str) -> Decoder:
    """`path`: a .gguf file, a directory with one or with safetensors. Raises UserError."""
    package = models.PACKAGES.get(name)
    licence, url = (package.licence, package.url) if package else ("", "")
    if Path(name).expanduser().exists():
        name = path.resolve().stem if path.is_file() else path.resolve().name
    file = gguf_of(path)
    return read_gguf(file, name, licence, url) if file else read_hf(path, name, licence, url)


def gguf_of(path: Path) -> Path | None:
    """The .gguf file that `path` is or holds. Raises UserError where it holds several."""
    if path.is_file():
        return path if path.suffix == ".gguf" else None
    found = sorted(path.glob("*.gguf"))
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise UserError(f"{path}: holds {names}; give the path of one of them")
    return found[0] if found else None


def assemble(decoder: Decoder, weights: DecoderWeights, activations: Activations) -> Compiled:
    """The plan of a decoder with its weights in `weights`, and all its files."""
    stored = in_dtype(decoder, weights)
    program, head = lower(stored, activations, weights == "f16")
    parts = assemble_parts(program, decoder.name)
    config = decoder.config
    tokenizer = add_file(parts.files, "tokenizer", "json", decoder.text.tokenizer)
    layer = 2 * 2 * config.kv_heads * config.head_dim * KV_BLOCK
    shapes: list[tuple[str, list[int | str]]] = [
        ("ids", ["rows"]),
        ("place", [2]),
        ("table", [config.context // KV_BLOCK]),
    ]
    plan = Plan(
        format=FORMAT,
        compiler=f"{__version__}+{jit_digest()}",
        kind="decoder",
        name=decoder.name,
        licence=decoder.licence,
        url=decoder.url,
        source_sha256=decoder.sha256,
        weights_dtype=_dtype(stored, weights),
        symbols=["rows"],
        limits={"rows": CHUNK},
        encoder=None,
        decoder=PlanDecoder(
            vocab=config.vocab,
            context=config.context,
            layers=len(decoder.layers),
            heads=config.heads,
            kv_heads=config.kv_heads,
            head_dim=config.head_dim,
            chunk=CHUNK,
            kv_block=KV_BLOCK,
            kv_block_bytes=len(decoder.layers) * layer,
            head=head,
            tokenizer=tokenizer,
            template=decoder.text.template,
            bos=decoder.text.bos,
            eos=decoder.text.eos,
            activations="f32" if weights in ("f32", "f16") else activations,
            aux=parts.aux,
            agreement=None,
        ),
        inputs=[
            Port(name=name, dtype="i32", shape=[*shape], slot=parts.slot[name])
            for name, shape in shapes
        ],
        outputs=[Port(name="logits", dtype="f32", shape=[config.vocab], slot=parts.slot["logits"])],
        weights=parts.weights,
        slots=parts.slots,
        steps=parts.steps,
        kernels=parts.table.kernels,
        modules=parts.modules,
        wgsl=None,
    )
    return Compiled(plan, parts.files)


def _dtype(decoder: Decoder, weights: DecoderWeights) -> Literal["f32", "f16", "int8", "int4"]:
    """What most matrices are stored in."""
    layer = decoder.layers[0].down
    if isinstance(layer, Dense):
        return "f16" if weights == "f16" else "f32"
    return "int4" if layer.bits == 4 else "int8"
