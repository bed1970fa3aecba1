"""Causal attention over the KV arena: softmax(q k^T * scale) v, block by block of 32 tokens.

After each block, at an absolute position, what was summed so far is rescaled to the largest score
seen (online softmax, Milakov and Gimelshein 2018; FlashAttention, Dao et al. 2022). So the result
for a row depends on its position only: not on how many rows are run with it, and not on how many
of the keys came from a cache.

Eight rows are worked on together, and for each the query heads that share a key head (GQA, Ainslie
et al. 2023): keys and values are widened once for all of them.
"""

from __future__ import annotations

import math

from pywasm_jit.builder import Builder
from pywasm_jit.functions import exp2_of_negative
from pywasm_jit.ir import F32, I32, Expr, Kernel, KernelError, Numeric, op
from pywasm_jit.kernels.family import Family, Parameters
from pywasm_jit.kernels.kv import TOKENS, Arena
from pywasm_jit.kernels.row_sums import max_row, sum_row
from pywasm_jit.schedule import Schedule

ROWS = 8  # of a tile


def paged_attention(
    heads: int,
    kv_heads: int,
    head_dim: int,
    layers: int,
    scale: float | None = None,
    *,
    numeric: Numeric,
) -> Kernel:
    """out[row, head] = sum over t <= place[0] + row of softmax(q[row] . k[t] * scale) * v[t]

    q f32[rows, heads * head_dim] turned by position, place i32[2], table and kv as `kv_write` has
    them; out f32[rows, heads * head_dim]. Head h uses key head h // (heads / kv_heads). `scale`:
    1 / sqrt(head_dim) unless given. What lies behind a row's position is read and has no influence.
    """
    if kv_heads < 1 or heads % kv_heads or heads < 1:
        raise KernelError(f"paged_attention: {heads} heads can't share {kv_heads} key heads")
    group = heads // kv_heads
    # Scores are kept in units of ln 2, since powers of 2 are what is easily computed.
    factor = (1.0 / math.sqrt(head_dim) if scale is None else scale) * math.log2(math.e)
    k = Builder("paged_attention", numeric)
    rows = k.extent("rows")
    q = k.input("q", F32, rows, heads * head_dim)
    place = k.input("place", I32, 2)
    arena = Arena.declare(k, kv_heads, head_dim, layers, written=False)
    out = k.output("out", F32, rows, heads * head_dim)
    queries = k.scratch("queries", F32, ROWS * group, head_dim)
    keys = k.scratch("keys", F32, head_dim, TOKENS)
    values = k.scratch("values", F32, TOKENS, head_dim)
    scores = k.scratch("scores", F32, ROWS * group, TOKENS)
    mixed = k.scratch("mixed", F32, ROWS * group, head_dim)
    best = k.scratch("best", F32, ROWS * group)
    weight = k.scratch("weight", F32, ROWS * group)
    factors = k.scratch("factors", F32, ROWS * group)
    tiles = (rows + (ROWS - 1)) // ROWS
    with (
        k.parallel("tile", tiles * kv_heads) as tile,
        k.let("kv_head", tile % kv_heads) as kv_head,
        k.let("first", tile // kv_heads * ROWS) as first,
        k.let("count", op("min", rows - first, ROWS)) as count,
        k.let("start", op("max", place[0], 0) + first) as start,
    ):
        with k.parallel("row_in", count) as row, k.parallel("head_in", group) as head:
            with k.parallel("i_in", head_dim) as i:
                given = q[first + row, (kv_head * group + head) * head_dim + i]
                queries[row * group + head, i] = given * factor
                mixed[row * group + head, i] = 0.0
            best[row * group + head] = -math.inf
            weight[row * group + head] = 0.0
        with (
            k.serial("number", (start + count + (TOKENS - 1)) // TOKENS) as number,
            k.let("block", arena.block(number)) as block,
            k.let("base", number * TOKENS) as base,
        ):
            with k.parallel("i_key", head_dim) as i, k.parallel("t_key", TOKENS) as t:
                keys[i, t] = arena.kv[block, arena.key(kv_head, i, t)]
            with k.parallel("t_value", TOKENS) as t, k.parallel("i_value", head_dim) as i:
                values[t, i] = arena.kv[block, arena.value(kv_head, i, t)]
            with k.parallel("part", TOKENS // 8) as part, k.parallel("score", count * group) as a:
                score = k.register("sum", "f32", 8)
                with k.parallel("s_zero", 8) as t:
                    score[t] = 0.0
                with k.serial("s_i", head_dim) as i, k.parallel("s_t", 8) as t:
                    score[t] = k.mac(queries[a, i], keys[i, part * 8 + t], score[t])
                with k.parallel("s_out", 8) as t:
                    scores[a, part * 8 + t] = score[t]
            with k.parallel("row", count) as row, k.parallel("head", group) as head:
                a, seen = row * group + head, start + row - base

                def known(t: Expr) -> Expr:
                    return op("select", op("le", t, seen), scores[a, t], -math.inf)

                top = k.register("top", "f32")
                top[()] = op("max", best[a], max_row(k, "largest", TOKENS, known, -math.inf))
                change = k.register("change", "f32")
                change[()] = exp2_of_negative(k, best[a] - top[()])
                with k.parallel("power", TOKENS) as t:
                    power = exp2_of_negative(k, scores[a, t] - top[()])
                    scores[a, t] = op("select", op("le", t, seen), power, 0.0)
                total = sum_row(k, "total", TOKENS, lambda t: scores[a, t])
                weight[a] = weight[a] * change[()] + total
                factors[a] = change[()]
                best[a] = top[()]
            with k.parallel("panel", head_dim // 8) as panel, k.parallel("mix", count * group) as a:
                mix = k.register("mixture", "f32", 8)
                with k.parallel("m_start", 8) as i:
                    mix[i] = mixed[a, panel * 8 + i] * factors[a]
                with k.serial("m_t", TOKENS) as t, k.parallel("m_i", 8) as i:
                    mix[i] = k.mac(scores[a, t], values[t, panel * 8 + i], mix[i])
                with k.parallel("m_out", 8) as i:
                    mixed[a, panel * 8 + i] = mix[i]
        with k.parallel("row_out", count) as row, k.parallel("head_out", group) as head:
            a = row * group + head
            inverse = k.register("inverse", "f32", init=1.0 / weight[a])
            with k.parallel("i_out", head_dim) as i:
                # Plus 0: what is zero has no sign, whatever blocks came behind the row's own.
                result = mixed[a, i] * inverse[()] + 0.0
                out[first + row, (kv_head * group + head) * head_dim + i] = result
    return k.kernel()


def _default(schedule: Schedule, parameters: Parameters) -> None:
    fused = schedule.kernel().numeric == "fused"
    schedule.bind("tile", "grid")
    for loop in ("i_in", "t_key", "i_value", "power", "i_out"):
        schedule.split(loop, 8).vectorise(f"{loop}.i")
    # Scores: queries by 8 tokens; what they weigh: queries by 8 coordinates of the values.
    for loop, inner in (("score", "s_i"), ("mix", "m_t")):
        schedule.split(loop, 6 if fused else 5, (4, 3, 2), 2 if fused else 0)
        schedule.split(f"{inner}*", 4).jam(f"{loop}*.i").unroll(f"{loop}*.i*")
        schedule.unroll(f"{inner}*.i")
    for loop in (
        "s_zero*", "s_t*", "s_out*", "m_start*", "m_i*", "m_out*", "largest_start", "largest_lane",
        "largest_8", "largest_4", "total_start", "total_lane", "total_8", "total_4",
    ):  # fmt: skip
        schedule.vectorise(loop)


FAMILY = Family(paged_attention, _default)
