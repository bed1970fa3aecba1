"""Causal attention over the KV arena: softmax(q k^T * scale) v, block by block of 32 tokens.

After each block, at an absolute position, what was summed so far is rescaled to the largest score
seen (online softmax, Milakov and Gimelshein 2018; FlashAttention, Dao et al. 2022). So the result
for a row depends on its position only: not on how many rows are run with it, and not on how many
of the keys came from a cache.

Eight rows are worked on together, and for each the query heads that share a key head (GQA, Ainslie
et al. 2023): keys and values are widened once for all of them. A row that is alone, the next token,
uses them as they are loaded; what is computed is the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from pywasm_jit.builder import Array, Builder
from pywasm_jit.functions import exp2_of_negative
from pywasm_jit.ir import F32, I32, Expr, Kernel, KernelError, Numeric, Operand, op
from pywasm_jit.kernels.family import Family, Parameters, lanes
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
    wide = k.scratch("wide", F32, head_dim * TOKENS)  # keys, then values: the cache is small
    scores = k.scratch("scores", F32, ROWS * group, TOKENS)
    mixed = k.scratch("mixed", F32, ROWS * group, head_dim)
    best = k.scratch("best", F32, ROWS * group)
    weight = k.scratch("weight", F32, ROWS * group)
    factors = k.scratch("factors", F32, ROWS * group)
    tiles = (rows + (ROWS - 1)) // ROWS
    with (
        k.parallel("tile", tiles * kv_heads) as tile,
        k.let("kv_head", tile % kv_heads) as kv_head,
        # The last rows see most keys: threads begin with them and end together.
        k.let("first", (tiles - 1 - tile // kv_heads) * ROWS) as first,
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

            def key(i: Expr, t: Expr) -> Expr:
                return arena.kv[block, arena.key(kv_head, i, t)]

            def wide_key(i: Expr, t: Expr) -> Expr:
                return wide[i * TOKENS + t]

            def value(t: Expr, i: Expr) -> Expr:
                return arena.kv[block, arena.value(kv_head, i, t)]

            def wide_value(t: Expr, i: Expr) -> Expr:
                return wide[t * head_dim + i]

            with k.when(op("eq", rows, 1)):
                shape = group, TOKENS, head_dim
                _product(k, "one_score", shape, 16, queries, key, scores)
            with k.when(op("lt", 1, rows)):
                with k.parallel("i_key", head_dim) as i, k.parallel("t_key", TOKENS) as t:
                    wide[i * TOKENS + t] = key(i, t)
                many = count * group, TOKENS, head_dim
                _product(k, "score", many, 8, queries, wide_key, scores)
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
            with k.when(op("eq", rows, 1)):
                shape = group, head_dim, TOKENS
                _product(k, "one_mix", shape, lanes(head_dim), scores, value, mixed, factors)
            with k.when(op("lt", 1, rows)):
                with k.parallel("t_value", TOKENS) as t, k.parallel("i_value", head_dim) as i:
                    wide[t * head_dim + i] = value(t, i)
                many = count * group, head_dim, TOKENS
                _product(k, "mix", many, 8, scores, wide_value, mixed, factors)
        with k.parallel("row_out", count) as row, k.parallel("head_out", group) as head:
            a = row * group + head
            inverse = k.register("inverse", "f32", init=1.0 / weight[a])
            with k.parallel("i_out", head_dim) as i:
                # Plus 0: what is zero has no sign, whatever blocks came behind the row's own.
                result = mixed[a, i] * inverse[()] + 0.0
                out[first + row, (kv_head * group + head) * head_dim + i] = result
    return k.kernel()


def _product(
    k: Builder,
    name: str,
    shape: tuple[Operand, int, int],
    width: int,
    a: Array,
    b: Callable[[Expr, Expr], Expr],
    c: Array,
    factors: Array | None = None,
) -> None:
    """c[row] = a[row] b, or c[row] * factors[row] + a[row] b; `width` columns at a time.

    shape: rows, columns, and depth, along which the products are added up in order.
    """
    rows, columns, depth = shape
    with k.parallel(f"{name}_part", columns // width) as part, k.parallel(name, rows) as row:
        total = k.register(f"{name}_sum", "f32", width)
        with k.parallel(f"{name}_start", width) as i:
            total[i] = 0.0 if factors is None else c[row, part * width + i] * factors[row]
        with k.serial(f"{name}_step", depth) as step, k.parallel(f"{name}_lane", width) as i:
            total[i] = k.mac(a[row, step], b(step, part * width + i), total[i])
        with k.parallel(f"{name}_out", width) as i:
            c[row, part * width + i] = total[i]


def _default(schedule: Schedule, parameters: Parameters) -> None:
    fused = schedule.kernel().numeric == "fused"
    schedule.bind("tile", "grid")
    for loop in ("i_in", "t_key", "i_value", "power", "i_out"):
        schedule.split(loop, 8).vectorise(f"{loop}.i")
    group = parameters["heads"] // parameters["kv_heads"]
    # Queries by 8 tokens, or by 8 coordinates of the values; one token's queries by 16.
    for loop in ("score", "mix"):
        schedule.split(loop, 6 if fused else 5, (4, 3, 2), 2 if fused else 0)
    if group > 1:
        tile = 2 if group % 2 == 0 else 3
        schedule.split("one_score", tile, (2,)).split("one_mix", tile, (2,))
    for loop in ("score", "mix", "one_score", "one_mix"):
        schedule.split(f"{loop}_step*", 4)
        if group > 1 or not loop.startswith("one"):
            schedule.jam(f"{loop}*.i").unroll(f"{loop}*.i*")
        schedule.unroll(f"{loop}_step*.i")
        for part in ("start", "lane", "out"):
            schedule.vectorise(f"{loop}_{part}*")
    # Heads of a group together: what one of them waits for leaves time for the others.
    if 1 < group <= 4:
        schedule.unroll("largest_step").unroll("total_step").jam("head").unroll("head*")
    for loop in ("largest", "total"):
        for part in ("start", "lane", "8", "4"):
            schedule.vectorise(f"{loop}_{part}")


FAMILY = Family(paged_attention, _default)
