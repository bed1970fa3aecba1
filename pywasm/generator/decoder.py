"""A language model as all importers give it: the Llama architecture and its close relatives.

Each layer: x += out(attention(rms_norm(x))), x += down(silu(gate(y)) * up(y)) with y = rms_norm(x);
causal attention with grouped key heads and rotary positions, of which the elements i and
i + head_dim/2 of a head are a pair (NEOX order).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pywasm.compile.fused import F32
from pywasm.errors import UserError
from pywasm.generator.matrix import Matrix

KV_BLOCK = 32  # tokens
_MOST_CONTEXT = 32768
_MOST_HEAD_DIM = 1024


@dataclass(frozen=True, eq=False)
class Config:
    """Sizes. `rope`: f64[head_dim/2], radians that a position turns each pair."""

    vocab: int
    context: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    epsilon: float
    rope: npt.NDArray[np.float64]

    @property
    def qkv(self) -> int:
        """Rows of queries, keys and values together."""
        return (self.heads + 2 * self.kv_heads) * self.head_dim

    def check(self, where: str) -> None:
        """Raises UserError for sizes that can't be a model's."""
        if self.context < KV_BLOCK:
            raise UserError(f"{where}: a context of {self.context}; expected {KV_BLOCK} or more")
        sizes = {name: value for name, value in vars(self).items() if isinstance(value, int)}
        for name, value in sizes.items():
            if not 1 <= value <= 1 << 24:
                raise UserError(f"{where}: {name} is {value}; expected a size")
        if self.heads % self.kv_heads or self.head_dim % 8:
            raise UserError(
                f"{where}: {self.heads} heads of {self.head_dim} over {self.kv_heads} key heads; "
                "expected a multiple of the key heads, and of 8"
            )
        if not 0 <= self.epsilon < 1:
            raise UserError(f"{where}: the norm's epsilon is {self.epsilon}")


@dataclass(frozen=True, eq=False)
class Layer:
    """Matrices [out, in]: qkv is queries, keys, values one below the other, gate_up both too."""

    attention_norm: F32
    qkv: Matrix
    qkv_bias: F32 | None
    out: Matrix
    ffn_norm: F32
    gate_up: Matrix
    down: Matrix


@dataclass(frozen=True)
class Text:
    """Between text and tokens: tokenizer.json, the chat template (Jinja, or empty), the token in
    front of a text (None: none), those that end an answer."""

    tokenizer: bytes
    template: str
    bos: int | None
    eos: list[int]


@dataclass(frozen=True, eq=False)
class Decoder:
    """`embedding` [vocab, width]; `head` likewise, None: the embedding serves as head too."""

    name: str
    licence: str
    url: str
    sha256: str
    config: Config
    text: Text
    embedding: Matrix
    layers: list[Layer]
    norm: F32
    head: Matrix | None


def check_head(where: str, head_dim: int) -> None:
    """Raises UserError: before anything of that size is made."""
    if not 8 <= head_dim <= _MOST_HEAD_DIM:
        raise UserError(f"{where}: heads of {head_dim}; expected 8 to {_MOST_HEAD_DIM}")


def usable_context(tokens: int) -> int:
    """What of a model's context is offered: whole KV blocks, and no more than their angles and
    keys have room for in a browser."""
    return min(tokens, _MOST_CONTEXT) // KV_BLOCK * KV_BLOCK


def rope_frequencies(
    head_dim: int, base: float, factors: npt.NDArray[np.float64] | F32 | None = None
) -> npt.NDArray[np.float64]:
    """base ** (-2 i / head_dim) for each pair i (RoFormer, Su et al. 2021), by its factor."""
    made = base ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    return made if factors is None else made / factors
