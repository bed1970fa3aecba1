"""Writing a kernel: Python code that runs once and leaves its trace as IR.

>>> k = Builder("scale", numeric="separate")
>>> n = k.extent("n")
>>> x, y = k.input("x", F32, n), k.output("y", F32, n)
>>> with k.parallel("i", n) as i:
...     y[i] = x[i] * 2.0
>>> kernel = k.kernel()
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pywasm_jit.ir import (
    Access,
    Barrier,
    Buffer,
    Declare,
    DType,
    Expr,
    Extent,
    For,
    Get,
    If,
    Int,
    Kernel,
    KernelError,
    Load,
    Numeric,
    Operand,
    Register,
    Set,
    Space,
    Stmt,
    Store,
    Value,
    Var,
    const,
    op,
)

Index = Operand | tuple[Operand, ...]


class Builder:
    """Collects statements in the order they are written."""

    def __init__(self, name: str, numeric: Numeric) -> None:
        self._name = name
        self._numeric: Numeric = numeric
        self._extents: list[str] = []
        self._buffers: list[Buffer] = []
        self._names: set[str] = set()
        self._body: list[Stmt] = []

    def extent(self, name: str) -> Expr:
        """A size given at the call."""
        self._extents.append(self._new(name))
        return Extent(name)

    def input(self, name: str, dtype: DType, *shape: Operand) -> Array:
        return self._buffer(name, dtype, shape, "read", "global")

    def output(self, name: str, dtype: DType, *shape: Operand) -> Array:
        return self._buffer(name, dtype, shape, "write", "global")

    def inout(self, name: str, dtype: DType, *shape: Operand) -> Array:
        return self._buffer(name, dtype, shape, "readwrite", "global")

    def scratch(self, name: str, dtype: DType, *shape: int) -> Array:
        """Memory of this thread alone."""
        return self._buffer(name, dtype, shape, "readwrite", "scratch")

    def workgroup(self, name: str, dtype: DType, *shape: int) -> Array:
        """Memory that the threads of a workgroup share."""
        return self._buffer(name, dtype, shape, "readwrite", "workgroup")

    @contextmanager
    def parallel(self, name: str, end: Operand, begin: Operand = 0) -> Iterator[Expr]:
        """A loop whose iterations are independent of one another."""
        with self._loop(name, begin, end, True) as var:
            yield var

    @contextmanager
    def serial(self, name: str, end: Operand, begin: Operand = 0) -> Iterator[Expr]:
        """A loop that runs in order: reductions."""
        with self._loop(name, begin, end, False) as var:
            yield var

    @contextmanager
    def let(self, name: str, value: Operand) -> Iterator[Expr]:
        """A name for an i32: a loop of one iteration, which addresses can be folded around.

        Write `with k.let("batch", row // seq) as batch:` where an index needs a quotient.
        """
        begin = const(value, "i32")
        with self._loop(name, begin, begin + 1, True) as var:
            yield var

    @contextmanager
    def when(self, condition: Expr) -> Iterator[None]:
        outside, self._body = self._body, []
        yield
        inside, self._body = self._body, outside
        self._body.append(If(condition, tuple(inside)))

    def register(self, name: str, value: Value, *shape: int, init: Operand | None = None) -> Cell:
        """A register array from here on; `init` sets a single value (shape ())."""
        register = Register(self._new(name), value, shape)
        self._body.append(Declare(register))
        cell = Cell(self, register)
        if init is not None:
            cell[()] = init
        return cell

    def barrier(self) -> None:
        self._body.append(Barrier())

    def mac(self, a: Operand, b: Operand, c: Operand) -> Expr:
        """a * b + c (f32) in the kernel's numeric class."""
        if self._numeric == "fused":
            return op("fma", a, b, c)
        return op("add", op("mul", const(a, "f32"), b), c)

    def kernel(self) -> Kernel:
        return Kernel(
            self._name, tuple(self._extents), tuple(self._buffers), tuple(self._body), self._numeric
        )

    def emit(self, stmt: Stmt) -> None:
        self._body.append(stmt)

    @contextmanager
    def _loop(self, name: str, begin: Operand, end: Operand, parallel: bool) -> Iterator[Expr]:
        var = Var(self._new(name))
        outside, self._body = self._body, []
        yield var
        inside, self._body = self._body, outside
        bounds = const(begin, "i32"), const(end, "i32")
        self._body.append(For(name, *bounds, tuple(inside), parallel))

    def _buffer(
        self, name: str, dtype: DType, shape: tuple[Operand, ...], access: Access, space: Space
    ) -> Array:
        sizes = tuple(const(size, "i32") for size in shape)
        if space != "global" and not all(isinstance(size, Int) for size in sizes):
            raise KernelError(f"{self._name}: {space} buffer {name} needs a constant shape")
        buffer = Buffer(self._new(name), dtype, sizes, access, space)
        self._buffers.append(buffer)
        return Array(self, buffer)

    def _new(self, name: str) -> str:
        """Loops, buffers, registers and extents share one space of names."""
        if name in self._names:
            raise KernelError(f"{self._name}: the name {name} is used twice")
        self._names.add(name)
        return name


class Array:
    """A buffer that is indexed: reading gives an expression, assigning a Store."""

    def __init__(self, builder: Builder, buffer: Buffer) -> None:
        self._builder = builder
        self.buffer = buffer

    def __getitem__(self, index: Index) -> Expr:
        return Load(self.buffer, _index(self.buffer.name, index, len(self.buffer.shape)))

    def __setitem__(self, index: Index, expr: Operand) -> None:
        if self.buffer.access == "read":
            raise KernelError(f"{self.buffer.name} is an input and can't be written")
        place = _index(self.buffer.name, index, len(self.buffer.shape))
        self._builder.emit(Store(self.buffer, place, _typed(expr, self.buffer.dtype.value)))


class Cell:
    """A register array that is indexed; `cell[()]` is the one value of shape ()."""

    def __init__(self, builder: Builder, register: Register) -> None:
        self._builder = builder
        self.register = register

    def __getitem__(self, index: Index) -> Expr:
        return Get(self.register, _index(self.register.name, index, len(self.register.shape)))

    def __setitem__(self, index: Index, expr: Operand) -> None:
        place = _index(self.register.name, index, len(self.register.shape))
        self._builder.emit(Set(self.register, place, _typed(expr, self.register.value)))


def _index(name: str, index: Index, dimensions: int) -> tuple[Expr, ...]:
    parts = index if isinstance(index, tuple) else (index,)
    if len(parts) != dimensions:
        raise KernelError(f"{name} has {dimensions} dimensions, {len(parts)} indexes given")
    return tuple(_typed(part, "i32") for part in parts)


def _typed(operand: Operand, value: Value) -> Expr:
    expr = const(operand, value)
    if expr.value != value:
        raise KernelError(f"{expr!r} is {expr.value}, expected {value}")
    return expr
