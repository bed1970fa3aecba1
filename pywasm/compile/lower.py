"""From fused operations to calls of kernels, and the weights that they read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pywasm.compile import sizes, weights
from pywasm.compile.fused import (
    F32,
    Attention,
    Embed,
    Encoder,
    LayerNorm,
    Linear,
    Normalize,
    Pool,
)
from pywasm.compile.plan_types import DTypeName
from pywasm.compile.weights import Weight
from pywasm_jit.poly import Poly, mul, scale

WeightsDType = Literal["f32", "f16", "int8", "int4"]
Parameters = dict[str, int | float | bool | str]
_BYTES = {"f32": 4, "f16": 2, "i32": 4, "i8": 1, "u8": 1, "i8x4": 4}
_EMBED_TABLES = {"f32": "f32", "f16": "f16", "int8": "i8", "int4": "i8"}


@dataclass(frozen=True)
class Value:
    """An activation: `rows` rows of `columns` elements."""

    dtype: DTypeName
    rows: Poly
    columns: int

    @property
    def bytes(self) -> Poly:
        return scale(self.rows, self.columns * _BYTES[self.dtype])


@dataclass(frozen=True)
class Call:
    """A kernel with its arguments by name: values or weights for buffers, sizes for extents.

    `gathered`: bytes that are read of buffers that are not read whole.
    """

    name: str
    kernel: str
    parameters: Parameters
    buffers: dict[str, str]
    extents: dict[str, Poly]
    flops: Poly
    gathered: dict[str, Poly] = field(default_factory=dict)


@dataclass
class Program:
    """`values` by name, of which `inputs` are given from outside and `output` is the result;
    `weights` in the order of their first use; `kv`: layers of the KV arena by name; `aux`: kernels
    that no call runs, with their parameters, by name."""

    inputs: tuple[str, ...]
    output: str
    calls: list[Call] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    weights: list[Weight] = field(default_factory=list)
    kv: dict[str, int] = field(default_factory=dict)
    aux: dict[str, tuple[str, Parameters]] = field(default_factory=dict)


def lower(
    encoder: Encoder, dtype: WeightsDType, factors: Mapping[str, F32] | None = None
) -> Program:
    """Calls in order. Inputs are the values "ids" and "lengths".

    `factors`: where activations are quantised, what multiplies their columns (calibration.py).
    """
    lowering = _Lowering(encoder, dtype, factors or {})
    for number, op in enumerate(encoder.ops):
        match op:
            case Embed():
                lowering.embed(op, f"{number}.embed")
            case Linear():
                lowering.linear(op, f"{number}.linear")
            case Attention():
                lowering.attention(op, f"{number}.attention")
            case LayerNorm():
                lowering.layer_norm(op, f"{number}.layer_norm")
            case Pool():
                lowering.pool(op, f"{number}.{op.kind}_pool")
            case Normalize():
                lowering.normalize(op, f"{number}.normalize")
    return lowering.program


class _Lowering:
    """`widths` of values are those of the encoder; names of weights begin with their call's."""

    def __init__(self, encoder: Encoder, dtype: WeightsDType, factors: Mapping[str, F32]) -> None:
        self._widths = encoder.widths
        self._dtype = dtype
        self._factors = factors
        self._quantised: dict[str, dict[str, str]] = {}
        self.program = Program(("ids", "lengths"), encoder.output)
        self._value("ids", 1, dtype="i32")
        self._value("lengths", 1, rows=sizes.BATCH, dtype="i32")

    def embed(self, op: Embed, name: str) -> None:
        vocabulary, width = op.word.shape
        dtype = _EMBED_TABLES[self._dtype]
        parameters: Parameters = {"width": width, "dtype": dtype, "layer_norm": op.norm is not None}
        buffers = {"ids": "ids"}
        if dtype == "i8":
            table, scales = weights.table_i8(f"{name}.word", op.word)
            buffers |= {"word": self._weight(table), "scale_of_word": self._weight(scales)}
        else:
            word = weights.rows(f"{name}.word", op.word, "f16" if dtype == "f16" else "f32")
            buffers["word"] = self._weight(word)
        buffers["position"] = self._weight(weights.rows(f"{name}.position", op.position))
        if op.norm is not None:
            parameters["eps"] = op.norm.epsilon
            buffers["gamma"] = self._weight(weights.rows(f"{name}.gamma", op.norm.gamma))
            buffers["beta"] = self._weight(weights.rows(f"{name}.beta", op.norm.beta))
        buffers["y"] = self._value(op.output, width)
        extents = {
            "batch": sizes.BATCH,
            "seq": sizes.SEQ,
            "vocab": sizes.number(vocabulary),
            "positions": sizes.number(op.position.shape[0]),
        }
        element = {"f32": 4, "f16": 2, "i8": 1}[dtype]
        gathered = {
            "word": scale(sizes.ROWS, element * width),
            "scale_of_word": scale(sizes.ROWS, 4),
            "position": scale(sizes.SEQ, 4 * width),
        }
        flops = scale(sizes.ROWS, 8 * width)
        self.program.calls.append(
            Call(name, "embed", parameters, buffers, extents, flops, gathered)
        )

    def linear(self, op: Linear, name: str) -> None:
        k, n = op.weight.shape
        parameters: Parameters = {"K": k, "N": n}
        if self._dtype in ("int8", "int4"):
            kernel = "matmul_i8" if self._dtype == "int8" else "matmul_block"
            matrix = op.weight
            if op.x in self._factors:
                matrix = matrix / self._factors[op.x][:, None]
            buffers = self._quantise(op.x, k)
            if self._dtype == "int8":
                parameters["offset"] = True
                made = weights.panels_i8(f"{name}.weight", matrix)
                names = ["b", "b_scale", "b_sum"]
            else:
                parameters["bits"] = 4
                made = weights.panels_i4(f"{name}.weight", matrix)
                names = ["b", "scale", "b_sum", "offset"]
            for buffer, weight in zip(names, made, strict=True):
                buffers[buffer] = self._weight(weight)
        else:
            kernel = "matmul"
            held: Literal["f32", "f16"] = "f16" if self._dtype == "f16" else "f32"
            parameters["weights"] = held
            panels = weights.panels(f"{name}.weight", op.weight, held)
            buffers = {"a": op.x, "b": self._weight(panels)}
        parameters |= {
            "bias": op.bias is not None,
            "activation": op.activation,
            "residual": op.residual is not None,
        }
        if op.bias is not None:
            buffers["bias"] = self._weight(weights.rows(f"{name}.bias", op.bias))
        if op.residual is not None:
            buffers["residual"] = op.residual
        buffers["c"] = self._value(op.output, n)
        flops = scale(sizes.ROWS, 2 * k * n)
        self._call(name, kernel, parameters, buffers, {"rows": sizes.ROWS}, flops)

    def attention(self, op: Attention, name: str) -> None:
        width = self._widths[op.output]
        parameters: Parameters = {
            "heads": op.heads,
            "head_dim": width // op.heads,
            "scale": op.scale,
        }
        buffers = {
            "qkv": op.qkv,
            "lengths": "lengths",
            "out": self._value(op.output, width),
        }
        extents = {"batch": sizes.BATCH, "seq": sizes.SEQ}
        flops = scale(mul(sizes.ROWS, sizes.SEQ), 4 * width)
        self._call(name, "attention", parameters, buffers, extents, flops)

    def layer_norm(self, op: LayerNorm, name: str) -> None:
        width = self._widths[op.output]
        parameters: Parameters = {
            "width": width,
            "eps": op.norm.epsilon,
            "residual": op.residual is not None,
        }
        buffers = {"x": op.x}
        if op.residual is not None:
            buffers["residual"] = op.residual
        buffers["gamma"] = self._weight(weights.rows(f"{name}.gamma", op.norm.gamma))
        buffers["beta"] = self._weight(weights.rows(f"{name}.beta", op.norm.beta))
        buffers["y"] = self._value(op.output, width)
        flops = scale(sizes.ROWS, 8 * width)
        self._call(name, "layer_norm", parameters, buffers, {"rows": sizes.ROWS}, flops)

    def pool(self, op: Pool, name: str) -> None:
        width = self._widths[op.output]
        buffers = {"x": op.x}
        if op.kind == "mean":
            buffers["lengths"] = "lengths"
        buffers["y"] = self._value(op.output, width, rows=sizes.BATCH)
        kernel = "mean_pool" if op.kind == "mean" else "first_pool"
        extents = {"batch": sizes.BATCH, "seq": sizes.SEQ}
        self._call(name, kernel, {"width": width}, buffers, extents, scale(sizes.ROWS, width))

    def normalize(self, op: Normalize, name: str) -> None:
        width = self._widths[op.output]
        buffers = {"x": op.x, "y": self._value(op.output, width, rows=sizes.BATCH)}
        flops = scale(sizes.BATCH, 3 * width)
        extents = {"rows": sizes.BATCH}
        self._call(name, "normalize", {"width": width}, buffers, extents, flops)

    def _quantise(self, x: str, width: int) -> dict[str, str]:
        """The rows of `x` as 7-bit numbers, made once for all that read them: buffers by name.

        int8 has a zero for each row; int4 the sums over blocks instead.
        """
        if x not in self._quantised:
            name = f"{len(self.program.calls)}.quantize"
            offset = self._dtype == "int8"
            channels = x in self._factors
            parameters: Parameters = {"K": width, "channels": channels, "offset": offset}
            buffers = {"x": x}
            if channels:
                factor = weights.rows(f"{name}.factor", self._factors[x])
                buffers["factor_of_channel"] = self._weight(factor)
            made = {
                "a": self._value(f"{x}/q", width // 4, dtype="i8x4"),
                "a_scale": self._value(f"{x}/scale", 1),
            }
            buffers |= {"q": made["a"], "scale": made["a_scale"]}
            extents = {"rows": sizes.ROWS}
            if offset:
                made["a_zero"] = self._value(f"{x}/zero", 1, dtype="i32")
                buffers["zero"] = made["a_zero"]
            flops = scale(sizes.ROWS, 6 * width)
            self._call(name, "quantize_rows", parameters, buffers, extents, flops)
            if not offset:
                made["a_sum"] = self._value(f"{x}/sum", width // weights.BLOCK)
                sums = {"q": made["a"], "sums": made["a_sum"]}
                flops = scale(sizes.ROWS, 2 * width)
                self._call(f"{name}_sums", "block_sums", {"K": width}, sums, extents, flops)
            self._quantised[x] = made
        return dict(self._quantised[x])

    def _value(
        self, name: str, columns: int, rows: Poly = sizes.ROWS, dtype: DTypeName = "f32"
    ) -> str:
        self.program.values[name] = Value(dtype, rows, columns)
        return name

    def _weight(self, weight: Weight) -> str:
        self.program.weights.append(weight)
        return weight.name

    def _call(
        self,
        name: str,
        kernel: str,
        parameters: Parameters,
        buffers: dict[str, str],
        extents: dict[str, Poly],
        flops: Poly,
    ) -> None:
        self.program.calls.append(Call(name, kernel, parameters, buffers, extents, flops))
