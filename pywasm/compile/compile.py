"""`pywasm compile`: from a model to a folder with its plan."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tokenizers

from pywasm import __version__
from pywasm.compile import calibration, folding, fused, fusion, loss
from pywasm.compile.assembly import add_file, assemble_parts
from pywasm.compile.contrib import lower_contrib
from pywasm.compile.epilogues import fuse_epilogues, with_pooling
from pywasm.compile.graph import Graph
from pywasm.compile.instance import PlanInstance
from pywasm.compile.lower import WeightsDType, lower
from pywasm.compile.onnx_import import import_onnx
from pywasm.compile.plan_types import (
    FILE_NAME,
    FORMAT,
    Loss,
    Numeric,
    Plan,
    PlanEncoder,
    Port,
)
from pywasm.compile.run import PlanRun, TextEncoder
from pywasm.encoder import Encoder, EncoderFiles, load_tokenizer
from pywasm.errors import UserError
from pywasm.jit_wheel import jit_digest
from pywasm.shards import replace_file

# What a plan must agree with its model at least: less is a fault of the compiler.
_LEAST_COSINE: dict[WeightsDType, float] = {"f32": 0.9999, "f16": 0.999, "int8": 0.9, "int4": 0.7}
_MADE = re.compile(r"(weights|kernels|tokenizer|wgsl)-[0-9a-f]{20}\.\w+")


@dataclass(frozen=True)
class Compiled:
    """A plan and the files it names, by name."""

    plan: Plan
    files: dict[str, bytes]

    def run(self, numeric: Numeric) -> PlanRun:
        """It, ready to be run natively."""
        module = next(m for m in self.plan.modules if m.numeric == numeric and not m.shared)
        shards = [self.files[shard.file] for shard in self.plan.weights.shards]
        return PlanRun(PlanInstance(self.plan, shards, self.files[module.file], numeric))

    def encoder(self, numeric: Numeric) -> TextEncoder:
        """The same with its tokenizer."""
        data = self.files[self.plan.text_encoder().tokenizer.file]
        return TextEncoder(self.run(numeric), tokenizers.Tokenizer.from_buffer(data))

    def with_loss(self, loss: Loss) -> Compiled:
        encoder = self.plan.text_encoder().model_copy(update={"loss": loss})
        return Compiled(self.plan.model_copy(update={"encoder": encoder}), self.files)

    def write(self, directory: Path) -> None:
        """Into `directory`, plan.json last. What neither this plan nor the one that was there
        names is removed: visitors may still hold the one before."""
        directory.mkdir(parents=True, exist_ok=True)
        old = directory / FILE_NAME
        before = old.read_text("utf-8", "replace") if old.is_file() else ""
        for name, data in self.files.items():
            target = directory / name
            if not (target.is_file() and target.read_bytes() == data):
                replace_file(target, data)
        replace_file(old, plan_bytes(self.plan))
        for file in directory.iterdir():
            made = _MADE.fullmatch(file.name)
            if made and file.name not in self.files and file.name not in before:
                file.unlink()


def plan_bytes(plan: Plan) -> bytes:
    return plan.model_dump_json().encode() + b"\n"


def read_encoder(files: EncoderFiles) -> fused.Encoder:
    """The fused encoder of a model, giving embeddings. Raises UserError, names what it can't."""
    graph = import_onnx(files.model)
    _check_inputs(graph)
    graph = lower_contrib(graph)
    output = "last_hidden_state"
    if output not in graph.outputs:
        output = graph.outputs[0]
    graph = graph.reduced_to([output])
    folding.check_operators(graph)
    graph = folding.fold(graph)
    encoder = fuse_epilogues(fusion.match(graph, output, files.config.max_tokens))
    kind = files.config.pooling
    if kind == "max":
        if not fused.is_pooled(encoder):
            raise UserError(f"{files.name}: pooling by maximum is not supported (mean or cls)")
        kind = "mean"  # never asked for: the model pools by itself
    return with_pooling(encoder, kind, files.config.normalize)


def compile_model(
    files: EncoderFiles, dtype: WeightsDType, on_stage: Callable[[str], None] = lambda name: None
) -> Compiled:
    """The plan of a model, its loss against onnxruntime measured. Raises UserError."""
    on_stage("reading the model")
    encoder = read_encoder(files)
    on_stage("compiling kernels")
    compiled = assemble(files, encoder, dtype)
    on_stage("measuring the loss")
    tokenizer = load_tokenizer(files.tokenizer)
    native = Encoder(files.name, files.model, tokenizer, files.config, files.sha256)
    found = loss.measure(compiled.encoder("fused"), native)
    if found.min_cosine < _LEAST_COSINE[dtype]:
        raise UserError(
            f"{files.name}: the plan in {dtype} does not agree with the model run by onnxruntime "
            f"(cosine {found.min_cosine:.4f}, expected {_LEAST_COSINE[dtype]} or more)"
        )
    return compiled.with_loss(found)


def _check_inputs(graph: Graph) -> None:
    unknown = [value.name for value in graph.inputs if value.name not in fusion.INPUTS]
    if unknown or all(value.name != "input_ids" for value in graph.inputs):
        names = ", ".join(value.name for value in graph.inputs)
        raise UserError(
            f"{graph.where}: inputs {names}; expected input_ids and perhaps "
            f"{', '.join(fusion.INPUTS[1:])}"
        )
    for value in graph.inputs:
        if len(value.shape) not in (0, 2):  # 0: not said
            raise UserError(f"{graph.where}: input {value.name} is no [batch, sequence]")


def assemble(files: EncoderFiles, encoder: fused.Encoder, dtype: WeightsDType) -> Compiled:
    """The plan of an encoder with its weights in `dtype`, and all its files."""
    quantised = dtype in ("int8", "int4")
    program = lower(encoder, dtype, _factors(files, encoder) if quantised else None)
    parts = assemble_parts(program, encoder.where)
    tokenizer = add_file(parts.files, "tokenizer", "json", files.tokenizer.read_bytes())
    shaders = json.dumps(parts.table.shaders(), separators=(",", ":")).encode()
    wgsl = add_file(parts.files, "wgsl", "json", shaders)
    plan = Plan(
        format=FORMAT,
        compiler=f"{__version__}+{jit_digest()}",
        kind="encoder",
        name=files.name,
        licence=files.config.licence,
        url=files.config.url,
        source_sha256=files.sha256,
        weights_dtype=dtype,
        symbols=["batch", "seq"],
        limits={"seq": files.config.max_tokens},
        encoder=PlanEncoder(
            dim=encoder.widths[encoder.output],
            max_tokens=files.config.max_tokens,
            query_prefix=files.config.query_prefix,
            document_prefix=files.config.document_prefix,
            pooling=next(op.kind for op in encoder.ops if isinstance(op, fused.Pool)),
            normalize=isinstance(encoder.ops[-1], fused.Normalize),
            tokenizer=tokenizer,
            loss=None,
        ),
        inputs=[
            Port(name="ids", dtype="i32", shape=["batch", "seq"], slot=parts.slot["ids"]),
            Port(name="lengths", dtype="i32", shape=["batch"], slot=parts.slot["lengths"]),
        ],
        outputs=[
            Port(
                name="embedding",
                dtype="f32",
                shape=["batch", encoder.widths[encoder.output]],
                slot=parts.slot[encoder.output],
            )
        ],
        weights=parts.weights,
        slots=parts.slots,
        steps=parts.steps,
        kernels=parts.table.kernels,
        modules=parts.modules,
        wgsl=wgsl,
    )
    return Compiled(plan, parts.files)


def _factors(files: EncoderFiles, encoder: fused.Encoder) -> dict[str, fused.F32]:
    tokenizer = load_tokenizer(files.tokenizer)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    limit = files.config.max_tokens
    texts = [files.config.query_prefix + text for text in calibration.TEXTS]
    rows = [tokenizer.encode(text).ids[:limit] for text in texts]
    return calibration.channel_factors(encoder, calibration.channel_sizes(encoder, rows))
