"""Whether the numbers of a plan fit one another: what the schema alone can't say.

Of a plan that passes, every address lies inside of the memory that its sizes ask for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from pywasm.compile.plan_types import (
    WEIGHT_ALIGN,
    Expr,
    KvRef,
    Plan,
    PlanKernel,
    ScratchRef,
    SlotRef,
    Step,
    WeightRef,
    evaluate,
)

_BYTES = {"f32": 4, "f16": 2, "i32": 4, "i8": 1, "u8": 1, "i8x4": 4}
_SAMPLES = ((1, 1), (3, 2), (2, 5))  # sizes of the symbols at which bytes are compared
LARGEST_MEMORY = 1 << 32


def problem(plan: Plan) -> str | None:
    """The first thing that does not fit, as "place: what"; None where all does."""
    try:
        return next(_problems(plan), None)
    except (KeyError, ZeroDivisionError, IndexError) as error:
        return f"an expression or reference can't be worked out ({error!r})"


def _problems(plan: Plan) -> Iterator[str]:
    weights = plan.weights
    if weights.bytes != sum(shard.bytes for shard in weights.shards):
        yield f"weights: {weights.bytes:,} bytes, their shards have another sum"
    if not 0 <= weights.bytes < LARGEST_MEMORY:
        yield f"weights: {weights.bytes:,} bytes, expected less than {LARGEST_MEMORY:,}"
    for tensor in weights.tensors:
        expected = math.prod(tensor.shape) * _BYTES[tensor.dtype]
        inside = 0 <= tensor.offset <= weights.bytes - tensor.bytes
        if min(tensor.shape, default=1) < 0 or tensor.bytes != expected or not inside:
            yield f"tensor {tensor.name}: {tensor.shape} at {tensor.offset} does not fit"
        if tensor.offset % WEIGHT_ALIGN:
            yield f"tensor {tensor.name}: offset {tensor.offset} is not aligned"
    yield from _kind(plan)
    for sample in _SAMPLES:
        symbols = {
            name: min(size, plan.limits.get(name, size))
            for name, size in zip(plan.symbols, sample, strict=False)
        }
        slots = [evaluate(slot.bytes, symbols) for slot in plan.slots]
        if min(slots, default=0) < 0:
            yield "slots: a size is negative"
        for port in (*plan.inputs, *plan.outputs):
            size = _size(port.shape, port.dtype, symbols)
            if not 0 <= port.slot < len(slots) or not 0 <= size <= slots[port.slot]:
                yield f"{port.name}: does not fit slot {port.slot}"
        for step in plan.steps:
            yield from _step(plan, step, symbols, slots)


def _kind(plan: Plan) -> Iterator[str]:
    decoder = plan.decoder
    has = {"encoder": plan.encoder is not None, "decoder": decoder is not None}
    if [kind for kind, there in has.items() if there] != [plan.kind]:
        yield f"kind: {plan.kind} without what belongs to it"
    if len(plan.symbols) > 2:
        yield f"symbols: {len(plan.symbols)}, expected one or two"
    if decoder is None:
        return
    sizes = ("vocab", "context", "layers", "heads", "kv_heads", "head_dim", "chunk", "kv_block")
    for name in sizes:
        if not 0 < getattr(decoder, name) < 1 << 24:
            yield f"decoder.{name}: {getattr(decoder, name)}"
    layer = 2 * 2 * decoder.kv_heads * decoder.head_dim * decoder.kv_block
    if decoder.kv_block_bytes != decoder.layers * layer:
        yield f"decoder.kv_block_bytes: {decoder.kv_block_bytes}, layers are of {layer}"
    if decoder.context % decoder.kv_block or decoder.chunk != plan.limits.get("rows"):
        yield "decoder: context or chunk do not fit KV blocks or the limit of rows"
    if not 0 <= decoder.head <= len(plan.steps):
        yield f"decoder.head: there is no step {decoder.head}"
    tokens = [*decoder.eos, *([] if decoder.bos is None else [decoder.bos])]
    if not all(0 <= token < decoder.vocab for token in tokens):
        yield f"decoder: tokens {tokens} in a vocabulary of {decoder.vocab}"
    if not all(0 <= number < len(plan.kernels) for number in decoder.aux.values()):
        yield "decoder.aux: names a kernel that is not there"


def _step(plan: Plan, step: Step, symbols: dict[str, int], slots: list[int]) -> Iterator[str]:
    where = f"step {step.name}"
    if not 0 <= step.kernel < len(plan.kernels):
        yield f"{where}: there is no kernel {step.kernel}"
        return
    kernel = plan.kernels[step.kernel]
    if len(step.buffers) != len(kernel.buffers) or len(step.extents) != len(kernel.extents):
        yield f"{where}: other buffers or extents than kernel {kernel.name} has"
        return
    extents = _extents(kernel, step, symbols)
    if min(extents.values(), default=0) < 0:
        yield f"{where}: an extent is negative"
    for buffer, reference in zip(kernel.buffers, step.buffers, strict=True):
        if isinstance(reference, KvRef):  # how many blocks there are is the runtime's business
            if plan.decoder is None or not 0 <= reference.kv < plan.decoder.layers:
                yield f"{where}: there is no layer {reference.kv}"
            continue
        needed = _size(buffer.shape, buffer.dtype, extents)
        match reference:
            case WeightRef(weight=index):
                known = plan.weights.tensors
                held = known[index].bytes if 0 <= index < len(known) else -1
                if buffer.access != "read":
                    yield f"{where}: {buffer.name} would write weights"
            case SlotRef(slot=index):
                held = slots[index] if 0 <= index < len(slots) else -1
            case ScratchRef(scratch=index):
                held = kernel.scratch[index] if 0 <= index < len(kernel.scratch) else -1
        if not 0 <= needed <= held:
            yield f"{where}: {buffer.name} needs {needed:,} bytes, it is given {max(held, 0):,}"
    for variant in kernel.variants.values():
        if evaluate(variant.grid, extents) < 0:
            yield f"{where}: its grid is negative"


def _extents(kernel: PlanKernel, step: Step, symbols: dict[str, int]) -> dict[str, int]:
    sizes = [evaluate(expr, symbols) for expr in step.extents]
    return dict(zip(kernel.extents, sizes, strict=True))


def _size(shape: list[Expr], dtype: str, symbols: dict[str, int]) -> int:
    sizes = [evaluate(size, symbols) for size in shape]
    return -1 if min(sizes, default=1) < 0 else math.prod(sizes) * _BYTES[dtype]
