"""Attention fused over keys: softmax(q k^T * scale) v without the matrix of all scores.

Sixteen queries are worked on together, as lanes; keys come in blocks at absolute positions, after
each of which what was summed so far is rescaled to the largest score seen (online softmax,
Milakov and Gimelshein 2018; FlashAttention, Dao et al. 2022). Keys behind the length of a text are
never visited.
"""

from __future__ import annotations

import math

from pywasm_jit.builder import Builder
from pywasm_jit.functions import exp2_of_negative
from pywasm_jit.ir import F32, I32, Kernel, KernelError, Numeric, op
from pywasm_jit.kernels.family import Family, Parameters
from pywasm_jit.schedule import Schedule

QUERIES = 16  # of a tile, computed together
KEYS = 64  # of a block: part of the numeric class


def attention(heads: int, head_dim: int, scale: float | None = None, *, numeric: Numeric) -> Kernel:
    """out[b, s, head] = sum over t < lengths[b] of softmax(q[s] . k[t] * scale) * v[t]

    qkv f32[batch * seq, 3 * heads * head_dim]: q of all heads, then k, then v; lengths i32[batch];
    out f32[batch * seq, heads * head_dim]. `scale`: 1 / sqrt(head_dim) unless given. A length of
    0 gives 0; a length over seq counts as seq.
    """
    if head_dim % 8 or head_dim < 8 or heads < 1:
        raise KernelError(f"attention: head_dim = {head_dim} is no multiple of 8")
    # Scores are kept in units of ln 2, since powers of 2 are what is easily computed.
    factor = (1.0 / math.sqrt(head_dim) if scale is None else scale) * math.log2(math.e)
    k = Builder("attention", numeric)
    batch, seq = k.extent("batch"), k.extent("seq")
    width = heads * head_dim
    qkv = k.input("qkv", F32, batch * seq, 3 * width)
    lengths = k.input("lengths", I32, batch)
    out = k.output("out", F32, batch * seq, width)
    queries = k.scratch("queries", F32, head_dim, QUERIES)  # of this tile, scaled and transposed
    scores = k.scratch("scores", F32, KEYS, QUERIES)
    mixed = k.scratch("mixed", F32, QUERIES, head_dim)
    factors = k.scratch("factors", F32, QUERIES)
    tiles = (seq + (QUERIES - 1)) // QUERIES
    with (
        k.parallel("tile", batch * tiles * heads) as tile,
        k.let("text", tile // (tiles * heads)) as text,
        k.let("head", tile // tiles % heads * head_dim) as head,
        k.let("first", tile % tiles * QUERIES) as first,
        k.let("length", op("max", op("min", lengths[text], seq), 0)) as length,
    ):
        row = text * seq
        with (
            k.parallel("q_load", QUERIES) as q,
            k.let("source", op("min", first + q, seq - 1)) as source,
            k.parallel("d_load", head_dim) as d,
        ):
            queries[d, q] = qkv[row + source, head + d] * factor
        with k.parallel("q_zero", QUERIES) as q, k.parallel("d_zero", head_dim) as d:
            mixed[q, d] = 0.0
        best = k.register("best", "f32", QUERIES)
        weight = k.register("weight", "f32", QUERIES)
        with k.parallel("start", QUERIES) as q:
            best[q] = -math.inf
            weight[q] = 0.0
        with (
            k.serial("block", (length + (KEYS - 1)) // KEYS) as block,
            k.let("base", block * KEYS) as base,
            k.let("count", op("min", length - base, KEYS)) as count,
        ):
            with k.parallel("group", QUERIES // 8) as group, k.parallel("key", count) as key:
                score = k.register("score", "f32", 8)
                with k.parallel("s_zero", 8) as q:
                    score[q] = 0.0
                with k.serial("d", head_dim) as d, k.parallel("s_lane", 8) as q:
                    coordinate = qkv[row + base + key, head + width + d]
                    score[q] = k.mac(coordinate, queries[d, group * 8 + q], score[q])
                with k.parallel("s_out", 8) as q:
                    scores[key, group * 8 + q] = score[q]
            top = k.register("top", "f32", QUERIES)
            with k.parallel("t_start", QUERIES) as q:
                top[q] = best[q]
            with k.serial("t_key", count) as key, k.parallel("t_lane", QUERIES) as q:
                top[q] = op("max", top[q], scores[key, q])
            with k.parallel("rescale", QUERIES) as q:
                change = exp2_of_negative(k, best[q] - top[q])
                factors[q] = change
                weight[q] = weight[q] * change
                best[q] = top[q]
            with k.serial("w_key", count) as key, k.parallel("w_lane", QUERIES) as q:
                power = k.register("power", "f32")
                power[()] = exp2_of_negative(k, scores[key, q] - best[q])
                scores[key, q] = power[()]
                weight[q] = weight[q] + power[()]
            with k.parallel("panel", head_dim // 8) as panel, k.parallel("query", QUERIES) as query:
                mix = k.register("mix", "f32", 8)
                with k.parallel("m_start", 8) as d:
                    mix[d] = mixed[query, panel * 8 + d] * factors[query]
                with k.serial("m_key", count) as key, k.parallel("m_lane", 8) as d:
                    coordinate = qkv[row + base + key, head + 2 * width + panel * 8 + d]
                    mix[d] = k.mac(scores[key, query], coordinate, mix[d])
                with k.parallel("m_out", 8) as d:
                    mixed[query, panel * 8 + d] = mix[d]
        with k.parallel("invert", QUERIES) as q:
            factors[q] = op("select", op("lt", 0.0, weight[q]), 1.0 / weight[q], 0.0)
        with (
            k.parallel("q_out", QUERIES) as q,
            k.when(first + q < seq),
            k.parallel("d_out", head_dim) as d,
        ):
            out[row + first + q, head + d] = mixed[q, d] * factors[q]
    return k.kernel()


def _default(schedule: Schedule, parameters: Parameters) -> None:
    fused = schedule.kernel().numeric == "fused"
    schedule.bind("tile", "grid")
    schedule.split("d_load", 4).vectorise("d_load.i")
    for loop in ("d_zero", "d_out"):
        schedule.split(loop, 8).vectorise(f"{loop}.i")
    # Scores: keys by queries as rows by columns of a matrix product.
    schedule.split("key", 6 if fused else 5, (4, 3, 2), 2 if fused else 0).split("d*", 4)
    schedule.jam("key*.i").unroll("key*.i*").unroll("d*.i")
    # What they weigh: queries by 8 coordinates of the values.
    schedule.split("query", 6 if fused else 4, (4,)).split("m_key*", 4).jam("query*.i")
    schedule.unroll("query*.i*").unroll("m_key*.i")
    schedule.split("t_key", 4).unroll("t_key.i")
    for loop in (
        "start", "s_zero*", "s_lane*", "s_out*", "t_start", "t_lane*", "rescale", "w_lane*",
        "m_start*", "m_lane*", "m_out*", "invert",
    ):  # fmt: skip
        schedule.vectorise(loop)


FAMILY = Family(attention, _default)
