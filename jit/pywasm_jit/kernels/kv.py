"""The KV arena, where keys and values of all tokens lie, and what writes it.

Sequences are positions in blocks of 32; a table says which block of the arena holds each (vLLM's
paged attention, Kwon et al. 2023). One block of one layer: keys f16[kv_heads, head_dim, 32], after
RoPE and transposed, so that tokens are neighbours; then values f16[kv_heads, 32, head_dim].
A kernel is given the address of its layer in block 0: element [b, 0] is then the layer's in b.
"""

from __future__ import annotations

from dataclasses import dataclass

from pywasm_jit.builder import Array, Builder
from pywasm_jit.ir import F16_FINITE, F32, I32, Expr, Kernel, KernelError, Numeric, Operand, op
from pywasm_jit.kernels.family import Family, by_rows

TOKENS = 32  # of a block


@dataclass(frozen=True, slots=True)
class Arena:
    """The buffers `table` i32[blocks] and `kv` f16[kv_blocks, layers * 2 * kv_heads * head_dim *
    32], and where in the latter a layer's elements are.
    """

    table: Array
    kv: Array
    kv_heads: int
    head_dim: int

    @staticmethod
    def declare(k: Builder, kv_heads: int, head_dim: int, layers: int, written: bool) -> Arena:
        """Adds the buffers and the extents blocks and kv_blocks."""
        if head_dim % 8 or head_dim < 8 or kv_heads < 1 or layers < 1:
            raise KernelError(f"head_dim = {head_dim} is no multiple of 8, or there are no heads")
        blocks, kv_blocks = k.extent("blocks"), k.extent("kv_blocks")
        table = k.input("table", I32, blocks)
        shape = kv_blocks, layers * 2 * kv_heads * head_dim * TOKENS
        declare = k.inout if written else k.input
        return Arena(table, declare("kv", F16_FINITE, *shape), kv_heads, head_dim)

    def block(self, number: Expr) -> Expr:
        """Where block `number` of the sequence lies; what the arena hasn't is its first or last."""
        blocks, kv_blocks = self.table.buffer.shape[0], self.kv.buffer.shape[0]
        return clamped(self.table[clamped(number, blocks)], kv_blocks)

    def key(self, head: Operand, i: Operand, token: Operand) -> Expr:
        """The second index of element `i` of a key."""
        return (op("mul", head, self.head_dim) + i) * TOKENS + token

    def value(self, head: Operand, i: Operand, token: Operand) -> Expr:
        values = self.kv_heads * self.head_dim * TOKENS
        return (op("mul", head, TOKENS) + token) * self.head_dim + i + values


def clamped(number: Expr, count: Operand) -> Expr:
    """0 to count - 1"""
    return op("max", op("min", number, op("sub", count, 1)), 0)


def kv_write(heads: int, kv_heads: int, head_dim: int, layers: int, *, numeric: Numeric) -> Kernel:
    """Turns queries and keys by their position (RoPE) and puts keys and values into the arena.

    qkv f32[rows, (heads + 2 * kv_heads) * head_dim]: queries of all heads, keys, values; cos, sin
    f32[positions, head_dim / 2]; place i32[2], of which [0] is the position of row 0; table, kv:
    see `Arena`; q f32[rows, heads * head_dim]: the turned queries. Pairs that turn are elements i
    and i + head_dim / 2 of a head. f16 rounds to nearest even and keeps to -65504 to 65504.
    Positions that tables don't reach are those of their last entry.
    """
    k = Builder("kv_write", numeric)
    rows, positions = k.extent("rows"), k.extent("positions")
    half = head_dim // 2
    qkv = k.input("qkv", F32, rows, (heads + 2 * kv_heads) * head_dim)
    cos, sin = k.input("cos", F32, positions, half), k.input("sin", F32, positions, half)
    place = k.input("place", I32, 2)
    arena = Arena.declare(k, kv_heads, head_dim, layers, written=True)
    q = k.output("q", F32, rows, heads * head_dim)
    with (
        k.parallel("row", rows) as row,
        k.let("position", op("max", place[0] + row, 0)) as position,
        k.let("angle", clamped(position, positions)) as angle,
        k.let("block", arena.block(position // TOKENS)) as block,
        k.let("token", position % TOKENS) as token,
    ):

        def turned(first: Expr, pair: Expr) -> tuple[Expr, Expr]:
            a, b = qkv[row, first + pair], qkv[row, first + pair + half]
            c, s = cos[angle, pair], sin[angle, pair]
            return k.mac(a, c, -(b * s)), k.mac(a, s, b * c)

        with k.parallel("head", heads) as head, k.parallel("pair", half) as pair:
            first = head * head_dim
            q[row, first + pair], q[row, first + pair + half] = turned(first, pair)
        with k.parallel("k_head", kv_heads) as head, k.parallel("k_pair", half) as pair:
            a, b = turned((head + heads) * head_dim, pair)
            arena.kv[block, arena.key(head, pair, token)] = a
            arena.kv[block, arena.key(head, pair + half, token)] = b
        with k.parallel("v_head", kv_heads) as head, k.parallel("i", head_dim) as i:
            source = (head + (heads + kv_heads)) * head_dim + i
            arena.kv[block, arena.value(head, i, token)] = qkv[row, source]
    return k.kernel()


KV_WRITE = Family(kv_write, by_rows)
