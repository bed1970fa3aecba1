"""Every operation and memory type, threads and what they share: shaders against the interpreter."""

from __future__ import annotations

import random
import struct

import pytest
from gpu_host import agree, evaluate

from pywasm_jit.builder import Builder
from pywasm_jit.ir import F16, F32, I8, I8X4, I32, OPS, U8, DType, Kernel, KernelError, Value, op
from pywasm_jit.schedule import Schedule
from pywasm_jit.wgsl import render

N = 64


def floats(seed: int, count: int, size: float = 1.0) -> bytes:
    rng = random.Random(seed)
    return struct.pack(f"<{count}f", *(rng.uniform(-size, size) for _ in range(count)))


def integers(seed: int, count: int, least: int = -(1 << 31), end: int = 1 << 31) -> bytes:
    rng = random.Random(seed)
    return struct.pack(f"<{count}i", *(rng.randrange(least, end) for _ in range(count)))


_CASES = [
    (name, value)
    for name, spec in OPS.items()
    for value in (("f32", "i32") if "same" in spec.args else ("i32",))
]


@pytest.mark.parametrize(("name", "value"), _CASES)
def test_an_operation(name: str, value: Value) -> None:
    """On 64 random values and, the same shader, on constants that are folded before."""
    kinds = [value if kind == "same" else kind for kind in OPS[name].args]
    k = Builder(f"op_{name}", "fused")
    inputs = [k.input(f"x{i}", F32 if kind == "f32" else I32, N) for i, kind in enumerate(kinds)]
    constants: list[int | float] = [2.5 if kind == "f32" else 3 for kind in kinds]
    result = op(name, *(array[0] for array in inputs)).value
    out = k.output("out", F32 if result == "f32" else I32, N)
    folded = k.output("folded", F32 if result == "f32" else I32, N)
    with k.parallel("i", N) as i:
        out[i] = op(name, *(array[i] for array in inputs))
        with k.parallel("three", 4, 3) as three:
            folded[i] = op(name, *(three if c == 3 else c for c in constants))
    kernel = Schedule(k.kernel()).unroll("three").kernel()
    buffers = {"out": bytes(4 * N), "folded": bytes(4 * N)}
    for i, kind in enumerate(kinds):
        if kind == "f32":
            buffers[f"x{i}"] = (
                floats(i, N, 100) if name != "sqrt" else integers(i, N, 1 << 29, 1 << 30)
            )
        elif name in ("quo", "rem"):
            buffers[f"x{i}"] = integers(i, N, 1, 1 << 20)
        elif name == "dot4":
            buffers[f"x{i}"] = bytes(
                random.Random(i).randrange(128 << (i == 0)) for _ in range(4 * N)
            )
        elif name == "as_f32":
            buffers[f"x{i}"] = integers(i, N, 1 << 29, 1 << 30)
        else:
            buffers[f"x{i}"] = integers(i, N)
    agree(kernel, buffers, {})


@pytest.mark.parametrize("dtype", [F16, I8, U8, I8X4, F32, I32], ids=lambda dtype: dtype.name)
def test_a_memory_type(dtype: DType) -> None:
    """Narrow elements are read from words; scratch keeps what their memory would."""
    k = Builder("copy", "fused")
    wide = F32 if dtype.value == "f32" else I32
    narrow, out = k.input("narrow", dtype, N), k.output("out", wide, N)
    full, kept = k.input("full", wide, N), k.output("kept", wide, N)
    scratch = k.scratch("scratch", dtype, 4)
    with k.parallel("i", N) as i:
        out[i] = narrow[i]
        scratch[i % 4] = full[i]
        kept[i] = scratch[i % 4]
    buffers = {"out": bytes(4 * N), "kept": bytes(4 * N)}
    buffers["full"] = floats(1, N, 100) if wide == F32 else integers(1, N)
    buffers["narrow"] = integers(2, N * dtype.bytes // 4, 0, 1 << 30)
    if dtype == F16:
        buffers["narrow"] = struct.pack(f"<{N}e", *(x / 7 for x in range(N)))
    elif dtype == F32:
        buffers["narrow"] = floats(2, N)
    agree(k.kernel(), buffers, {}, tolerance=0)


def test_numbers_wgsl_has_no_literals_for() -> None:
    """Infinity, the least integer, the largest and the smallest float, and a NaN's bits."""
    k = Builder("literals", "fused")
    y, z = k.output("y", F32, 2, 8), k.output("z", I32, 2, 8)
    numbers = [float("inf"), float("-inf"), -0.0, 3.4028234663852886e38, -1.17549435e-38, 0.1, 1e30]
    with k.parallel("i", 2) as i:
        for at, number in enumerate(numbers):
            y[i, at] = number
        for at, integer in enumerate((-(1 << 31), (1 << 31) - 1, -1, 0)):
            z[i, at] = integer
        z[i, 4] = op("as_i32", float("nan")) & 0x7F800000
        z[i, 5] = op("shl", -5, 30)
    agree(k.kernel(), {"y": bytes(64), "z": bytes(64)}, {}, tolerance=0)


def test_names_that_are_words_of_wgsl() -> None:
    """Loops of schedules have dots and plus signs in their names, and a user's are anything."""
    k = Builder("words", "fused")
    n = k.extent("fn")
    x, y = k.input("let", F32, n, 8), k.output("a_b", F32, n, 8)
    with k.parallel("thread", n) as i, k.parallel("a.b", 8) as j:
        total = k.register("extents", "f32", init=0.0)
        with k.serial("for", j + 1) as p:
            total[()] = total[()] + x[i, p]
        y[i, j] = total[()]
    agree(k.kernel(), {"let": floats(0, 40), "a_b": bytes(160)}, {"fn": 5})
    tiled = Schedule(k.kernel()).fuse("thread", "a.b").kernel()
    agree(tiled, {"let": floats(0, 40), "a_b": bytes(160)}, {"fn": 5})


def test_a_shared_expression_is_written_once() -> None:
    """Twenty squarings of x + x are a graph of 40 nodes, and a tree of a million."""
    k = Builder("graph", "fused")
    x, y = k.input("x", F32, N), k.output("y", F32, N)
    with k.parallel("i", N) as i:
        value = x[i]
        for _ in range(20):
            value = op("min", value + value, value * 1.5)
        y[i] = value
    assert len(render(k.kernel())["source"]) < 4000
    agree(k.kernel(), {"x": floats(0, N), "y": bytes(4 * N)}, {})


def tiled_matmul(k_size: int, n_size: int) -> Kernel:
    """c = a @ b by workgroups of 16 threads: tiles of 8 x 8, 4 of k at a time in their memory."""
    k = Builder("tiled", "fused")
    rows = k.extent("rows")
    a, b = k.input("a", F32, rows, k_size), k.input("b", F32, k_size, n_size)
    c = k.output("c", F32, rows, n_size)
    a_tile, b_tile = k.workgroup("a_tile", F32, 8, 4), k.workgroup("b_tile", F32, 4, 8)
    with k.parallel("y", (rows + 7) // 8) as y, k.parallel("x", n_size // 8) as x:
        acc = k.register("acc", "f32", 16, 2, 2)
        with k.parallel("clear", 16) as t, k.parallel("r0", 2) as r, k.parallel("c0", 2) as s:
            acc[t, r, s] = 0.0
        with k.serial("p", k_size // 4) as p:
            with k.parallel("load", 16) as t, k.parallel("half", 2) as half:
                row = op("min", y * 8 + half * 4 + t // 4, rows - 1)
                a_tile[half * 4 + t // 4, t % 4] = a[row, p * 4 + t % 4]
                b_tile[half * 2 + t // 8, t % 8] = b[p * 4 + half * 2 + t // 8, x * 8 + t % 8]
            tile = k.parallel("r", 2), k.parallel("s", 2)
            with k.parallel("multiply", 16) as t, k.serial("q", 4) as q, tile[0] as r, tile[1] as s:
                left, right = a_tile[t // 4 * 2 + r, q], b_tile[q, t % 4 * 2 + s]
                acc[t, r, s] = k.mac(left, right, acc[t, r, s])
        with k.parallel("store", 16) as t, k.parallel("r1", 2) as r, k.parallel("c1", 2) as s:
            row = y * 8 + t // 4 * 2 + r
            with k.when(row < rows):
                c[row, x * 8 + t % 4 * 2 + s] = acc[t, r, s]
    return k.kernel()


@pytest.mark.parametrize("rows", [1, 8, 21])
def test_threads_share_tiles_of_a_matrix_product(rows: int) -> None:
    """Each has its part of `acc`; barriers come after loading, and before loading again."""
    kernel = tiled_matmul(16, 24)
    schedule = Schedule(kernel).bind("y", "workgroup.y").bind("x", "workgroup.x").unroll("q")
    for loop in ("clear", "load", "multiply", "store"):
        schedule.bind(loop, "local.x")
    buffers = {"a": floats(0, rows * 16), "b": floats(1, 16 * 24), "c": bytes(4 * rows * 24)}
    shader = render(schedule.kernel())
    assert shader["source"].count("workgroupBarrier()") == 2
    assert "var acc_: array<f32, 4>" in shader["source"]
    assert shader["workgroup_size"] == 16
    assert shader["workgroups"] == [3, ["quo", ["+", "rows", 7], 8], 1]
    agree(schedule.kernel(), buffers, {"rows": rows})


def test_threads_add_up_a_row_together() -> None:
    """Partial sums in workgroup memory, added by the first thread, divided by all of them."""
    k = Builder("share", "fused")
    rows = k.extent("rows")
    x, y = k.inout("x", F32, rows, N), k.output("y", F32, rows, N)
    partial, total = k.workgroup("partial", F32, 8), k.workgroup("total", F32, 1)
    with k.parallel("row", rows) as row:
        with k.parallel("part", 8) as t:
            part = k.register("sum", "f32", init=0.0)
            with k.serial("i", N // 8) as i:
                part[()] = part[()] + x[row, i * 8 + t]
            partial[t] = part[()]
        whole = k.register("whole", "f32", init=0.0)
        with k.serial("t", 8) as t:
            whole[()] = whole[()] + partial[t]
        total[0] = whole[()]
        with k.parallel("divide", 16) as t, k.serial("j", N // 16) as j:
            x[row, j * 16 + t] = x[row, j * 16 + t] / total[0]
        with k.parallel("turn", 16) as t, k.serial("l", N // 16) as j:
            y[row, j * 16 + t] = x[row, N - 1 - (j * 16 + t)]
    kernel = Schedule(k.kernel()).bind("row", "workgroup.x").kernel()
    for loop in ("part", "divide", "turn"):
        kernel = Schedule(kernel).bind(loop, "local.x").kernel()
    buffers = {"x": struct.pack(f"<{3 * N}f", *range(3 * N)), "y": bytes(12 * N)}
    source = render(kernel)["source"]
    assert source.count("storageBarrier()") == 1
    agree(kernel, buffers, {"rows": 3})


def test_a_block_of_a_size_that_does_not_divide() -> None:
    k = Builder("blocks", "fused")
    n = k.extent("n")
    x, y = k.input("x", F32, n), k.output("y", F32, n)
    with k.parallel("i", n) as i:
        y[i] = x[i] * 2.0
    schedule = Schedule(k.kernel()).block("i", 32)
    kernel = schedule.bind("i.b", "workgroup.x").bind("i", "local.x").kernel()
    for count in (0, 1, 32, 50):
        size = max(count, 1)  # a binding is never empty
        x_bytes = floats(0, size)
        if count:
            agree(kernel, {"x": x_bytes, "y": bytes(4 * size)}, {"n": count})
    assert render(kernel)["workgroup_size"] == 32


def test_more_workgroups_than_an_axis_has() -> None:
    k = Builder("many", "fused")
    n = k.extent("n")
    y = k.output("y", I32, n)
    with k.parallel("i", n) as i:
        y[i] = i
    shader = render(Schedule(k.kernel()).bind("i", "workgroup.x").kernel())
    count = 65535 + 10
    assert [evaluate(e, {"n": count}) for e in shader["workgroups"]] == [65535, 2, 1]
    agree(
        Schedule(k.kernel()).bind("i", "workgroup.x").kernel(),
        {"y": bytes(4 * count)},
        {"n": count},
    )


def test_what_webgpu_can_not_do() -> None:
    k = Builder("narrow", "fused")
    y = k.output("y", F16, 8)
    with k.parallel("i", 8) as i:
        y[i] = 1.0
    with pytest.raises(KernelError, match="narrow: y: WGSL stores no f16"):
        render(k.kernel())

    k = Builder("large", "fused")
    z, held = k.output("z", F32, 8), k.scratch("held", F32, 3000)
    with k.parallel("i", 8) as i:
        held[i] = 1.0
        z[i] = held[i]
    with pytest.raises(KernelError, match="12000 bytes of private memory, more than 8192"):
        render(k.kernel())

    k = Builder("serial", "fused")
    z = k.output("z", F32, 8)
    with k.serial("i", 8) as i:
        z[i] = 1.0
    with pytest.raises(KernelError, match="no parallel loop is outermost"):
        render(k.kernel())

    k = Builder("race", "fused")
    total = k.register("total", "f32", init=0.0)
    with k.parallel("i", 64) as i:
        total[()] = op("to_f32", i)
    with pytest.raises(KernelError, match="register total: threads set it"):
        render(Schedule(k.kernel()).bind("i", "local.x").kernel())
