"""`pywasm compile`: from a model to a folder with its plan."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tokenizers

from pywasm import __version__
from pywasm.compile import (
    calibration,
    folding,
    fused,
    fusion,
    kernels,
    loss,
    memory,
    sizes,
    weights,
)
from pywasm.compile.contrib import lower_contrib
from pywasm.compile.epilogues import fuse_epilogues, with_pooling
from pywasm.compile.graph import Graph
from pywasm.compile.lower import Program, WeightsDType, lower
from pywasm.compile.onnx_import import import_onnx
from pywasm.compile.plan_types import (
    FILE_NAME,
    FORMAT,
    SHARD_BYTES,
    Expr,
    Loss,
    Numeric,
    Plan,
    PlanEncoder,
    PlanFile,
    PlanModule,
    Port,
    ScratchRef,
    Slot,
    SlotRef,
    Step,
    WeightRef,
    Weights,
)
from pywasm.compile.run import PlanRun, TextEncoder
from pywasm.encoder import Encoder, EncoderFiles, load_tokenizer
from pywasm.errors import UserError
from pywasm.jit_wheel import jit_digest
from pywasm.shards import replace_file
from pywasm_jit import poly

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
        return PlanRun(self.plan, shards, self.files[module.file], numeric)

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
    table = kernels.Kernels(encoder.where)
    numbers = [table.number(call) for call in program.calls]
    made: dict[str, bytes] = {}
    tokenizer = _file(made, "tokenizer", "json", files.tokenizer.read_bytes())
    tensors, size = weights.place(program.weights)
    shards = [
        _file(made, "weights", "bin", piece)
        for piece in weights.pieces(program.weights, SHARD_BYTES)
    ]
    modules = []
    for numeric in kernels.NUMERICS:
        for shared in (False, True):
            code = _file(made, "kernels", "wasm", table.module(numeric, shared))
            modules.append(PlanModule(numeric=numeric, shared=shared, **code.model_dump()))
    shaders = json.dumps(table.shaders(), separators=(",", ":")).encode()
    wgsl = _file(made, "wgsl", "json", shaders)
    placement, steps = _steps(program, table, numbers)
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
            Port(name="ids", dtype="i32", shape=["batch", "seq"], slot=placement.slot["ids"]),
            Port(name="lengths", dtype="i32", shape=["batch"], slot=placement.slot["lengths"]),
        ],
        outputs=[
            Port(
                name="embedding",
                dtype="f32",
                shape=["batch", encoder.widths[encoder.output]],
                slot=placement.slot[encoder.output],
            )
        ],
        weights=Weights(bytes=size, shards=shards, tensors=tensors),
        slots=[Slot(bytes=_largest(options)) for options in placement.bytes],
        steps=steps,
        kernels=table.kernels,
        modules=modules,
        wgsl=wgsl,
    )
    return Compiled(plan, made)


def _factors(files: EncoderFiles, encoder: fused.Encoder) -> dict[str, fused.F32]:
    tokenizer = load_tokenizer(files.tokenizer)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    limit = files.config.max_tokens
    texts = [files.config.query_prefix + text for text in calibration.TEXTS]
    rows = [tokenizer.encode(text).ids[:limit] for text in texts]
    return calibration.channel_factors(encoder, calibration.channel_sizes(encoder, rows))


def _steps(
    program: Program, table: kernels.Kernels, numbers: list[int]
) -> tuple[memory.Placement, list[Step]]:
    weight_numbers = {weight.name: index for index, weight in enumerate(program.weights)}
    weight_bytes = {weight.name: weight.data.nbytes for weight in program.weights}
    reads: list[list[str]] = []
    writes: list[list[str]] = []
    for call, number in zip(program.calls, numbers, strict=True):
        buffers = table.kernels[number].buffers
        reads.append(
            [call.buffers[b.name] for b in buffers if not b.scratch and b.access != "write"]
        )
        writes.append(
            [call.buffers[b.name] for b in buffers if not b.scratch and b.access != "read"]
        )
    lives = memory.lifetimes(reads, writes, ["ids", "lengths"], [program.output])
    bytes_of = {name: value.bytes for name, value in program.values.items() if name in lives}
    placement = memory.place(bytes_of, {name: lives[name] for name in bytes_of})
    steps = []
    for call, number in zip(program.calls, numbers, strict=True):
        kernel = table.kernels[number]
        references: list[WeightRef | SlotRef | ScratchRef] = []
        moved = poly.constant(0)
        scratch = 0
        for buffer in kernel.buffers:
            if buffer.scratch:
                references.append(ScratchRef(scratch=scratch))
                scratch += 1
                continue
            name = call.buffers[buffer.name]
            if name in weight_numbers:
                references.append(WeightRef(weight=weight_numbers[name]))
                whole = poly.constant(weight_bytes[name])
            else:
                references.append(SlotRef(slot=placement.slot[name]))
                whole = bytes_of[name]
            moved = poly.add(moved, call.gathered.get(buffer.name, whole))
        steps.append(
            Step(
                name=call.name,
                kernel=number,
                buffers=references,
                extents=[sizes.to_expr(call.extents[extent]) for extent in kernel.extents],
                flops=sizes.to_expr(call.flops),
                bytes=sizes.to_expr(moved),
            )
        )
    return placement, steps


def _largest(options: list[poly.Poly]) -> Expr:
    written = [sizes.to_expr(option) for option in options]
    return written[0] if len(written) == 1 else ["max", *written]


def _file(made: dict[str, bytes], what: str, suffix: str, data: bytes) -> PlanFile:
    """Adds a file named by its content."""
    digest = hashlib.sha256(data).hexdigest()
    name = f"{what}-{digest[:20]}.{suffix}"
    made[name] = data
    return PlanFile(file=name, bytes=len(data), sha256=digest)
