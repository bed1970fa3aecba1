"""Records: keys and values of some tokens, in 8 or 4 bits an element, to be stored or shipped.

Keys are stored with RoPE taken off, since then a channel has much the same range at all positions,
and quantised channel by channel; values are quantised token by token (KVQuant, Hooper et al. 2024;
KIVI, Liu et al. 2024). An element is low + scale * code, code 0 to 255 or 15.

A record of `rows` tokens is these buffers, all layers, each beginning at a multiple of 16 bytes
(`layout` says where), with width = kv_heads * head_dim:

    keys         u8[layers, kv_heads, rows, head_dim * bits / 8]
    values       u8[layers, kv_heads, rows, head_dim * bits / 8]
    key_scale    f16[layers, width]
    key_low      f16[layers, width]
    value_scale  f16[layers, kv_heads, rows]
    value_low    f16[layers, kv_heads, rows]

With 4 bits, byte i of a token's head holds element i in its low half, i + head_dim / 2 in its high
half.
"""

from __future__ import annotations

import math

from pywasm_jit.builder import Array, Builder
from pywasm_jit.ir import F16_FINITE, F32, I32, U8, Expr, Kernel, KernelError, Numeric, op
from pywasm_jit.kernels.family import Family, Parameters, vectorise_innermost
from pywasm_jit.kernels.kv import TOKENS, Arena, clamped, rotated
from pywasm_jit.kernels.row_sums import max_row
from pywasm_jit.schedule import Schedule


def layout(
    rows: int, *, kv_heads: int, head_dim: int, layers: int, bits: int
) -> dict[str, tuple[int, int]]:
    """(byte offset, bytes) of each buffer of a record, in order; what follows begins at "end"."""
    heads = layers * kv_heads
    sizes = {
        "keys": heads * rows * head_dim * bits // 8,
        "values": heads * rows * head_dim * bits // 8,
        "key_scale": 2 * heads * head_dim,
        "key_low": 2 * heads * head_dim,
        "value_scale": 2 * heads * rows,
        "value_low": 2 * heads * rows,
    }
    found, at = {}, 0
    for name, size in sizes.items():
        found[name] = at, size
        at += -(-size // 16) * 16
    return found | {"end": (at, 0)}


class _Record:
    """The buffers both kernels have, and the loops around what they do with a head's token."""

    def __init__(
        self, k: Builder, kv_heads: int, head_dim: int, layers: int, bits: int, packing: bool
    ) -> None:
        if bits not in (4, 8):
            raise KernelError(f"records of {bits} bits are of neither 4 nor 8")
        self.k, self.kv_heads, self.bits = k, kv_heads, bits
        self.half, self.head_dim = head_dim // 2, head_dim
        self.rows, self.positions = k.extent("rows"), k.extent("positions")
        self.cos = k.input("cos", F32, self.positions, self.half)
        self.sin = k.input("sin", F32, self.positions, self.half)
        self.place = k.input("place", I32, 2)
        self.arena = Arena.declare(k, kv_heads, head_dim, layers, written=not packing)
        declare = k.inout if packing else k.input
        codes = layers, kv_heads, self.rows, head_dim * bits // 8
        self.keys, self.values = declare("keys", U8, *codes), declare("values", U8, *codes)
        channels, tokens = (layers, kv_heads * head_dim), (layers, kv_heads, self.rows)
        self.key_scale = declare("key_scale", F16_FINITE, *channels)
        self.key_low = declare("key_low", F16_FINITE, *channels)
        self.value_scale = declare("value_scale", F16_FINITE, *tokens)
        self.value_low = declare("value_low", F16_FINITE, *tokens)

    def position(self, row: Expr) -> Expr:
        return op("max", self.place[0] + row, 0)

    def angle(self, position: Expr) -> Expr:
        return clamped(position, self.positions)

    def code(self, codes: Array, layer: Expr, head: Expr, row: Expr, i: Expr, high: bool) -> Expr:
        """The code of element i, or i + head_dim / 2 if `high`."""
        if self.bits == 8:
            return codes[layer, head, row, i + self.half if high else i]
        byte = codes[layer, head, row, i]
        return byte >> 4 if high else byte & 15

    def set_codes(
        self, codes: Array, layer: Expr, head: Expr, row: Expr, i: Expr, low: Expr, high: Expr
    ) -> None:
        """Sets those of both elements."""
        if self.bits == 8:
            codes[layer, head, row, i] = low
            codes[layer, head, row, i + self.half] = high
        else:
            codes[layer, head, row, i] = low | (high << 4)

    def quantised(self, x: Expr, low: Expr, inverse: Expr) -> Expr:
        levels = float((1 << self.bits) - 1)
        inside = op("min", op("max", (x - low) * inverse, 0.0), levels)
        return op("to_i32", op("round", inside))


def kv_pack(
    kv_heads: int, head_dim: int, layers: int, bits: int = 8, *, numeric: Numeric
) -> Kernel:
    """Tokens of the arena to a record.

    cos, sin f32[positions, head_dim / 2]; place i32[2], of which [0] is the position of the first
    of `rows` > 0 tokens; table, kv: see `kv.Arena`, kv at its beginning; then the record's buffers.
    """
    k = Builder("kv_pack", numeric)
    record = _Record(k, kv_heads, head_dim, layers, bits, packing=True)
    arena, rows, half = record.arena, record.rows, record.half
    levels = (1 << bits) - 1
    with (
        k.parallel("task", layers * kv_heads) as task,
        k.let("layer", task // kv_heads) as layer,
        k.let("head", task % kv_heads) as head,
    ):

        def plain(row: Expr, block: Expr, angle: Expr, i: Expr) -> tuple[Expr, Expr]:
            """Elements i and i + half of a key before RoPE."""
            token = record.position(row) % TOKENS
            a = arena.kv[block, arena.key(head, i, token, layer)]
            b = arena.kv[block, arena.key(head, i + half, token, layer)]
            return rotated(k, a, b, record.cos[angle, i], 0.0 - record.sin[angle, i])

        with k.parallel("pair", half) as i:
            least, most = k.register("least", "f32", 2), k.register("most", "f32", 2)
            for part in range(2):
                least[part], most[part] = math.inf, -math.inf
            with (
                k.serial("row", rows) as row,
                k.let("block", arena.block(record.position(row) // TOKENS)) as block,
                k.let("angle", record.angle(record.position(row))) as angle,
            ):
                for part, x in enumerate(plain(row, block, angle, i)):
                    least[part] = op("min", least[part], x)
                    most[part] = op("max", most[part], x)
            inverse = k.register("inverse", "f32", 2)
            for part in range(2):
                channel = head * head_dim + i + part * half
                record.key_low[layer, channel] = least[part]
                reach = most[part] - record.key_low[layer, channel]
                record.key_scale[layer, channel] = reach * (1.0 / levels)
                inverse[part] = _inverse(record.key_scale[layer, channel])
            with (
                k.serial("k_row", rows) as row,
                k.let("k_block", arena.block(record.position(row) // TOKENS)) as block,
                k.let("k_angle", record.angle(record.position(row))) as angle,
            ):
                codes = [
                    record.quantised(
                        x, record.key_low[layer, head * head_dim + i + part * half], inverse[part]
                    )
                    for part, x in enumerate(plain(row, block, angle, i))
                ]
                record.set_codes(record.keys, layer, head, row, i, codes[0], codes[1])
        with (
            k.parallel("v_row", rows) as row,
            k.let("v_block", arena.block(record.position(row) // TOKENS)) as block,
            k.let("v_token", record.position(row) % TOKENS) as token,
        ):

            def value(i: Expr) -> Expr:
                return arena.kv[block, arena.value(head, i, token, layer)]

            low = 0.0 - max_row(k, "v_least", head_dim, lambda i: 0.0 - value(i), -math.inf)
            record.value_low[layer, head, row] = low
            high = max_row(k, "v_most", head_dim, value, -math.inf)
            reach = high - record.value_low[layer, head, row]
            record.value_scale[layer, head, row] = reach * (1.0 / levels)
            factor = k.register("factor", "f32")
            factor[()] = _inverse(record.value_scale[layer, head, row])
            with k.parallel("v_pair", half) as i:
                codes = [
                    record.quantised(x, record.value_low[layer, head, row], factor[()])
                    for x in (value(i), value(i + half))
                ]
                record.set_codes(record.values, layer, head, row, i, codes[0], codes[1])
    return k.kernel()


def _inverse(scale: Expr) -> Expr:
    """1 / scale, 0 for 0"""
    return op("select", op("lt", 0.0, scale), 1.0 / scale, 0.0)


def kv_unpack(
    kv_heads: int, head_dim: int, layers: int, bits: int = 8, *, numeric: Numeric
) -> Kernel:
    """A record to tokens of the arena: `kv_pack` the other way, to positions from place[0] on."""
    k = Builder("kv_unpack", numeric)
    record = _Record(k, kv_heads, head_dim, layers, bits, packing=False)
    arena, half = record.arena, record.half
    with (
        k.parallel("task", layers * kv_heads) as task,
        k.let("layer", task // kv_heads) as layer,
        k.let("head", task % kv_heads) as head,
        k.parallel("row", record.rows) as row,
        k.let("position", record.position(row)) as position,
        k.let("angle", record.angle(position)) as angle,
        k.let("block", arena.block(position // TOKENS)) as block,
        k.let("token", position % TOKENS) as token,
    ):
        with k.parallel("pair", half) as i:

            def key(part: int) -> Expr:
                channel = head * head_dim + i + part * half
                code = op("to_f32", record.code(record.keys, layer, head, row, i, part == 1))
                return k.mac(code, record.key_scale[layer, channel], record.key_low[layer, channel])

            turned = rotated(k, key(0), key(1), record.cos[angle, i], record.sin[angle, i])
            for part, x in enumerate(turned):
                arena.kv[block, arena.key(head, i + part * half, token, layer)] = x
        with k.parallel("v_pair", half) as i:
            for part in range(2):
                code = op("to_f32", record.code(record.values, layer, head, row, i, part == 1))
                scale, low = (b[layer, head, row] for b in (record.value_scale, record.value_low))
                x = k.mac(code, scale, low)
                arena.kv[block, arena.value(head, i + part * half, token, layer)] = x
    return k.kernel()


def _schedule(schedule: Schedule, parameters: Parameters) -> None:
    """Lanes are channels; what is done to a channel's tokens in order is done to four at a time."""
    schedule.bind("task", "grid").split("pair", 4).vectorise("pair.i")
    vectorise_innermost(schedule)


KV_PACK = Family(kv_pack, _schedule)
KV_UNPACK = Family(kv_unpack, _schedule)
