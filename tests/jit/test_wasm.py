"""Every operation and every memory type, as scalars and as lanes, against the interpreter."""

from __future__ import annotations

import random
import struct

import pytest
from wasm_host import WasmHost, interpreted

from pywasm_jit.builder import Builder
from pywasm_jit.interpret import apply, fused_multiply_add
from pywasm_jit.ir import (
    DTYPES,
    F16_FINITE,
    F32,
    I32,
    OPS,
    DType,
    KernelError,
    Numeric,
    Value,
    f32,
    op,
)
from pywasm_jit.schedule import Schedule
from pywasm_jit.wasm import WasmTarget, render

N = 64
_EDGES = [0.0, -0.0, 1.0, -1.5, 2.5, 3.5, float("inf"), float("-inf"), 1e-40, 3e38, 65504.0, 1e-7]
# What WebAssembly has no vector instruction for.
_SCALAR_ONLY = {"quo", "rem"}


def numbers(value: Value, seed: int, name: str = "") -> bytes:
    rng = random.Random(seed)
    if value == "f32":
        floats = [f32(rng.uniform(-100, 100)) for _ in range(N - len(_EDGES))]
        return struct.pack(f"<{N}f", *rng.sample(_EDGES, len(_EDGES)), *floats)
    if name in ("quo", "rem"):
        return struct.pack(f"<{N}i", *(rng.randrange(1, 1 << 20) for _ in range(N)))
    if name == "dot4":
        return bytes(rng.randrange(128) for _ in range(4 * N))
    return struct.pack(f"<{N}i", *(rng.randrange(-(1 << 31), 1 << 31) for _ in range(N)))


_VALUES: tuple[Value, Value] = ("f32", "i32")
_CASES = [
    (name, value, vector)
    for name, spec in OPS.items()
    for value in (_VALUES if "same" in spec.args else _VALUES[1:])
    for vector in (False, True)
    if not (vector and name in _SCALAR_ONLY)
]


@pytest.mark.parametrize(("name", "value", "vector"), _CASES)
def test_an_operation(wasm: WasmHost, name: str, value: Value, vector: bool) -> None:
    spec = OPS[name]
    types: list[Value] = [value if kind == "same" else "i32" for kind in spec.args]
    types = ["f32" if kind == "f32" else t for kind, t in zip(spec.args, types, strict=True)]
    numeric: Numeric = "fused" if name == "fma" else "separate"
    k = Builder(f"op_{name}", numeric)
    inputs = [k.input(f"x{i}", F32 if t == "f32" else I32, N) for i, t in enumerate(types)]
    result = op(name, *(array[0] for array in inputs)).value
    out = k.output("out", F32 if result == "f32" else I32, N)
    with k.parallel("i", N) as i:
        operands = [array[i] for array in inputs]
        if name in ("shl", "shr", "sar"):
            operands[1] = operands[1] if not vector else op("add", 7, 0)
        out[i] = op(name, *operands)
    schedule = Schedule(k.kernel())
    kernel = (schedule.vectorise("i") if vector else schedule.unroll("i")).kernel()
    buffers = {f"x{i}": numbers(t, i, name) for i, t in enumerate(types)} | {"out": bytes(4 * N)}
    expected = interpreted(kernel, buffers, {})
    if name == "fma" and not vector:
        a, b, c = (struct.unpack(f"<{N}f", buffers[f"x{i}"]) for i in range(3))
        twice = [apply("mul", "f32", [x, y]) + z for x, y, z in zip(a, b, c, strict=True)]
        once = [fused_multiply_add(x, y, z) for x, y, z in zip(a, b, c, strict=True)]
        assert [f32(x) for x in twice] != [f32(x) for x in once]
    same(result, wasm.run(kernel, buffers, {})["out"], expected["out"])


def same(value: Value, got: bytearray, expected: bytearray) -> None:
    """Equal bits; any NaN is as good as another."""
    for a, b in zip(struct.iter_unpack("<i", got), struct.iter_unpack("<i", expected), strict=True):
        x, y = (struct.unpack("<f", struct.pack("<i", *bits))[0] for bits in (a, b))
        assert a == b or (value == "f32" and x != x and y != y), (x, y)


@pytest.mark.parametrize("vector", [False, True])
@pytest.mark.parametrize("kind", [*DTYPES.values(), F16_FINITE], ids=lambda kind: kind.key)
def test_a_memory_type(wasm: WasmHost, kind: DType, vector: bool) -> None:
    """Loads widen, stores narrow: every f16, and f32 values around every rounding of one."""
    count = 1 << 14 if kind.name == "f16" else 256
    k = Builder("copy", "separate")
    wide = F32 if kind.value == "f32" else I32
    narrow, out = k.input("narrow", kind, count), k.output("out", wide, count)
    full, packed = k.input("full", wide, count), k.output("packed", kind, count)
    with k.parallel("o", count // 4) as o, k.parallel("i", 4) as i:
        out[o * 4 + i] = narrow[o * 4 + i]
        packed[o * 4 + i] = full[o * 4 + i]
    schedule = Schedule(k.kernel())
    kernel = (schedule.vectorise("i") if vector else schedule.unroll("i")).kernel()
    rng = random.Random(3)
    if kind.name == "f16":
        raw = struct.pack(f"<{count}H", *(n * 4 + n % 4 for n in range(count)))
        values = [rng.uniform(-1, 1) * 2.0 ** rng.randrange(-28, 18) for _ in range(count)]
        values[:7] = [65519.9, 65520.0, 2.0**-25, *(float(x) for x in ("inf", "-inf", "nan", "-0"))]
        wide_raw = struct.pack(f"<{count}f", *map(f32, values))
    else:
        raw = bytes(rng.randrange(256) for _ in range(count * kind.bytes))
        if kind.value == "f32":
            raw = struct.pack(f"<{count}f", *(rng.uniform(-1, 1) for _ in range(count)))
        wide_raw = bytes(rng.randrange(64) for _ in range(4 * count))
    buffers = {"narrow": raw, "out": bytes(4 * count), "full": wide_raw}
    buffers["packed"] = bytes(count * kind.bytes)
    expected = interpreted(kernel, buffers, {})
    got = wasm.run(kernel, buffers, {})
    same(kind.value, got["out"], expected["out"])
    assert got["packed"] == expected["packed"]


def test_indexes_that_are_no_polynomials(wasm: WasmHost) -> None:
    """Quotients, loaded indexes, strides and names (let) all reach the right element."""
    k = Builder("shuffle", "separate")
    rows = k.extent("rows")
    order = k.input("order", I32, rows)
    x, y = k.input("x", F32, rows, 8), k.output("y", F32, 8, rows * 2)
    with (
        k.parallel("row", rows * 2) as row,
        k.let("half", row // 2) as half,
        k.parallel("i", 8) as i,
    ):
        y[7 - i, row] = x[order[half], i] - x[half, i % 8]
    kernel = Schedule(k.kernel()).unroll("i").bind("row", "grid").kernel()
    buffers = {
        "order": struct.pack("<5i", 3, 0, 4, 1, 2),
        "x": numbers("f32", 9)[: 5 * 8 * 4],
        "y": bytes(8 * 10 * 4),
    }
    buffers["x"] = struct.pack("<40f", *range(40))
    expected = interpreted(kernel, buffers, {"rows": 5})
    assert wasm.run(kernel, buffers, {"rows": 5}) == expected
    vector = Schedule(k.kernel())
    with pytest.raises(KernelError, match=r"lanes have no common address|no vector instruction"):
        render([("run", vector.vectorise("i").kernel())], WasmTarget(relaxed=False))


def test_conditions_and_reductions_in_lanes(wasm: WasmHost) -> None:
    """A sum by 4 partial sums, then across them, under a condition."""
    k = Builder("sums", "separate")
    rows = k.extent("rows")
    x, y = k.input("x", F32, rows, 16), k.inout("y", F32, rows)
    with k.parallel("row", rows) as row:
        part = k.register("part", "f32", 4)
        with k.parallel("zero", 4) as lane:
            part[lane] = 0.0
        with k.serial("p", 4) as p, k.parallel("lane", 4) as lane:
            part[lane] = part[lane] + x[row, p * 4 + lane]
        with k.when(op("lt", row, 3)):
            y[row] = (part[0] + part[1]) + (part[2] + part[3])
    kernel = Schedule(k.kernel()).vectorise("zero").vectorise("lane").bind("row", "grid").kernel()
    buffers = {"x": struct.pack("<80f", *range(80)), "y": bytes(20)}
    expected = interpreted(kernel, buffers, {"rows": 5})
    assert wasm.run(kernel, buffers, {"rows": 5}) == expected
    assert struct.unpack("<5f", expected["y"])[3:] == (0, 0)


def test_a_kernel_of_the_wrong_class_is_refused() -> None:
    k = Builder("fused", "fused")
    y = k.inout("y", F32, 4)
    with k.parallel("i", 4) as i:
        y[i] = k.mac(y[i], 2.0, 1.0)
    with pytest.raises(KernelError, match="fused: fused multiply-add needs relaxed SIMD"):
        render([("run", k.kernel())], WasmTarget(relaxed=False))
