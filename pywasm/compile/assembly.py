"""From calls of kernels to what every plan is made of: weights, memory, steps, modules."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pywasm.compile import kernels, memory, sizes, weights
from pywasm.compile.lower import Program
from pywasm.compile.plan_types import (
    SHARD_BYTES,
    Expr,
    KvRef,
    PlanFile,
    PlanModule,
    ScratchRef,
    Slot,
    SlotRef,
    Step,
    WeightRef,
    Weights,
)
from pywasm_jit import poly

Reference = WeightRef | SlotRef | ScratchRef | KvRef


@dataclass(frozen=True)
class Parts:
    """`slot` of each value; numbers of the program's `aux` kernels; `files` by name."""

    weights: Weights
    slots: list[Slot]
    slot: dict[str, int]
    steps: list[Step]
    table: kernels.Kernels
    aux: dict[str, int]
    modules: list[PlanModule]
    files: dict[str, bytes]


def assemble_parts(program: Program, where: str) -> Parts:
    """`where` names the model in errors. Raises UserError for sizes that no kernel takes."""
    table = kernels.Kernels(where)
    numbers = [table.number(call.kernel, call.parameters) for call in program.calls]
    aux = {name: table.number(*kernel) for name, kernel in program.aux.items()}
    files: dict[str, bytes] = {}
    tensors, size = weights.place(program.weights)
    shards = [
        add_file(files, "weights", "bin", piece)
        for piece in weights.pieces(program.weights, SHARD_BYTES)
    ]
    modules = []
    for numeric in kernels.NUMERICS:
        for shared in (False, True):
            code = add_file(files, "kernels", "wasm", table.module(numeric, shared))
            modules.append(PlanModule(numeric=numeric, shared=shared, **code.model_dump()))
    placement, steps = _steps(program, table, numbers)
    return Parts(
        weights=Weights(bytes=size, shards=shards, tensors=tensors),
        slots=[Slot(bytes=_largest(options)) for options in placement.bytes],
        slot=placement.slot,
        steps=steps,
        table=table,
        aux=aux,
        modules=modules,
        files=files,
    )


def add_file(files: dict[str, bytes], what: str, suffix: str, data: bytes) -> PlanFile:
    """Adds a file named by its content."""
    digest = hashlib.sha256(data).hexdigest()
    name = f"{what}-{digest[:20]}.{suffix}"
    files[name] = data
    return PlanFile(file=name, bytes=len(data), sha256=digest)


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
    lives = memory.lifetimes(reads, writes, program.inputs, [program.output])
    bytes_of = {name: value.bytes for name, value in program.values.items() if name in lives}
    placement = memory.place(bytes_of, {name: lives[name] for name in bytes_of})
    steps = []
    for call, number in zip(program.calls, numbers, strict=True):
        kernel = table.kernels[number]
        references: list[Reference] = []
        moved = poly.constant(0)
        scratch = 0
        for buffer in kernel.buffers:
            if buffer.scratch:
                references.append(ScratchRef(scratch=scratch))
                scratch += 1
                continue
            name = call.buffers[buffer.name]
            if name in program.kv:
                references.append(KvRef(kv=program.kv[name]))
                whole = poly.constant(0)
            elif name in weight_numbers:
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
