"""The definition of the IR: runs a kernel, slowly, one value at a time.

Every renderer must give these bits (Wasm, within a numeric class) or these values within a
tolerance (WGSL, whose arithmetic WebGPU does not pin down).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from itertools import product

from pywasm_jit.ir import (
    Barrier,
    Buffer,
    Declare,
    Expr,
    Extent,
    Float,
    For,
    Get,
    If,
    Int,
    Kernel,
    KernelError,
    Load,
    Op,
    Set,
    Stmt,
    Store,
    Value,
    Var,
    f32,
    wrap,
)

Number = int | float
_HALF = 65504.0  # the largest number of IEEE's half precision
_CODES = {"f32": "<f", "f16": "<e", "i32": "<i", "i8": "<b", "u8": "<B", "i8x4": "<i"}


def interpret(
    kernel: Kernel,
    buffers: Mapping[str, bytearray],
    extents: Mapping[str, int],
    grid: tuple[int, int] | None = None,
) -> None:
    """Run `kernel` on `buffers` (global ones by name, little-endian), in place.

    `grid`: run only these iterations of the grid loop. Raises KernelError for an index outside a
    buffer, a register that was never set, or a buffer of the wrong size.
    """
    _Run(kernel, buffers, extents, grid).body(kernel.body)


def evaluate(expr: Expr, extents: Mapping[str, int]) -> int:
    """An expression of extents and constants, such as the size of a grid."""
    return int(_Run(Kernel("size", (), (), ()), {}, extents, None).eval(expr))


class _Run:
    def __init__(
        self,
        kernel: Kernel,
        buffers: Mapping[str, bytearray],
        extents: Mapping[str, int],
        grid: tuple[int, int] | None,
    ) -> None:
        self.kernel = kernel
        self.vars: dict[str, int] = {}
        self.extents = extents
        self.grid = grid
        self.registers: dict[tuple[str, tuple[int, ...]], Number] = {}
        # Values of a statement's operations: an expression used in many places is evaluated once.
        self.known: dict[int, Number] = {}
        self.memory: dict[str, bytearray] = {}
        self.shapes: dict[str, list[int]] = {}
        for buffer in kernel.buffers:
            shape = [int(self.eval(size)) for size in buffer.shape]
            size = math.prod(shape) * buffer.dtype.bytes
            memory = buffers[buffer.name] if buffer.space == "global" else bytearray(size)
            if len(memory) != size:
                raise KernelError(
                    f"{kernel.name}: buffer {buffer.name} has {len(memory)} bytes, "
                    f"{buffer.dtype.name}{shape} needs {size}"
                )
            self.memory[buffer.name], self.shapes[buffer.name] = memory, shape

    def body(self, body: tuple[Stmt, ...]) -> None:
        for stmt in body:
            self.known.clear()
            match stmt:
                case For():
                    self.loop(stmt)
                case Declare(register):
                    for index in product(*map(range, register.shape)):
                        self.registers.pop((register.name, index), None)
                case Set(register, index, expr):
                    place = self.index(index)
                    if any(not 0 <= i < n for i, n in zip(place, register.shape, strict=True)):
                        raise self.error(f"{register.name}{list(place)} of {list(register.shape)}")
                    self.registers[register.name, place] = self.eval(expr)
                case Store(buffer, index, expr):
                    number = self.eval(expr)
                    struct.pack_into(*self.place(buffer, index), stored(buffer.dtype.key, number))
                case If(condition, inside):
                    if self.eval(condition):
                        self.body(inside)
                case Barrier():
                    # One thread after the other can't wait for the next: a kernel with barriers
                    # is defined by what it was before its loops were bound to threads.
                    raise self.error(
                        "a barrier has no meaning in order; interpret the unbound kernel"
                    )

    def loop(self, loop: For) -> None:
        begin, end = int(self.eval(loop.begin)), int(self.eval(loop.end))
        if loop.mapping == "grid" and self.grid is not None:
            begin, end = max(begin, self.grid[0]), min(end, self.grid[1])
        for i in range(begin, end):
            self.vars[loop.var] = i
            self.body(loop.body)
        self.vars.pop(loop.var, None)

    def eval(self, expr: Expr) -> Number:
        match expr:
            case Int(number) | Float(number):
                return number
            case Var(name):
                return self.vars[name]
            case Extent(name):
                return self.extents[name]
            case Load(buffer, index):
                code, memory, offset = self.place(buffer, index)
                loaded: Number = struct.unpack_from(code, memory, offset)[0]
                if buffer.dtype.finite and not math.isfinite(loaded):
                    fraction = memory[offset] | (memory[offset + 1] & 3) << 8
                    return math.copysign((1024 + fraction) * 64.0, -(memory[offset + 1] & 128) + 1)
                return loaded
            case Get(register, index):
                place = self.index(index)
                if (register.name, place) not in self.registers:
                    raise self.error(f"{register.name}{list(place)} is read before it is set")
                return self.registers[register.name, place]
            case Op(name, args):
                if id(expr) not in self.known:
                    values = [self.eval(arg) for arg in args]
                    self.known[id(expr)] = apply(name, args[-1].value, values)
                return self.known[id(expr)]
        raise self.error(f"{expr!r} is no expression")

    def index(self, index: tuple[Expr, ...]) -> tuple[int, ...]:
        return tuple(int(self.eval(part)) for part in index)

    def place(self, buffer: Buffer, index: tuple[Expr, ...]) -> tuple[str, bytearray, int]:
        flat = 0
        shape, place = self.shapes[buffer.name], self.index(index)
        for i, n in zip(place, shape, strict=True):
            if not 0 <= i < n:
                raise self.error(f"{buffer.name}{list(place)} is outside of {shape}")
            flat = flat * n + i
        return _CODES[buffer.dtype.name], self.memory[buffer.name], flat * buffer.dtype.bytes

    def error(self, message: str) -> KernelError:
        return KernelError(f"{self.kernel.name}: {message} (at {self.vars})")


def stored(dtype: str, number: Number) -> Number:
    """`number` as a store of `dtype` keeps it."""
    if dtype == "i8":
        return (int(number) + 128 & 255) - 128
    if dtype == "u8":
        return int(number) & 255
    if dtype == "finite f16":
        return number if abs(number) <= _HALF else math.copysign(_HALF, -(number < 0) or 1)
    if dtype == "f16":
        try:
            struct.pack("<e", number)
        except OverflowError:
            return math.copysign(math.inf, number)
    return number


def apply(name: str, value: Value, args: list[Number]) -> Number:
    """The result of operation `name`; `value` is the type of its last argument."""
    if name in _SAME:
        result = _SAME[name](*args)
        return wrap(int(result)) if value == "i32" else f32(result)
    if name in _FLOAT:
        return f32(_FLOAT[name](*args))
    return wrap(_INTEGER[name](*args))


_SAME: dict[str, Callable[..., Number]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "min": lambda a, b: b if b < a else a,
    "max": lambda a, b: b if a < b else a,
    "select": lambda a, b, c: b if a else c,
}


def _divide(a: float, b: float) -> float:
    if b != 0 or math.isnan(a) or math.isnan(b):
        return a / b if b != 0 else math.nan
    return (
        math.nan if a == 0 else math.copysign(math.inf, math.copysign(1, a) * math.copysign(1, b))
    )


def fused_multiply_add(a: float, b: float, c: float) -> float:
    """a * b + c for f32 values, rounded to f32 once.

    The product of two f32 is exact in a double; the sum is rounded to odd there (Boldo and
    Melquiond 2008), after which rounding to f32 is as if there had been no first rounding.
    """
    p = a * b
    s = p + c
    if not math.isfinite(s):
        return s
    z = s - p
    error = (p - (s - z)) + (c - z)  # Knuth's two-sum: p + c == s + error
    if error and not struct.unpack("<q", struct.pack("<d", s))[0] & 1:
        s = math.nextafter(s, math.copysign(math.inf, error))
    return s


_FLOAT: dict[str, Callable[..., float]] = {
    "div": _divide,
    "fma": fused_multiply_add,
    "abs": abs,
    "sqrt": lambda a: math.nan if a < 0 else math.sqrt(a),
    "floor": lambda a: math.copysign(math.floor(a), a) if math.isfinite(a) else a,
    "round": lambda a: math.copysign(round(a), a) if math.isfinite(a) else a,
    "to_f32": float,
    "as_f32": lambda a: struct.unpack("<f", struct.pack("<i", a))[0],
}


def _bits(a: float) -> int:
    bits: int = struct.unpack("<i", struct.pack("<f", a))[0]
    return bits


def _to_i32(a: float) -> int:
    return 0 if math.isnan(a) else int(max(-2147483648.0, min(2147483647.0, a)))


def _dot4(a: int, b: int, c: int) -> int:
    signed, small = struct.pack("<i", a), struct.pack("<i", b)
    if any(byte > 127 for byte in small):
        raise KernelError(f"dot4: {list(small)} is not in 0..127")
    total: int = sum(x * y for x, y in zip(struct.unpack("<4b", signed), small, strict=True))
    return c + total


def _dot2(a: int, b: int, c: int) -> int:
    first, second = (struct.unpack("<2h", struct.pack("<i", x)) for x in (a, b))
    total: int = sum(x * y for x, y in zip(first, second, strict=True))
    return c + total


_INTEGER: dict[str, Callable[..., int]] = {
    "quo": lambda a, b: a // b,
    "rem": lambda a, b: a % b,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "shl": lambda a, b: a << (b & 31),
    "shr": lambda a, b: (a & 0xFFFFFFFF) >> (b & 31),
    "sar": lambda a, b: a >> (b & 31),
    "popcount": lambda a: (a & 0xFFFFFFFF).bit_count(),
    "lt": lambda a, b: int(a < b),
    "le": lambda a, b: int(a <= b),
    "eq": lambda a, b: int(a == b),
    "to_i32": _to_i32,
    "as_i32": _bits,
    "dot4": _dot4,
    "dot2": _dot2,
}
