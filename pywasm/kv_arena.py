"""KV in the memory of a decoder that runs natively: read, put back, keys turned.

The arena is f16[blocks, numbers of a block]; a block holds 32 positions, layer after layer keys
[heads, head_dim, 32] after RoPE, then values [heads, 32, head_dim] (docs/kv-cache.md, "Arena").
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from pywasm.kv_record import F16, F32, Kv, KvShape

BLOCK_TOKENS = 32
I32 = npt.NDArray[np.int32]


class Decoder(Protocol):
    """What runs: pywasm.generator.run.NativeGenerator, or a test's own model."""

    @property
    def kv(self) -> F16:
        """The arena; what is written into it is read by the next call."""

    def prefill(self, ids: I32, start: int, table: I32) -> None:
        """Computes the KV of `ids` at positions `start` and on, behind what `table` has."""

    def logits(self, ids: I32, start: int, table: I32) -> F32:
        """The same; f32[vocabulary] behind the last of them."""


class Sequence:
    """One sequence in the first blocks of a decoder's arena.

    `cos`, `sin`: f32[positions, head_dim / 2], what the decoder turns keys by.
    """

    def __init__(self, decoder: Decoder, shape: KvShape, cos: F32, sin: F32) -> None:
        self.decoder = decoder
        self.shape = shape
        self.limit = min(len(cos), len(decoder.kv) * BLOCK_TOKENS)
        self._cos = cos
        self._sin = sin
        self._table = np.arange(self.limit // BLOCK_TOKENS, dtype=np.int32)

    def prefill(self, ids: I32, start: int) -> None:
        if len(ids):
            self.decoder.prefill(ids, start, self._table)

    def logits(self, ids: I32, start: int) -> F32:
        return self.decoder.logits(ids, start, self._table)

    def read(self, start: int, end: int) -> Kv:
        """A copy of positions [start, end), keys turned as they are."""
        keys, values = self._blocks(start, end)
        shape = self.shape
        flat_keys = np.moveaxis(keys, 0, 3).reshape(shape.layers, shape.heads, shape.head_dim, -1)
        flat_values = np.moveaxis(values, 0, 2).reshape(
            shape.layers, shape.heads, -1, shape.head_dim
        )
        own = slice(start % BLOCK_TOKENS, start % BLOCK_TOKENS + end - start)
        return Kv(flat_keys[..., own].copy(), flat_values[:, :, own].copy())

    def write(self, start: int, kv: Kv) -> None:
        """Puts `kv` at positions `start` and on; its keys are taken to be turned for there."""
        keys, values = self._blocks(start, start + kv.tokens)
        for offset in range(kv.tokens):
            block, place = divmod(start % BLOCK_TOKENS + offset, BLOCK_TOKENS)
            keys[block, ..., place] = kv.keys[..., offset]
            values[block, :, :, place] = kv.values[:, :, offset]

    def turned(self, kv: Kv, start: int) -> Kv:
        """Keys as they come out of the model to what they are at positions `start` and on, f16."""
        places = slice(start, start + kv.tokens)
        keys = _turn(kv, self._cos[places].T, self._sin[places].T)
        return Kv(keys.astype(np.float16), kv.values.astype(np.float16))

    def unturned(self, kv: Kv, start: int) -> Kv:
        """The inverse, f32."""
        places = slice(start, start + kv.tokens)
        keys = _turn(kv, self._cos[places].T, -self._sin[places].T)
        return Kv(keys, kv.values)

    def moved(self, kv: Kv, by: int) -> Kv:
        """Keys turned on by `by` positions, forward, f16."""
        keys = _turn(kv, self._cos[by][:, None], self._sin[by][:, None])
        return Kv(keys.astype(np.float16), kv.values)

    def _blocks(self, start: int, end: int) -> tuple[F16, F16]:
        """Views f16[blocks, layers, heads, head_dim, 32] and f16[blocks, layers, heads, 32,
        head_dim] of the blocks that hold positions [start, end)."""
        if not 0 <= start < end <= self.limit:
            raise ValueError(f"positions {start} to {end} of {self.limit}")
        shape = self.shape
        arena = self.decoder.kv[start // BLOCK_TOKENS : -(-end // BLOCK_TOKENS)]
        sides = arena.reshape(len(arena), shape.layers, 2, -1)
        sizes = (len(arena), shape.layers, shape.heads)
        return (
            sides[:, :, 0].reshape(*sizes, shape.head_dim, BLOCK_TOKENS),
            sides[:, :, 1].reshape(*sizes, BLOCK_TOKENS, shape.head_dim),
        )


def _turn(kv: Kv, cos: F32, sin: F32) -> F32:
    """Keys, turned. Pairs are channels i and i + head_dim / 2."""
    first, second = np.split(kv.keys.astype(np.float32), 2, axis=2)
    return np.concatenate((first * cos - second * sin, second * cos + first * sin), axis=2)
