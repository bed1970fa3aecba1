"""The kernel IR: a loop nest over typed buffers, small enough to read in one sitting.

A kernel is a tuple of statements. Values are 32 bits wide, f32 or i32; narrower and packed types
exist in memory only (`DType.value` is what a load gives and a store takes), so that four lanes of
a 128-bit vector are always four values. `interpret.py` is the definition of what it all means;
`schedule.py` rewrites it; `wasm.py` and `wgsl.py` render it.

Two kinds of loop make rewriting safe by construction: the iterations of a *parallel* loop are
independent and may run in any order, together, or on several threads; those of a *serial* loop
run in order. A reduction is a serial loop over a register, so no schedule can change the order
of its additions: together with fused or separate multiply-add (`Kernel.numeric`) that is the
kernel's *numeric class* (DESIGN.md section 4).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

Value = Literal["f32", "i32"]


class KernelError(ValueError):
    """A kernel that means nothing, or that a renderer or schedule can't take: which and why."""


@dataclass(frozen=True, slots=True)
class DType:
    """How an element lies in memory: `bytes` wide; loads give and stores take a `value`.

    `finite`: no element is infinite or NaN, which makes f16 cheap. Bits that would be are numbers
    of 2**16 to 131008 (Arm's alternative half precision); a store keeps to -65504 to 65504.
    """

    name: str
    bytes: int
    value: Value
    finite: bool = False

    @property
    def key(self) -> str:
        """What tables of instructions call it."""
        return f"finite {self.name}" if self.finite else self.name


F32 = DType("f32", 4, "f32")
F16 = DType("f16", 2, "f32")  # IEEE half, storage only
F16_FINITE = DType("f16", 2, "f32", finite=True)
I32 = DType("i32", 4, "i32")
I8 = DType("i8", 1, "i32")  # sign-extended by a load; a store keeps the low byte
U8 = DType("u8", 1, "i32")
I8X4 = DType("i8x4", 4, "i32")  # four bytes, the first in the lowest bits: what dot4 takes
DTYPES = {dtype.name: dtype for dtype in (F32, F16, I32, I8, U8, I8X4)}


class Expr:
    """A value. Arithmetic operators build `Op`s; Python numbers become constants."""

    __slots__ = ()

    @property
    def value(self) -> Value:
        raise NotImplementedError

    def __add__(self, other: Operand) -> Expr:
        return op("add", self, other)

    def __radd__(self, other: Operand) -> Expr:
        return op("add", other, self)

    def __sub__(self, other: Operand) -> Expr:
        return op("sub", self, other)

    def __rsub__(self, other: Operand) -> Expr:
        return op("sub", other, self)

    def __mul__(self, other: Operand) -> Expr:
        return op("mul", self, other)

    def __rmul__(self, other: Operand) -> Expr:
        return op("mul", other, self)

    def __truediv__(self, other: Operand) -> Expr:
        return op("div", self, other)

    def __rtruediv__(self, other: Operand) -> Expr:
        return op("div", other, self)

    def __floordiv__(self, other: Operand) -> Expr:
        return op("quo", self, other)

    def __mod__(self, other: Operand) -> Expr:
        return op("rem", self, other)

    def __neg__(self) -> Expr:
        return op("sub", 0 if self.value == "i32" else 0.0, self)

    def __and__(self, other: Operand) -> Expr:
        return op("and", self, other)

    def __or__(self, other: Operand) -> Expr:
        return op("or", self, other)

    def __xor__(self, other: Operand) -> Expr:
        return op("xor", self, other)

    def __lshift__(self, other: Operand) -> Expr:
        return op("shl", self, other)

    def __rshift__(self, other: Operand) -> Expr:
        return op("shr", self, other)

    def __lt__(self, other: Operand) -> Expr:
        return op("lt", self, other)

    def __le__(self, other: Operand) -> Expr:
        return op("le", self, other)


Operand = Expr | int | float


@dataclass(frozen=True, slots=True)
class Int(Expr):
    """An i32 constant."""

    number: int

    @property
    def value(self) -> Value:
        return "i32"


@dataclass(frozen=True, slots=True)
class Float(Expr):
    """An f32 constant, already rounded to f32."""

    number: float

    @property
    def value(self) -> Value:
        return "f32"


@dataclass(frozen=True, slots=True)
class Var(Expr):
    """The variable of the loop of that name."""

    name: str

    @property
    def value(self) -> Value:
        return "i32"


@dataclass(frozen=True, slots=True)
class Extent(Expr):
    """A size given when the kernel is called, such as the number of rows; not negative."""

    name: str

    @property
    def value(self) -> Value:
        return "i32"


@dataclass(frozen=True, slots=True)
class Load(Expr):
    """An element of a buffer, one index a dimension."""

    buffer: Buffer
    index: tuple[Expr, ...]

    @property
    def value(self) -> Value:
        return self.buffer.dtype.value


@dataclass(frozen=True, slots=True)
class Get(Expr):
    """An element of a register array. Reading what was never set is an error."""

    register: Register
    index: tuple[Expr, ...]

    @property
    def value(self) -> Value:
        return self.register.value


@dataclass(frozen=True, slots=True)
class Op(Expr):
    """One of `OPS` applied to values."""

    name: str
    args: tuple[Expr, ...]

    @property
    def value(self) -> Value:
        result = OPS[self.name].result
        return self.args[-1].value if result == "same" else result


@dataclass(frozen=True, slots=True)
class Spec:
    """Types of an operation: "f32", "i32" (also for truth), "same" as the other "same" ones."""

    args: tuple[str, ...]
    result: Literal["f32", "i32", "same"]
    meaning: str


_F, _I, _S = "f32", "i32", "same"
OPS: dict[str, Spec] = {
    # f32 arithmetic is IEEE, rounded to nearest even at every operation; i32 wraps.
    "add": Spec((_S, _S), "same", "a + b"),
    "sub": Spec((_S, _S), "same", "a - b"),
    "mul": Spec((_S, _S), "same", "a * b"),
    "div": Spec((_F, _F), "f32", "a / b"),
    "min": Spec((_S, _S), "same", "b if b < a else a (Wasm's pmin)"),
    "max": Spec((_S, _S), "same", "b if a < b else a (Wasm's pmax)"),
    "fma": Spec((_F, _F, _F), "f32", "a * b + c, rounded once"),
    "abs": Spec((_F,), "f32", "|a|"),
    "sqrt": Spec((_F,), "f32", "square root, correctly rounded"),
    "floor": Spec((_F,), "f32", "largest integer not above"),
    "round": Spec((_F,), "f32", "nearest integer, ties to even"),
    "quo": Spec((_I, _I), "i32", "a // b for a >= 0, b > 0"),
    "rem": Spec((_I, _I), "i32", "a % b for a >= 0, b > 0"),
    "and": Spec((_I, _I), "i32", "bitwise"),
    "or": Spec((_I, _I), "i32", "bitwise"),
    "xor": Spec((_I, _I), "i32", "bitwise"),
    "shl": Spec((_I, _I), "i32", "a << (b & 31)"),
    "shr": Spec((_I, _I), "i32", "a >> (b & 31), zeros come in"),
    "sar": Spec((_I, _I), "i32", "a >> (b & 31), the sign comes in"),
    "popcount": Spec((_I,), "i32", "number of ones"),
    "lt": Spec((_S, _S), "i32", "1 if a < b else 0"),
    "le": Spec((_S, _S), "i32", "1 if a <= b else 0"),
    "eq": Spec((_S, _S), "i32", "1 if a == b else 0"),
    "select": Spec((_I, _S, _S), "same", "b if a is not 0 else c; both are evaluated"),
    "to_f32": Spec((_I,), "f32", "the nearest f32, signed"),
    "to_i32": Spec((_F,), "i32", "towards zero, saturating, NaN gives 0"),
    "as_f32": Spec((_I,), "f32", "the same bits"),
    "as_i32": Spec((_F,), "i32", "the same bits"),
    # a: four signed bytes; b: four bytes of 0..127 (what relaxed SIMD's dot needs to be exact).
    "dot4": Spec((_I, _I, _I), "i32", "c + sum of a[i] * b[i]"),
    "dot2": Spec((_I, _I, _I), "i32", "c + sum of a[i] * b[i], two signed halves of 16 bits"),
}


def f32(number: float) -> float:
    """`number` rounded to f32; too large gives infinity."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", number))[0])
    except OverflowError:
        return math.copysign(math.inf, number)


def wrap(number: int) -> int:
    """`number` as the i32 of its low 32 bits."""
    return (number + 0x80000000 & 0xFFFFFFFF) - 0x80000000


def const(operand: Operand, value: Value) -> Expr:
    """`operand` as an expression; a Python number becomes a constant of type `value`."""
    if isinstance(operand, Expr):
        return operand
    if value == "f32":
        return Float(f32(operand))
    if not isinstance(operand, int):
        raise KernelError(f"{operand!r} where an i32 is expected")
    return Int(operand)


def op(name: str, *operands: Operand) -> Expr:
    """An `Op`, its types checked; constant integers are folded, so that indexes stay readable."""
    spec = OPS.get(name)
    if spec is None:
        raise KernelError(f"no operation {name!r}; there are {', '.join(OPS)}")
    if len(operands) != len(spec.args):
        raise KernelError(f"{name} takes {len(spec.args)} values, not {len(operands)}")
    same: Value = "i32"
    for operand, kind in zip(operands, spec.args, strict=True):
        if kind == "same":
            if isinstance(operand, Expr):
                same = operand.value
                break
            if isinstance(operand, float):
                same = "f32"
    args = []
    for operand, kind in zip(operands, spec.args, strict=True):
        wanted: Value = same if kind == "same" else "f32" if kind == "f32" else "i32"
        arg = const(operand, wanted)
        if arg.value != wanted:
            raise KernelError(f"{name}: {arg!r} is {arg.value}, expected {wanted}")
        args.append(arg)
    return _fold(name, args) or Op(name, tuple(args))


def _fold(name: str, args: list[Expr]) -> Expr | None:
    """What indexes are made of: sums and products of i32, when a side is constant."""
    if len(args) != 2 or args[0].value != "i32":
        return None
    a, b = args
    if isinstance(a, Int) and isinstance(b, Int):
        x, y = a.number, b.number
        if name in ("quo", "rem"):
            return None if y <= 0 or x < 0 else Int(x // y if name == "quo" else x % y)
        if name in ("min", "max"):
            return Int(min(x, y) if name == "min" else max(x, y))
        if name in ("add", "sub", "mul"):
            return Int(wrap(x + y if name == "add" else x - y if name == "sub" else x * y))
        return None
    if name == "add" and a == Int(0):
        return b
    if name in ("add", "sub", "shl", "shr", "sar") and b == Int(0):
        return a
    if name == "mul":
        if Int(0) in args:
            return Int(0)
        if a == Int(1):
            return b
    if name in ("mul", "quo") and b == Int(1):
        return a
    return None


Space = Literal["global", "workgroup", "scratch"]
Access = Literal["read", "write", "readwrite"]


@dataclass(frozen=True, slots=True)
class Buffer:
    """Memory of `shape` elements, row-major.

    global: given by the caller. workgroup: shared by a workgroup's threads, constant shape.
    scratch: of one thread, constant shape; its content is undefined at the start of every grid
    iteration (Wasm gets an address for it, WGSL a private array, or workgroup memory where the
    iteration is a workgroup's).
    """

    name: str
    dtype: DType
    shape: tuple[Expr, ...]
    access: Access = "read"
    space: Space = "global"


@dataclass(frozen=True, slots=True)
class Register:
    """An array of values of constant shape that lives in registers; () is a single value."""

    name: str
    value: Value
    shape: tuple[int, ...] = ()


Mapping = Literal[
    "loop", "unroll", "vector", "grid", "workgroup.x", "workgroup.y", "local.x", "subgroup"
]


@dataclass(frozen=True, slots=True)
class For:
    """`for var in range(begin, end)`.

    `mapping` says how a renderer runs it and changes no meaning: a loop; unrolled; as lanes of
    vectors (parallel, a constant multiple of 4 iterations); `grid`: the outermost loop,
    parallel and from 0, which threads share: a call runs its iterations in [grid_begin, grid_end);
    the rest are WebGPU's axes.
    A loop from x to x + 1 (`Builder.let`, `Schedule.fuse`) is a name for x: renderers make it one.
    """

    var: str
    begin: Expr
    end: Expr
    body: tuple[Stmt, ...]
    parallel: bool
    mapping: Mapping = "loop"


@dataclass(frozen=True, slots=True)
class Declare:
    """A register from here to the end of the enclosing body, its content undefined."""

    register: Register


@dataclass(frozen=True, slots=True)
class Set:
    """register[index] = value"""

    register: Register
    index: tuple[Expr, ...]
    expr: Expr


@dataclass(frozen=True, slots=True)
class Store:
    """buffer[index] = value"""

    buffer: Buffer
    index: tuple[Expr, ...]
    expr: Expr


@dataclass(frozen=True, slots=True)
class If:
    """Runs `body` if `condition` is not 0."""

    condition: Expr
    body: tuple[Stmt, ...]


@dataclass(frozen=True, slots=True)
class Barrier:
    """Every thread of the workgroup arrives before one goes on, and sees what all have stored."""


Stmt = For | Declare | Set | Store | If | Barrier
Numeric = Literal["fused", "separate"]


@dataclass(frozen=True, slots=True)
class Kernel:
    """A named loop nest. `numeric`: multiply-adds are fused (relaxed SIMD, GPU) or separate."""

    name: str
    extents: tuple[str, ...]
    buffers: tuple[Buffer, ...]
    body: tuple[Stmt, ...]
    numeric: Numeric = "separate"

    def buffer(self, name: str) -> Buffer:
        for buffer in self.buffers:
            if buffer.name == name:
                return buffer
        raise KernelError(f"{self.name} has no buffer {name!r}")

    def with_body(self, body: Iterable[Stmt]) -> Kernel:
        return replace(self, body=tuple(body))


def named_value(loop: For) -> Expr | None:
    """x, of a loop from x to x + 1."""
    return loop.begin if loop.end == op("add", loop.begin, 1) else None


def loops(body: Iterable[Stmt]) -> Iterator[For]:
    """Every loop, outer before inner."""
    for stmt in body:
        if isinstance(stmt, For):
            yield stmt
        if isinstance(stmt, (For, If)):
            yield from loops(stmt.body)
