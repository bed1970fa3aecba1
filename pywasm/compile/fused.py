"""What a transformer encoder is made of, once its operators are fused.

Values are rows: f32[batch * seq, width] of hidden states, text after text. Behind the pooling
they are f32[batch, width]. Weights are float32, matrices [in, out] as in x @ weight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pywasm.compile.operators import gelu, gelu_tanh, layer_norm, softmax

F32 = npt.NDArray[np.float32]
Floats = npt.NDArray[np.floating]
Activation = Literal["", "gelu", "gelu_tanh", "silu", "relu"]


@dataclass(frozen=True, eq=False)
class Norm:
    """Layer normalisation: f32[width] each."""

    gamma: F32
    beta: F32
    epsilon: float


@dataclass(frozen=True, eq=False)
class Embed:
    """word[ids] + position[0, 1, ...], then perhaps normalised.

    word f32[vocabulary, width], position f32[positions, width] (the row of token type 0 in it).
    """

    output: str
    word: F32
    position: F32
    norm: Norm | None = None


@dataclass(frozen=True, eq=False)
class Linear:
    """activation(x @ weight + bias) + residual"""

    output: str
    x: str
    weight: F32
    bias: F32 | None = None
    activation: Activation = ""
    residual: str | None = None


@dataclass(frozen=True, eq=False)
class Attention:
    """softmax(q k^T scale) v within a text, for each of `heads`; padding is hidden.

    The columns of the value `qkv` are q | k | v, each head after head.
    """

    output: str
    qkv: str
    heads: int
    scale: float


@dataclass(frozen=True, eq=False)
class LayerNorm:
    """Of x, or of x + residual."""

    output: str
    x: str
    norm: Norm
    residual: str | None = None


@dataclass(frozen=True, eq=False)
class Add:
    """Of two values; fused into what makes one of them, or reads it."""

    output: str
    a: str
    b: str


@dataclass(frozen=True, eq=False)
class Pool:
    """mean: of the rows of a text; cls: its first row."""

    output: str
    x: str
    kind: Literal["mean", "cls"]


@dataclass(frozen=True, eq=False)
class Normalize:
    """To length one."""

    output: str
    x: str


Op = Embed | Linear | Attention | LayerNorm | Add | Pool | Normalize


@dataclass(frozen=True)
class Encoder:
    """Operations in order; `output` is what the model gives. `widths`: columns of each value."""

    where: str
    ops: list[Op]
    widths: dict[str, int]
    output: str


def is_pooled(encoder: Encoder) -> bool:
    """Whether it gives a row a text already."""
    return any(isinstance(op, Pool) for op in encoder.ops)


ACTIVATIONS: dict[Activation, Callable[[Any], Any]] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "silu": lambda x: x / (1 + np.exp(-x)),
    "relu": lambda x: np.maximum(x, 0),
}


def inputs_of(op: Op) -> list[str]:
    """The values that `op` reads."""
    match op:
        case Embed():
            return []
        case Attention(qkv=qkv):
            return [qkv]
        case Add(a=a, b=b):
            return [a, b]
        case Linear(x=x, residual=residual) | LayerNorm(x=x, residual=residual):
            return [x] if residual is None else [x, residual]
        case Pool(x=x) | Normalize(x=x):
            return [x]


def attention(
    q: Floats, k: Floats, v: Floats, mask: npt.NDArray[np.bool_], heads: int, scale: float
) -> Floats:
    """q, k, v [batch, seq, width], mask [batch, seq] true where there is a token."""
    batch, seq, width = q.shape

    def split(x: Floats) -> Floats:
        return x.reshape(batch, seq, heads, width // heads).transpose(0, 2, 1, 3)

    scores = split(q) @ split(k).transpose(0, 1, 3, 2) * scale
    scores = np.where(mask[:, None, None, :], scores, -np.inf)
    mixed = softmax(scores) @ split(v)
    return np.asarray(mixed.transpose(0, 2, 1, 3).reshape(batch, seq, width))


def normalise(x: Floats, norm: Norm) -> Floats:
    return np.asarray(layer_norm(x, norm.epsilon) * norm.gamma + norm.beta)
