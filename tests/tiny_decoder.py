"""A decoder of Llama's shape in numpy, small and slow: the arena's contract written a second time.

Rows are computed one by one in f64 and rounded where the contract rounds, so what a token's logits
are does not depend on how a prompt was cut into calls.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pywasm.kv_arena import BLOCK_TOKENS
from pywasm.kv_record import F16, F32, KvShape

I32 = npt.NDArray[np.int32]
F64 = npt.NDArray[np.float64]


@dataclass
class TinyDecoder:
    """Random weights from `seed`; `heads` query heads share `shape.heads` heads of keys."""

    vocab: int = 97
    heads: int = 4
    ffn: int = 48
    shape: KvShape = field(default_factory=lambda: KvShape(layers=3, heads=2, head_dim=16))
    blocks: int = 12
    seed: int = 5
    rows: int = 0  # computed so far

    def __post_init__(self) -> None:
        random = np.random.default_rng(self.seed)
        shape = self.shape
        width = self.heads * shape.head_dim
        kv_width = shape.heads * shape.head_dim

        def matrix(rows: int, columns: int) -> F64:
            return random.normal(0, rows**-0.5, (rows, columns))

        self.embed = random.normal(0, 1, (self.vocab, width))
        self.layers = [
            {
                "q": 2 * matrix(width, width),
                "k": 2 * matrix(width, kv_width),
                "v": matrix(width, kv_width),
                "o": matrix(width, width),
                "up": matrix(width, self.ffn),
                "gate": matrix(width, self.ffn),
                "down": matrix(self.ffn, width),
            }
            for _ in range(shape.layers)
        ]
        angles = np.outer(
            np.arange(self.blocks * BLOCK_TOKENS),
            10000.0 ** (-np.arange(shape.head_dim // 2) * 2 / shape.head_dim),
        )
        self.cos: F32 = np.cos(angles).astype(np.float32)
        self.sin: F32 = np.sin(angles).astype(np.float32)
        block = shape.layers * 2 * kv_width * BLOCK_TOKENS
        self._kv = np.full((self.blocks, block), np.nan, np.float16)

    @property
    def kv(self) -> F16:
        return self._kv

    def prefill(self, ids: I32, start: int, table: I32) -> None:
        for offset, id in enumerate(ids):
            self._row(int(id), start + offset, table)

    def logits(self, ids: I32, start: int, table: I32) -> F32:
        self.prefill(ids[:-1], start, table)
        hidden = self._row(int(ids[-1]), start + len(ids) - 1, table)
        return (_norm(hidden) @ self.embed.T).astype(np.float32)

    def _row(self, id: int, position: int, table: I32) -> F64:
        self.rows += 1
        shape = self.shape
        x = self.embed[id]
        block, place = divmod(position, BLOCK_TOKENS)
        for number, layer in enumerate(self.layers):
            keys, values = self._sides(number)
            h = _norm(x)
            k = self._turn((h @ layer["k"]).reshape(shape.heads, -1), position)
            keys[table[block], :, :, place] = k.astype(np.float16)
            values[table[block], :, place] = (h @ layer["v"]).reshape(shape.heads, -1)
            q = self._turn((h @ layer["q"]).reshape(self.heads, -1), position)
            used = table[: block + 1]
            out = []
            for head in range(self.heads):
                of = head * shape.heads // self.heads
                k_all = np.concatenate(keys[used, of].astype(np.float64), axis=1)[:, : position + 1]
                v_all = np.concatenate(values[used, of].astype(np.float64))[: position + 1]
                scores = q[head] @ k_all / np.sqrt(shape.head_dim)
                weights = np.exp(scores - scores.max())
                out.append(weights / weights.sum() @ v_all)
            x = x + np.concatenate(out) @ layer["o"]
            h = _norm(x)
            gate = h @ layer["gate"]
            x = x + (gate / (1 + np.exp(-gate)) * (h @ layer["up"])) @ layer["down"]
        return x

    def _sides(self, layer: int) -> tuple[F16, F16]:
        shape = self.shape
        sides = self._kv.reshape(self.blocks, shape.layers, 2, -1)
        sizes = (self.blocks, shape.heads)
        return (
            sides[:, layer, 0].reshape(*sizes, shape.head_dim, BLOCK_TOKENS),
            sides[:, layer, 1].reshape(*sizes, BLOCK_TOKENS, shape.head_dim),
        )

    def _turn(self, rows: F64, position: int) -> F64:
        first, second = np.split(rows, 2, axis=1)
        cos, sin = self.cos[position], self.sin[position]
        return np.concatenate((first * cos - second * sin, second * cos + first * sin), axis=1)


def _norm(x: F64) -> F64:
    return x / np.sqrt(np.mean(x * x) + 1e-6)
