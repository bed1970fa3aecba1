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

    def block(self, number: Expr, table: Array | None = None) -> Expr:
        """Where block `number` of the sequence lies; what the arena hasn't is its first or last."""
        table = table or self.table
        blocks, kv_blocks = table.buffer.shape[0], self.kv.buffer.shape[0]
        return clamped(table[clamped(number, blocks)], kv_blocks)

    def key(self, head: Expr, i: Expr, token: Expr, layer: Operand = 0) -> Expr:
        """The second index of element `i` of a key."""
        return (self._head(head, layer, 0) + i) * TOKENS + token

    def value(self, head: Expr, i: Expr, token: Expr, layer: Operand = 0) -> Expr:
        return self._head(head, layer, 1) * TOKENS + token * self.head_dim + i

    def _head(self, head: Expr, layer: Operand, half: int) -> Expr:
        """How many elements of a token lie before this head's."""
        return (op("mul", layer, 2) * self.kv_heads + (head + half * self.kv_heads)) * self.head_dim


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
            return rotated(k, a, b, cos[angle, pair], sin[angle, pair])

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


def kv_move(kv_heads: int, head_dim: int, layers: int, *, numeric: Numeric) -> Kernel:
    """Copies tokens, all layers, keys turned by as many positions as the tokens are moved.

    cos, sin f32[positions, head_dim / 2], of which row |to - from| is used; places i32[2]: `from`
    and `to`, the positions of the first of `rows` tokens in their sequences; source
    i32[source_blocks]: the table they are read by; table, kv: see `Arena`, kv at its beginning.
    No token may be moved to where one is read from, unless that is its own place. Where `to` is
    `from`, what is copied has the same bits.
    """
    k = Builder("kv_move", numeric)
    rows, positions, sources = (k.extent(name) for name in ("rows", "positions", "source_blocks"))
    half = head_dim // 2
    cos, sin = k.input("cos", F32, positions, half), k.input("sin", F32, positions, half)
    places, source = k.input("places", I32, 2), k.input("source", I32, sources)
    arena = Arena.declare(k, kv_heads, head_dim, layers, written=True)
    kv = arena.kv
    with (
        k.parallel("task", layers * kv_heads) as task,
        k.let("layer", task // kv_heads) as layer,
        k.let("head", task % kv_heads) as head,
        k.let("moved", places[1] - places[0]) as moved,
        k.let("angle", clamped(op("max", moved, op("sub", 0, moved)), positions)) as angle,
        k.parallel("row", rows) as row,
        k.let("from", op("max", places[0] + row, 0)) as start,
        k.let("to", op("max", places[1] + row, 0)) as end,
        k.let("block_from", arena.block(start // TOKENS, source)) as block_from,
        k.let("block_to", arena.block(end // TOKENS)) as block_to,
        k.let("token_from", start % TOKENS) as token_from,
        k.let("token_to", end % TOKENS) as token_to,
    ):
        sign = k.register("sign", "f32")
        sign[()] = op("select", op("lt", moved, 0), -1.0, 1.0)
        with k.parallel("pair", half) as pair:
            a, b = k.register("a", "f32"), k.register("b", "f32")
            a[()] = kv[block_from, arena.key(head, pair, token_from, layer)]
            b[()] = kv[block_from, arena.key(head, pair + half, token_from, layer)]
            c, s = cos[angle, pair], sin[angle, pair] * sign[()]
            kv[block_to, arena.key(head, pair, token_to, layer)] = rotated(k, a[()], b[()], c, s)[0]
            last = arena.key(head, pair + half, token_to, layer)
            kv[block_to, last] = rotated(k, a[()], b[()], c, s)[1]
        with k.parallel("i", head_dim) as i:
            value = kv[block_from, arena.value(head, i, token_from, layer)]
            kv[block_to, arena.value(head, i, token_to, layer)] = value
    return k.kernel()


def rotated(k: Builder, a: Expr, b: Expr, cos: Expr, sin: Expr) -> tuple[Expr, Expr]:
    """The pair (a, b) turned by an angle."""
    return k.mac(a, cos, -(b * sin)), k.mac(a, sin, b * cos)


KV_WRITE = Family(kv_write, by_rows)
KV_MOVE = Family(kv_move, by_rows)
