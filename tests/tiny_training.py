"""Trains a small Llama in numpy: forward, backward, Adam. No biases, norms that scale by 1.

Batches are i32[B, T]; what is learned is the token behind the last one.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
I32 = npt.NDArray[np.int32]
EPSILON = 1e-6


@dataclass(frozen=True)
class Shape:
    vocab: int
    width: int = 64
    heads: int = 2
    ffn: int = 64
    layers: int = 2

    @property
    def head_dim(self) -> int:
        return self.width // self.heads


def new_weights(shape: Shape, seed: int) -> dict[str, F32]:
    """As Hugging Face names and lays them out: [out, in]."""
    random = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> F32:
        return random.normal(0, columns**-0.5, (rows, columns)).astype(np.float32)

    width, ffn = shape.width, shape.ffn
    weights = {"model.embed_tokens.weight": matrix(shape.vocab, width)}
    for number in range(shape.layers):
        at = f"model.layers.{number}"
        for name in "qkvo":
            weights[f"{at}.self_attn.{name}_proj.weight"] = matrix(width, width)
        weights[f"{at}.mlp.gate_proj.weight"] = matrix(ffn, width)
        weights[f"{at}.mlp.up_proj.weight"] = matrix(ffn, width)
        weights[f"{at}.mlp.down_proj.weight"] = matrix(width, ffn)
    return weights


def norms(shape: Shape) -> dict[str, F32]:
    """The weights that are not learned."""
    one = np.ones(shape.width, np.float32)
    layers = [
        f"model.layers.{number}.{name}_layernorm.weight"
        for number in range(shape.layers)
        for name in ("input", "post_attention")
    ]
    return dict.fromkeys(["model.norm.weight", *layers], one)


class Trainer:
    def __init__(self, shape: Shape, seed: int = 0, rate: float = 3e-3) -> None:
        self.shape = shape
        self.weights = new_weights(shape, seed)
        self._rate = rate
        self._step = 0
        self._first = {name: np.zeros_like(weight) for name, weight in self.weights.items()}
        self._second = {name: np.zeros_like(weight) for name, weight in self.weights.items()}

    def step(self, ids: I32, wanted: I32) -> float:
        """One of Adam's (Kingma and Ba, 2015); the share that was right before."""
        logits, tape = self.forward(ids)
        chances = np.exp(logits - logits.max(axis=1, keepdims=True))
        chances /= chances.sum(axis=1, keepdims=True)
        right = float((logits.argmax(axis=1) == wanted).mean())
        chances[np.arange(len(wanted)), wanted] -= 1
        gradients = self._backward(chances / len(wanted), tape)
        self._step += 1
        rate = self._rate * min(1, self._step / 50) / (1 + self._step / 4000)
        for name, gradient in gradients.items():
            first, second = self._first[name], self._second[name]
            first += 0.1 * (gradient - first)
            second += 0.02 * (gradient * gradient - second)
            bias = (1 - 0.9**self._step) / np.sqrt(1 - 0.98**self._step)
            self.weights[name] -= rate / bias * first / (np.sqrt(second) + 1e-8)
        return right

    def forward(self, ids: I32) -> tuple[F32, list[tuple[F32, ...]]]:
        """f32[B, vocab] behind the last token, and what the way back needs."""
        weights = self.weights
        x = weights["model.embed_tokens.weight"][ids]
        tape: list[tuple[F32, ...]] = [(ids,)]  # type: ignore[list-item]
        for number in range(self.shape.layers):
            w = self._of(number)
            h, scale = _norm(x)
            q, k = (self._turn(self._heads(h @ w[name].T)) for name in "qk")
            v = self._heads(h @ w["v"].T)
            p = self._attend(q, k)
            o = _joined(p @ v)
            x = x + o @ w["o"].T
            h2, scale2 = _norm(x)
            a, b = h2 @ w["gate"].T, h2 @ w["up"].T
            s = 1 / (1 + np.exp(-a))
            m = a * s * b
            x = x + m @ w["down"].T
            tape.append((h, scale, q, k, v, p, o, h2, scale2, a, b, s, m))
        z, scale = _norm(x[:, -1])
        tape.append((z, scale, x))
        return z @ weights["model.embed_tokens.weight"].T, tape

    def _backward(self, d_logits: F32, tape: list[tuple[F32, ...]]) -> dict[str, F32]:
        embedding = "model.embed_tokens.weight"
        z, scale, last = tape[-1]
        gradients = {embedding: d_logits.T @ z}
        d_x = np.zeros_like(last)
        d_x[:, -1] = _norm_back(d_logits @ self.weights[embedding], z, scale)
        for number in reversed(range(self.shape.layers)):
            w = self._of(number)
            h, scale, q, k, v, p, o, h2, scale2, a, b, s, m = tape[number + 1]
            d: dict[str, F32] = {"down": _outer(d_x, m)}
            d_m = d_x @ w["down"]
            d_b = d_m * a * s
            d_a = d_m * b * s * (1 + a * (1 - s))
            d["gate"], d["up"] = _outer(d_a, h2), _outer(d_b, h2)
            d_x = d_x + _norm_back(d_a @ w["gate"] + d_b @ w["up"], h2, scale2)
            d["o"] = _outer(d_x, o)
            d_o = self._heads(d_x @ w["o"])
            d_p = d_o @ v.swapaxes(2, 3)
            d_v = p.swapaxes(2, 3) @ d_o
            d_s = p * (d_p - (d_p * p).sum(axis=3, keepdims=True)) * self.shape.head_dim**-0.5
            d_q = _joined(self._turn(d_s @ k, back=True))
            d_k = _joined(self._turn(d_s.swapaxes(2, 3) @ q, back=True))
            d_h = np.zeros_like(h)
            for name, part in (("q", d_q), ("k", d_k), ("v", _joined(d_v))):
                d[name] = _outer(part, h)
                d_h += part @ w[name]
            d_x = d_x + _norm_back(d_h, h, scale)
            gradients |= {self._name(number, name): part for name, part in d.items()}
        np.add.at(gradients[embedding], tape[0][0], d_x)
        return gradients

    def _name(self, layer: int, name: str) -> str:
        part = "self_attn" if name in "qkvo" else "mlp"
        return f"model.layers.{layer}.{part}.{name}_proj.weight"

    def _of(self, layer: int) -> dict[str, F32]:
        names = ("q", "k", "v", "o", "gate", "up", "down")
        return {name: self.weights[self._name(layer, name)] for name in names}

    def _heads(self, x: F32) -> F32:
        return x.reshape(*x.shape[:2], self.shape.heads, -1).swapaxes(1, 2)

    def _attend(self, q: F32, k: F32) -> F32:
        scores = q @ k.swapaxes(2, 3) * self.shape.head_dim**-0.5
        scores += np.triu(np.full(scores.shape[2:], -1e9, np.float32), 1)
        chances = np.exp(scores - scores.max(axis=3, keepdims=True))
        return np.asarray(chances / chances.sum(axis=3, keepdims=True), np.float32)

    def _turn(self, x: F32, back: bool = False) -> F32:
        half = self.shape.head_dim // 2
        angles = np.outer(np.arange(x.shape[2]), 10000.0 ** (-np.arange(half) / half))
        cos = np.cos(angles).astype(np.float32)
        sin = np.sin(-angles if back else angles).astype(np.float32)
        first, second = x[..., :half], x[..., half:]
        return np.concatenate((first * cos - second * sin, second * cos + first * sin), axis=3)


def _norm(x: F32) -> tuple[F32, F32]:
    scale = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + EPSILON)
    return x * scale, scale


def _norm_back(d: F32, y: F32, scale: F32) -> F32:
    return np.asarray(scale * (d - y * (d * y).mean(axis=-1, keepdims=True)), np.float32)


def _outer(d: F32, x: F32) -> F32:
    return d.reshape(-1, d.shape[-1]).T @ x.reshape(-1, x.shape[-1])


def _joined(heads: F32) -> F32:
    return heads.swapaxes(1, 2).reshape(heads.shape[0], heads.shape[2], -1)
