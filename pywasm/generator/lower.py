"""A decoder as calls of kernels over a KV arena. The one symbol is "rows": tokens of a run."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from pywasm.compile import sizes, weights
from pywasm.compile.fused import F32
from pywasm.compile.lower import Call, Parameters, Program, Value
from pywasm.compile.plan_types import DTypeName
from pywasm.compile.weights import BLOCK, Weight
from pywasm.generator.decoder import KV_BLOCK, Decoder, Layer
from pywasm.generator.matrix import Bits, Dense, Matrix, Quantised, packed, padded, quantised
from pywasm.generator.matrix import values as values_of
from pywasm_jit import poly
from pywasm_jit.kernels import KERNELS
from pywasm_jit.poly import Poly, scale

Activations = Literal["int16", "f32"]
DecoderWeights = Literal["auto", "f32", "f16", "int8", "int4"]
CHUNK = 128  # most rows of a run
ROWS = poly.name("rows")
# How many blocks the arena has only the runtime knows: its tables name none that is not there.
_ANY_NUMBER = 1 << 24
# Activations are two planes of bytes: 16 bits, or 14 with weights of 8 bits, so that products are
# exact (matmul_q). One plane alone moves log-probabilities of SmolLM2 by up to 0.5.
_PLANES = 2
_BITS_OF_PLANES: dict[Bits, int] = {4: 8, 8: 7}


def in_dtype(decoder: Decoder, dtype: DecoderWeights) -> Decoder:
    """With its matrices in `dtype`.

    int8, int4: those that are not in few bits already; the embedding stays in 8 bits at least,
    since it is the head, too. auto: as int8. f32, f16: all of them.
    """

    def stored(matrix: Matrix, bits: Bits) -> Matrix:
        if dtype in ("f32", "f16"):
            return Dense(values_of(matrix))
        return matrix if isinstance(matrix, Quantised) else quantised(matrix, bits)

    bits: Bits = 4 if dtype == "int4" else 8
    layers = [
        replace(
            layer,
            qkv=stored(layer.qkv, bits),
            out=stored(layer.out, bits),
            gate_up=stored(layer.gate_up, bits),
            down=stored(layer.down, bits),
        )
        for layer in decoder.layers
    ]
    head = None if decoder.head is None else stored(decoder.head, 8)
    return replace(decoder, embedding=stored(decoder.embedding, 8), layers=layers, head=head)


def lower(decoder: Decoder, activations: Activations, f16: bool = False) -> tuple[Program, int]:
    """The program, and which call the output head begins with.

    Inputs: "ids" i32[rows], "place" i32[2] (the position of row 0, rows), "table"
    i32[context / 32]. Output: "logits" f32[vocab] of the last row. `f16`: dense matrices are stored
    so. Raises UserError where a matrix can't be cut into blocks.
    """
    lowering = _Lowering(decoder, activations, "f16" if f16 else "f32")
    x = lowering.embed()
    for number, layer in enumerate(decoder.layers):
        x = lowering.layer(number, layer, x)
    head = len(lowering.program.calls)
    lowering.head(x)
    lowering.aux()
    return lowering.program, head


class _Lowering:
    """Names of values and weights begin with the name of the call that makes or reads them."""

    def __init__(
        self, decoder: Decoder, activations: Activations, stored: Literal["f32", "f16"]
    ) -> None:
        self._decoder = decoder
        self._config = decoder.config
        self._activations = activations
        self._stored = stored
        self.program = Program(("ids", "place", "table"), "logits")
        self._embedding = padded(decoder.embedding)
        self._table: dict[str, str] = {}
        if isinstance(self._embedding, Quantised):
            self._table = self._packed("embedding", self._embedding)
        self._blocks = decoder.config.context // KV_BLOCK
        self._value("ids", 1, dtype="i32")
        self._value("place", 2, poly.constant(1), "i32")
        self._value("table", self._blocks, poly.constant(1), "i32")
        angles = np.outer(np.arange(decoder.config.context), decoder.config.rope)
        for name, made in (("cos", np.cos(angles)), ("sin", np.sin(angles))):
            self.program.weights.append(weights.rows(f"rope.{name}", made))

    def embed(self) -> str:
        """Rows of the token embeddings."""
        width, table = self._config.width, self._embedding
        if isinstance(table, Dense):
            stored = weights.rows("embedding", table.data, self._stored)
            self.program.weights.append(stored)
            parameters: Parameters = {"width": width, "dtype": self._stored}
            buffers = {"table": "embedding", "ids": "ids", "y": self._value("x", width)}
            kernel, extent, read = "gather", "count", stored.data.itemsize * width
        else:
            buffers = {"ids": "ids", **self._table, "x": self._value("x", width)}
            parameters = {"K": width, "bits": table.bits, "scales": table.scales}
            kernel, extent, read = "embed_block", "vocab", width
        extents = {"rows": ROWS, extent: sizes.number(table.shape[0])}
        gathered: dict[str, Poly] = {
            name: scale(ROWS, read) for name in ("table", "b") if name in buffers
        }
        gathered |= {
            name: scale(ROWS, width // 8) for name in ("scale", "offset") if name in buffers
        }
        flops = scale(ROWS, width)
        call = Call("embed", kernel, parameters, buffers, extents, flops, gathered)
        self.program.calls.append(call)
        return "x"

    def layer(self, number: int, layer: Layer, x: str) -> str:
        """The layer's output; its input is `x`."""
        config, at = self._config, f"{number}"
        rows = config.heads * config.head_dim
        normed = self._norm(f"{at}.attention_norm", x, layer.attention_norm)
        qkv = self._linear(f"{at}.qkv", normed, layer.qkv, bias=layer.qkv_bias)
        shape: Parameters = {
            "heads": config.heads,
            "kv_heads": config.kv_heads,
            "head_dim": config.head_dim,
            "layers": len(self._decoder.layers),
        }
        kv = f"{at}.kv"
        self.program.kv[kv] = number
        q = self._value(f"{at}.q", rows)
        extents = {
            "rows": ROWS,
            "positions": sizes.number(config.context),
            "blocks": sizes.number(self._blocks),
            "kv_blocks": sizes.number(_ANY_NUMBER),
        }
        arena = {"place": "place", "table": "table", "kv": kv}
        turning = {"qkv": qkv, "cos": "rope.cos", "sin": "rope.sin", "q": q}
        written = {
            "kv": scale(ROWS, 4 * config.kv_heads * config.head_dim),
            **{name: scale(ROWS, 2 * config.head_dim) for name in ("cos", "sin")},
        }
        flops = scale(ROWS, 3 * config.qkv)
        self.program.calls.append(
            Call(f"{at}.kv_write", "kv_write", shape, arena | turning, extents, flops, written)
        )
        mixed = self._value(f"{at}.mixed", rows)
        # Of the rows of this run only: what was there before is known when it runs.
        pairs = poly.mul(ROWS, ROWS)
        read = {"kv": scale(ROWS, 4 * config.kv_heads * config.head_dim)}
        self.program.calls.append(
            Call(
                f"{at}.attention",
                "paged_attention",
                shape,
                {"q": q, **arena, "out": mixed},
                extents,
                scale(pairs, 2 * rows),
                read,
            )
        )
        y = self._linear(f"{at}.out", mixed, layer.out, residual=x)
        normed = self._norm(f"{at}.ffn_norm", y, layer.ffn_norm)
        gate_up = self._linear(f"{at}.gate_up", normed, layer.gate_up)
        gated = self._value(f"{at}.gated", config.ffn)
        silu: Parameters = {"width": config.ffn}
        self._call(f"{at}.silu", "silu_mul", silu, {"x": gate_up, "y": gated}, 6 * config.ffn)
        return self._linear(f"{at}.down", gated, layer.down, residual=y)

    def head(self, x: str) -> None:
        """Logits of the last row."""
        width = self._config.width
        one = poly.constant(1)
        last = self._value("last", width, one)
        self._call("last_row", "last_row", {"width": width}, {"x": x, "y": last}, width)
        normed = self._norm("head_norm", last, self._decoder.norm, one)
        head = self._embedding if self._decoder.head is None else padded(self._decoder.head)
        self._linear("logits", normed, head, rows=one)

    def aux(self) -> None:
        """What moves and packs KV outside of runs, as far as kernels for it exist."""
        config = self._config
        shape: Parameters = {
            "kv_heads": config.kv_heads,
            "head_dim": config.head_dim,
            "layers": len(self._decoder.layers),
        }
        wanted: dict[str, tuple[str, Parameters]] = {"kv_move": ("kv_move", shape)}
        for bits in (8, 4):
            for name in ("kv_pack", "kv_unpack"):
                wanted[f"{name}{bits}"] = (name, {**shape, "bits": bits})
        self.program.aux.update(
            (name, kernel) for name, kernel in wanted.items() if kernel[0] in KERNELS
        )

    def _linear(
        self,
        name: str,
        x: str,
        matrix: Matrix,
        bias: F32 | None = None,
        residual: str | None = None,
        rows: Poly = ROWS,
    ) -> str:
        """x @ matrix.T (+ bias) (+ residual)"""
        n, k = matrix.shape
        parameters: Parameters = {"K": k, "N": n}
        if isinstance(matrix, Dense):
            stored = weights.panels(f"{name}.weight", matrix.data.T, self._stored)
            self.program.weights.append(stored)
            kernel, buffers = "matmul", {"a": x, "b": stored.name}
            parameters["weights"] = self._stored
        else:
            parameters |= {"bits": matrix.bits, "scales": matrix.scales}
            tied = matrix is self._embedding  # stored once, for the tokens and for the head
            table = self._table if tied else self._packed(f"{name}.weight", matrix)
            if self._activations == "f32":
                kernel, buffers = "matmul_dequant", {"a": x, **table}
            else:
                kernel, buffers = "matmul_q", {**self._quantise(name, x, matrix, rows), **table}
                parameters["planes"] = _PLANES
        parameters |= {"bias": bias is not None, "residual": residual is not None}
        if bias is not None:
            vector = weights.rows(f"{name}.bias", bias)
            self.program.weights.append(vector)
            buffers["bias"] = vector.name
        if residual is not None:
            buffers["residual"] = residual
        buffers["c"] = self._value(name, n, rows)
        self._call(name, kernel, parameters, buffers, 2 * k * n, rows)
        return name

    def _quantise(self, name: str, x: str, matrix: Quantised, rows: Poly) -> dict[str, str]:
        """`x` in integers, by blocks: buffers of matmul_q."""
        k = matrix.shape[1]
        q = self._value(f"{name}.q", k // 4 * _PLANES, rows, "i8x4")
        steps = self._value(f"{name}.scale", k // BLOCK, rows)
        sums = self._value(f"{name}.sum", k // BLOCK, rows)
        bits = _BITS_OF_PLANES[matrix.bits]
        parameters: Parameters = {"K": k, "bits": bits, "planes": _PLANES}
        buffers = {"x": x, "q": q, "scale": steps, "sum": sums}
        self._call(f"{name}.quantize", "quantize_blocks", parameters, buffers, 6 * k, rows)
        made = {"a": q, "a_scale": steps}
        return {**made, "a_sum": sums} if matrix.bits == 4 else made

    def _norm(self, name: str, x: str, gamma: F32, rows: Poly = ROWS) -> str:
        width = self._config.width
        weight = weights.rows(f"{name}.gamma", gamma)
        self.program.weights.append(weight)
        parameters: Parameters = {"width": width, "eps": self._config.epsilon}
        buffers = {"x": x, "gamma": weight.name, "y": self._value(name, width, rows)}
        self._call(name, "rms_norm", parameters, buffers, 4 * width, rows)
        return name

    def _packed(self, name: str, matrix: Quantised) -> dict[str, str]:
        made: dict[str, Weight] = packed(name, matrix)
        self.program.weights.extend(made.values())
        return {buffer: weight.name for buffer, weight in made.items()}

    def _value(self, name: str, columns: int, rows: Poly = ROWS, dtype: DTypeName = "f32") -> str:
        self.program.values[name] = Value(dtype, rows, columns)
        return name

    def _call(
        self,
        name: str,
        kernel: str,
        parameters: Parameters,
        buffers: dict[str, str],
        flops_of_row: int,
        rows: Poly = ROWS,
    ) -> None:
        flops = scale(rows, flops_of_row)
        extents = {"rows": ROWS if kernel == "last_row" else rows}
        self.program.calls.append(Call(name, kernel, parameters, buffers, extents, flops))
