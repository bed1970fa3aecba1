"""Kernels as a GPU wants them: the same buffers and results as `kernels/`, other loops.

What the threads of a workgroup read several times goes through their shared memory; neighbouring
threads read neighbouring elements. A family without an entry here runs as it is, one thread an
iteration of its outer loops. Reductions are ordered otherwise than on Wasm: results agree within a
tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pywasm_jit.builder import Array, Builder
from pywasm_jit.functions import exp2_of_negative
from pywasm_jit.ir import F32, I8X4, Expr, Kernel, KernelError, op
from pywasm_jit.kernels import KERNELS
from pywasm_jit.kernels.epilogue import Epilogue
from pywasm_jit.kernels.matmul import PANEL
from pywasm_jit.schedule import Schedule
from pywasm_jit.wgsl import Shader, render

Parameters = Mapping[str, Any]

# A workgroup's tile of a matrix product: 8 x 8 threads of 4 rows and 8 columns.
_ROWS, _COLUMNS = 32, 64
_THREADS = 64
_QUERIES = 32  # a workgroup of attention: a thread each
_KEYS = 16  # of which keys and values are in shared memory at a time


def kernel(family: str, parameters: Parameters) -> Kernel:
    """The kernel of a recipe, for `wgsl.render`. Raises KernelError."""
    if family not in KERNELS:
        raise KernelError(f"no kernel {family!r}; there are {', '.join(KERNELS)}")
    naive = KERNELS[family].naive(**parameters, numeric="fused")
    return GPU[family](naive, parameters) if family in GPU else naive


def shaders(recipes: Iterable[Mapping[str, Any]]) -> list[Shader | None]:
    """The content of a plan's wgsl file, as JSON: None for a kernel that WebGPU can't run."""
    found: list[Shader | None] = []
    for recipe in recipes:
        try:
            found.append(render(kernel(recipe["kernel"], recipe["parameters"])))
        except KernelError:
            found.append(None)
    return found


def _like(naive: Kernel) -> tuple[Builder, dict[str, Expr], dict[str, Array]]:
    """A builder with the extents and global buffers of `naive`."""
    k = Builder(naive.name, "fused")
    extents = {name: k.extent(name) for name in naive.extents}
    declare = {"read": k.input, "write": k.output, "readwrite": k.inout}
    buffers = {
        buffer.name: declare[buffer.access](buffer.name, buffer.dtype, *buffer.shape)
        for buffer in naive.buffers
        if buffer.space == "global"
    }
    return k, extents, buffers


def matmul(naive: Kernel, parameters: Parameters) -> Kernel:
    def finish(
        k: Builder, buffers: Mapping[str, Array], total: Expr, row: Expr, column: Expr
    ) -> Expr:
        return total

    return _tiled(naive, parameters, parameters["K"], Builder.mac, finish)


def matmul_i8(naive: Kernel, parameters: Parameters) -> Kernel:
    def dot(k: Builder, a: Expr, b: Expr, total: Expr) -> Expr:
        return op("dot4", b, a, total)

    def finish(
        k: Builder, buffers: Mapping[str, Array], total: Expr, row: Expr, column: Expr
    ) -> Expr:
        scale = buffers["a_scale"][row] * buffers["b_scale"][column]
        excess = buffers["b_sum"][column]
        if "a_zero" in buffers:
            excess = buffers["a_zero"][row] * excess
        return op("to_f32", total - excess) * scale

    return _tiled(naive, parameters, parameters["K"] // 4, dot, finish)


def _tiled(
    naive: Kernel,
    parameters: Parameters,
    steps: int,
    step: Callable[[Builder, Expr, Expr, Expr], Expr],
    finish: Callable[[Builder, Mapping[str, Array], Expr, Expr, Expr], Expr],
) -> Kernel:
    """A matrix product in tiles of 32 rows x 64 columns, slices of a and b in shared memory.

    total = step(a, b, total) over `steps` elements of a row of a; then what `finish` and the
    epilogue make of it.
    """
    n_size = parameters["N"]
    k, extents, buffers = _like(naive)
    rows, a, b, c = extents["rows"], buffers["a"], buffers["b"], buffers["c"]
    value = a.buffer.dtype.value
    kept = I8X4 if value == "i32" else F32
    depth = next(size for size in (16, 8, 4, 2, 1) if steps % size == 0)
    a_tile = k.workgroup("a_tile", kept, depth, _ROWS)
    b_tile = k.workgroup("b_tile", kept, depth, _COLUMNS)
    panels = n_size // PANEL
    epilogue = Epilogue(
        k, buffers.get("bias"), parameters.get("activation", ""), buffers.get("residual")
    )
    with (
        k.parallel("y", (rows + (_ROWS - 1)) // _ROWS) as y,
        k.parallel("x", -(-n_size // _COLUMNS)) as x,
    ):
        total = k.register("total", value, _THREADS, 4, 8)
        with (
            k.parallel("t_zero", _THREADS) as t,
            k.parallel("r_zero", 4) as r,
            k.parallel("c_zero", 8) as n,
        ):
            total[t, r, n] = 0 if value == "i32" else 0.0
        with k.serial("slice", steps // depth) as at:
            with (
                k.parallel("t_a", _THREADS) as t,
                _shared_out(k, "a_load", _ROWS * depth, t) as element,
                k.let("a_row", op("min", y * _ROWS + element // depth, rows - 1)) as row,
            ):
                a_tile[element % depth, element // depth] = a[row, at * depth + element % depth]
            with (
                k.parallel("t_b", _THREADS) as t,
                _shared_out(k, "b_load", _COLUMNS * depth, t) as element,
                k.let("b_panel", element // (depth * PANEL)) as panel,
                k.let("b_inside", element % (depth * PANEL)) as inside,
                k.let("b_found", op("min", x * 8 + panel, panels - 1)) as found,
            ):
                b_tile[inside // PANEL, panel * PANEL + inside % PANEL] = b[
                    found, at * depth + inside // PANEL, inside % PANEL
                ]
            with k.parallel("t", _THREADS) as t, k.serial("k", depth) as p:
                # A thread's columns are one of every panel: its neighbours read the ones beside.
                left = k.register("left", value, 4)
                right = k.register("right", value, 8)
                with k.parallel("r_left", 4) as r:
                    left[r] = a_tile[p, t // 8 * 4 + r]
                with k.parallel("c_right", 8) as n:
                    right[n] = b_tile[p, n * 8 + t % 8]
                with k.parallel("r", 4) as r, k.parallel("c_", 8) as n:
                    total[t, r, n] = step(k, left[r], right[n], total[t, r, n])
        with (
            k.parallel("t_out", _THREADS) as t,
            k.parallel("c_out", 8) as n,
            k.let("column", x * _COLUMNS + n * 8 + t % 8) as column,
            k.parallel("r_out", 4) as r,
            k.let("row", y * _ROWS + t // 8 * 4 + r) as row,
            k.when((row < rows) & (column < n_size)),
        ):
            whole = finish(k, buffers, total[t, r, n], row, column)
            c[row, column] = epilogue.apply(whole, row, column)
    schedule = Schedule(k.kernel()).bind("y", "workgroup.y").bind("x", "workgroup.x")
    for loop in ("t_zero", "t_a", "t_b", "t", "t_out"):
        schedule.bind(loop, "local.x")
    # Whole, or the sums would not live in registers.
    for loop in ("r_zero", "c_zero", "r_left", "c_right", "r", "c_", "c_out", "r_out"):
        schedule.unroll(loop)
    return schedule.kernel()


@contextmanager
def _shared_out(k: Builder, name: str, count: int, t: Expr) -> Iterator[Expr]:
    """The elements, of `count`, that thread `t` loads: neighbours beside each other."""
    with (
        k.parallel(f"{name}_step", -(-count // _THREADS)) as i,
        k.let(f"{name}_element", i * _THREADS + t) as element,
    ):
        if count % _THREADS:
            with k.when(element < count):
                yield element
        else:
            yield element


def attention(naive: Kernel, parameters: Parameters) -> Kernel:
    """A thread a query, with its sum in registers; online softmax, key by key."""
    heads, dim = parameters["heads"], parameters["head_dim"]
    given = parameters.get("scale")
    factor = (1.0 / math.sqrt(dim) if given is None else given) * math.log2(math.e)
    width = heads * dim
    k, extents, buffers = _like(naive)
    batch, seq = extents["batch"], extents["seq"]
    qkv, lengths, out = buffers["qkv"], buffers["lengths"], buffers["out"]
    keys, values = k.workgroup("keys", F32, _KEYS, dim), k.workgroup("values", F32, _KEYS, dim)
    tiles = (seq + (_QUERIES - 1)) // _QUERIES
    with (
        k.parallel("tile", batch * tiles * heads) as tile,
        k.let("text", tile // (tiles * heads)) as text,
        k.let("head", tile // tiles % heads * dim) as head,
        k.let("first", tile % tiles * _QUERIES) as first,
        k.let("length", op("max", op("min", lengths[text], seq), 0)) as length,
    ):
        query = k.register("query", "f32", _QUERIES, dim)
        mixed = k.register("mixed", "f32", _QUERIES, dim)
        best = k.register("best", "f32", _QUERIES)
        weight = k.register("weight", "f32", _QUERIES)
        with (
            k.parallel("t_start", _QUERIES) as t,
            k.let("q_row", text * seq + op("min", first + t, seq - 1)) as row,
        ):
            best[t] = -1e30
            weight[t] = 0.0
            with k.parallel("d_start", dim) as d:
                query[t, d] = qkv[row, head + d] * factor
                mixed[t, d] = 0.0
        with (
            k.serial("block", (length + (_KEYS - 1)) // _KEYS) as block,
            k.let("base", block * _KEYS) as base,
        ):
            with (
                k.parallel("t_load", _QUERIES) as t,
                k.parallel("load", _KEYS * dim // _QUERIES) as i,
                k.let("element", i * _QUERIES + t) as element,
                k.let("key_row", text * seq + op("min", base + element // dim, seq - 1)) as row,
                k.let("column", head + element % dim) as column,
            ):
                keys[element // dim, element % dim] = qkv[row, width + column]
                values[element // dim, element % dim] = qkv[row, 2 * width + column]
            with (
                k.parallel("t", _QUERIES) as t,
                k.serial("key", op("min", length - base, _KEYS)) as key,
            ):
                score = k.register("score", "f32", init=0.0)
                with k.serial("d", dim) as d:
                    score[()] = k.mac(query[t, d], keys[key, d], score[()])
                top = k.register("top", "f32", init=op("max", best[t], score[()]))
                change = k.register("change", "f32", init=exp2_of_negative(k, best[t] - top[()]))
                power = k.register("power", "f32", init=exp2_of_negative(k, score[()] - top[()]))
                best[t] = top[()]
                weight[t] = k.mac(weight[t], change[()], power[()])
                with k.parallel("d_mix", dim) as d:
                    mixed[t, d] = k.mac(power[()], values[key, d], mixed[t, d] * change[()])
        with k.parallel("t_out", _QUERIES) as t, k.when(first + t < seq):
            share = k.register("share", "f32")
            share[()] = op("select", op("lt", 0.0, weight[t]), 1.0 / weight[t], 0.0)
            with k.parallel("d_out", dim) as d:
                out[text * seq + first + t, head + d] = mixed[t, d] * share[()]
    schedule = Schedule(k.kernel()).bind("tile", "workgroup.x")
    for loop in ("t_start", "t_load", "t", "t_out"):
        schedule.bind(loop, "local.x")
    for loop in ("d_start", "d", "d_mix", "d_out"):
        schedule.unroll(loop)
    return schedule.kernel()


def layer_norm(naive: Kernel, parameters: Parameters) -> Kernel:
    """A workgroup a row."""
    width, eps = parameters["width"], parameters.get("eps", 1e-12)
    k, extents, buffers = _like(naive)
    x, gamma, beta, y = (buffers[name] for name in ("x", "gamma", "beta", "y"))
    added = buffers.get("residual")
    with k.parallel("row", extents["rows"]) as row:

        def value(i: Expr) -> Expr:
            return x[row, i] if added is None else x[row, i] + added[row, i]

        mean = k.register("mean", "f32")
        mean[()] = _row_sum(k, "sum", width, value) * (1.0 / width)

        def square(i: Expr) -> Expr:
            return (value(i) - mean[()]) * (value(i) - mean[()])

        scale = k.register("scale", "f32")
        variance = _row_sum(k, "square", width, square) * (1.0 / width)
        scale[()] = 1.0 / op("sqrt", variance + eps)
        with _across(k, "out", width) as (_, i):
            y[row, i] = k.mac((value(i) - mean[()]) * scale[()], gamma[i], beta[i])
    schedule = Schedule(k.kernel()).bind("row", "workgroup.x")
    for loop in ("sum_zero", "sum_t", "sum_share", "square_zero", "square_t", "square_share"):
        schedule.bind(loop, "local.x")
    schedule.bind("out_t", "local.x")
    return schedule.kernel()


@contextmanager
def _across(k: Builder, name: str, width: int) -> Iterator[tuple[Expr, Expr]]:
    """(thread, i) for i from 0 to `width` - 1, neighbours with neighbouring threads."""
    with (
        k.parallel(f"{name}_t", _THREADS) as t,
        k.serial(f"{name}_step", -(-width // _THREADS)) as step,
        k.let(f"{name}_i", step * _THREADS + t) as i,
    ):
        if width % _THREADS:
            with k.when(i < width):
                yield t, i
        else:
            yield t, i


def _row_sum(k: Builder, name: str, width: int, term: Callable[[Expr], Expr]) -> Expr:
    """Of term(0) to term(width - 1), by all threads of a workgroup, in a register of each."""
    partial = k.workgroup(f"{name}_partial", F32, _THREADS)
    mine = k.register(f"{name}_mine", "f32", _THREADS)
    with k.parallel(f"{name}_zero", _THREADS) as t:
        mine[t] = 0.0
    with _across(k, name, width) as (t, i):
        mine[t] = mine[t] + term(i)
    with k.parallel(f"{name}_share", _THREADS) as t:
        partial[t] = mine[t]
    total = k.register(f"{name}_total", "f32", init=0.0)
    with k.serial(f"{name}_part", _THREADS) as part:
        total[()] = total[()] + partial[part]
    return total[()]


GPU: dict[str, Callable[[Kernel, Parameters], Kernel]] = {
    "matmul": matmul,
    "matmul_i8": matmul_i8,
    "attention": attention,
    "layer_norm": layer_norm,
}
