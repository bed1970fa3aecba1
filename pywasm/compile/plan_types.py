"""plan.json: a compiled model. The one definition.

`python -m pywasm.tools.plan_types` writes the TypeScript types from it.

A compiled model is a folder: plan.json, and the files it names, all named by their content.
Running it: put `weights` into memory, lay `slots` behind them, write the inputs into their slots,
call the steps in order (threads share a step's grid, a barrier between steps), read the outputs.

Where this goes beyond a kernel a step: `grid` depends on the schedule, and schedules of the two
numeric classes (and tuned ones) differ; so it stands in `Kernel.variants`, as an expression over
the kernel's own extents, to which a step gives the values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import pydantic

from pywasm.errors import UserError

FORMAT = 1
FILE_NAME = "plan.json"
SHARD_BYTES = 16 << 20
TENSOR_ALIGN = 64  # of a slot in the arena
WEIGHT_ALIGN = 256  # of a tensor in the weights: where every WebGPU device can bind a buffer

Numeric = Literal["fused", "separate"]
Layout = Literal["rows", "panels8", "panels8x4", "panels8b32"]
DTypeName = Literal["f32", "f16", "i32", "i8", "u8", "i8x4"]

_OPERATORS: dict[str, Callable[[list[int]], int]] = {
    "+": sum,
    "*": math.prod,
    "-": lambda args: args[0] - args[1],
    "quo": lambda args: args[0] // args[1],
    "ceil_div": lambda args: -(-args[0] // args[1]),
    "min": min,
    "max": max,
}
_PAIRS = ("-", "quo", "ceil_div")


def check_expr(expr: Any) -> Any:
    """`expr` if it is a well-formed Expr; ValueError where it is not."""
    if isinstance(expr, bool):
        raise ValueError(f"{expr!r} is no size")
    if isinstance(expr, int | str):
        return expr
    if not isinstance(expr, list) or len(expr) < 2 or expr[0] not in _OPERATORS:
        raise ValueError(f"{expr!r} is no expression; operators are {', '.join(_OPERATORS)}")
    if expr[0] in _PAIRS and len(expr) != 3:
        raise ValueError(f"{expr[0]} takes two arguments, not {len(expr) - 1}")
    for part in expr[1:]:
        check_expr(part)
    return expr


Expr = Annotated[
    int | str | list[Any],
    pydantic.AfterValidator(check_expr),
    pydantic.WithJsonSchema({"x-typescript": "Expr"}),
]
"""A whole number: a constant, a symbol, or [operator, argument, ...]; quo rounds down."""


def evaluate(expr: Expr, symbols: Mapping[str, int]) -> int:
    """The number that `expr` is, with the symbols' values. KeyError: a symbol without one."""
    if isinstance(expr, int):
        return expr
    if isinstance(expr, str):
        return symbols[expr]
    return _OPERATORS[expr[0]]([evaluate(part, symbols) for part in expr[1:]])


class _Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class PlanFile(_Model):
    """A file beside plan.json."""

    file: str
    bytes: int
    sha256: str


class Loss(_Model):
    """Cosine on sample texts between the plan's vectors and the model's, run in f32."""

    texts: int
    mean_cosine: float
    min_cosine: float


class PlanEncoder(_Model):
    """Text in, vectors out: what stands before and behind the steps."""

    dim: int
    max_tokens: int = pydantic.Field(description="Special tokens included")
    query_prefix: str
    document_prefix: str
    pooling: Literal["mean", "cls"] = pydantic.Field(description="Already in the steps")
    normalize: bool = pydantic.Field(description="Already in the steps")
    tokenizer: PlanFile
    loss: Loss | None = pydantic.Field(description="Measured at compile time; null: not")


class Agreement(_Model):
    """On sample texts, of the plan's next tokens with those of the model's weights run in f32."""

    positions: int = pydantic.Field(description="Next tokens compared")
    same_top: float = pydantic.Field(description="Share of equal most likely tokens")
    mean_kl: float = pydantic.Field(description="Nats, of the plan's distribution from the model's")
    max_difference: float = pydantic.Field(
        description="Of log-probabilities, among the model's 20 most likely tokens"
    )


class PlanDecoder(_Model):
    """A language model: what stands before and behind the steps, and what its KV looks like.

    The KV arena begins at a multiple of 64 behind everything else in memory. A sequence is a table
    of numbers of KV blocks; a block holds `kv_block` tokens, layer after layer: K
    f16[kv_heads, head_dim, kv_block] after RoPE, then V f16[kv_heads, kv_block, head_dim].
    RoPE turns the elements i and i + head_dim/2 of a head by the angles whose cosines and sines
    are the tensors "rope.cos" and "rope.sin", f32[context, head_dim/2].
    """

    vocab: int
    context: int = pydantic.Field(description="Most tokens of a sequence")
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    chunk: int = pydantic.Field(description="Most rows of a run")
    kv_block: int = pydantic.Field(description="Tokens of a KV block")
    kv_block_bytes: int = pydantic.Field(description="Of all layers; a layer has an equal share")
    head: int = pydantic.Field(description="Steps from here on run only where logits are wanted")
    tokenizer: PlanFile
    template: str = pydantic.Field(description="Of chats, in Jinja; empty: the model has none")
    bos: int | None = pydantic.Field(
        description="Goes in front of a text; bos_token of the template. null: nothing does"
    )
    eos: list[int] = pydantic.Field(description="Tokens that end an answer")
    activations: Literal["int16", "f32"] = pydantic.Field(
        description="In matrix products; int16: 16 bits with weights of 4 bits, 14 with those of 8"
    )
    aux: dict[str, int] = pydantic.Field(
        description="Kernels beside the steps, by what they do (kv_move, ...)"
    )
    agreement: Agreement | None = pydantic.Field(description="Measured at compile time; null: not")


class Port(_Model):
    """A tensor that goes in or comes out: row-major at the start of its slot."""

    name: str
    dtype: DTypeName
    shape: list[Expr]
    slot: int


class Tensor(_Model):
    """A weight in the flat bytes of all shards one after the other."""

    name: str
    dtype: DTypeName
    layout: Layout = pydantic.Field(
        description="panels8: [N/8, K, 8] of a matrix [K, N]; panels8x4: [N/8, K/4, 8, 4]; "
        "panels8b32: two 4-bit weights a byte, [N/8, K/32, 4, 8, 4]"
    )
    shape: list[int] = pydantic.Field(description="As it lies in memory")
    offset: int = pydantic.Field(description="A multiple of 256")
    bytes: int


class Weights(_Model):
    bytes: int = pydantic.Field(description="Of all shards")
    shards: list[PlanFile]
    tensors: list[Tensor]


class Slot(_Model):
    """Memory for activations; its address is the sum of the slots before, each rounded up to 64."""

    bytes: Expr


class WeightRef(_Model):
    weight: int = pydantic.Field(description="Which of Weights.tensors")


class SlotRef(_Model):
    slot: int


class ScratchRef(_Model):
    scratch: int = pydantic.Field(
        description="Which of the kernel's scratch buffers; every thread has its own"
    )


class KvRef(_Model):
    kv: int = pydantic.Field(description="A layer's part of the KV arena, from its first block on")


class Step(_Model):
    """A call of a kernel."""

    name: str
    kernel: int
    buffers: list[WeightRef | SlotRef | ScratchRef | KvRef] = pydantic.Field(
        description="In the order of the kernel's buffers"
    )
    extents: list[Expr] = pydantic.Field(description="In the order of the kernel's extents")
    flops: Expr
    bytes: Expr = pydantic.Field(description="Read and written, each buffer once")


class Recipe(_Model):
    """What pywasm_jit.recipes builds a kernel from."""

    kernel: str
    parameters: dict[str, int | float | bool | str]
    numeric: Numeric
    steps: list[list[Any]] = pydantic.Field(description="Of the schedule")


class Variant(_Model):
    """A kernel in one numeric class with its default schedule."""

    recipe: Recipe
    grid: Expr = pydantic.Field(
        description="Iterations that threads share: thread t of T runs "
        "[grid*t quo T, grid*(t+1) quo T). Over the kernel's extents"
    )


class KernelBuffer(_Model):
    name: str
    dtype: DTypeName
    shape: list[Expr] = pydantic.Field(description="Over the kernel's extents")
    access: Literal["read", "write", "readwrite"]
    scratch: bool


class PlanKernel(_Model):
    """A function of the modules: i32 addresses of `buffers`, `extents`, grid begin and end."""

    name: str
    export: str
    extents: list[str]
    buffers: list[KernelBuffer]
    scratch: list[int] = pydantic.Field(description="Bytes of each scratch buffer, in order")
    variants: dict[Numeric, Variant]


class PlanModule(_Model):
    """All kernels, for one kind of device. `fused` needs relaxed SIMD."""

    numeric: Numeric
    shared: bool
    file: str
    bytes: int
    sha256: str


class Plan(_Model):
    """The content of plan.json."""

    format: Literal[1]
    compiler: str = pydantic.Field(
        description="What compiled it: a version, and a hash of the kernels' sources"
    )
    kind: Literal["encoder", "decoder"]
    name: str
    licence: str
    url: str
    source_sha256: str = pydantic.Field(description="Of weights, configuration and tokenizer")
    weights_dtype: Literal["f32", "f16", "int8", "int4"] = pydantic.Field(
        description="Of most matrices"
    )
    symbols: list[str]
    limits: dict[str, int] = pydantic.Field(description="Largest value of a symbol, where it has")
    encoder: PlanEncoder | None = pydantic.Field(description="Of kind encoder")
    decoder: PlanDecoder | None = pydantic.Field(None, description="Of kind decoder")
    inputs: list[Port]
    outputs: list[Port]
    weights: Weights
    slots: list[Slot]
    steps: list[Step]
    kernels: list[PlanKernel]
    modules: list[PlanModule]
    wgsl: PlanFile | None = pydantic.Field(
        description="JSON, a list with one for each kernel: {source, entry, workgroups}, or null"
    )

    def text_encoder(self) -> PlanEncoder:
        """`encoder` of a plan of that kind. Raises UserError."""
        if self.encoder is None:
            raise UserError(f"{self.name}: is a {self.kind}; expected a text encoder")
        return self.encoder

    def language_model(self) -> PlanDecoder:
        """`decoder` of a plan of that kind. Raises UserError."""
        if self.decoder is None:
            raise UserError(f"{self.name}: is an {self.kind}; expected a language model")
        return self.decoder
