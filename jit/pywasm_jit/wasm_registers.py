"""Register arrays as locals of a WebAssembly function: scalars, or four neighbours to a vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Literal

from pywasm_jit.ir import (
    Expr,
    For,
    Get,
    If,
    Kernel,
    KernelError,
    Op,
    Register,
    Set,
    Stmt,
    Store,
    Var,
    loops,
)
from pywasm_jit.poly import Poly
from pywasm_jit.wasm_emit import Locals
from pywasm_jit.wasm_values import Values

LANE = "~"  # in a polynomial: the number of the lane, 0 to 3


@dataclass
class _Place:
    """Where a register array lives. vector: four neighbours of the last axis share a local; halves:
    two locals, as `Values.add_dots` keeps sums of dot products where there is no relaxed dot; lane:
    declared inside a vector loop, one value an element and lane."""

    how: Literal["scalar", "vector", "halves", "lane"]
    locals: list[int]
    versions: list[int] = field(default_factory=list)


class Registers:
    """Indexes are polynomials, constant but for LANE in the last axis."""

    def __init__(self, kernel: Kernel, locals_: Locals, relaxed: bool) -> None:
        self._locals = locals_
        self._lanes = _lane_registers(kernel)
        self._dots: set[str] = set() if relaxed else _dot_registers(kernel.body)
        self._places: dict[str, _Place] = {}
        self._versions = 0

    def declare(self, register: Register, in_lanes: bool) -> None:
        """`in_lanes`: inside a vector loop."""
        size = prod(register.shape)
        if in_lanes:
            place = _Place("lane", [])
        elif register.name in self._lanes:
            if register.shape[-1] % 4:
                raise KernelError(f"register {register.name}: its last axis is not a multiple of 4")
            halves = register.name in self._dots
            place = _Place("halves" if halves else "vector", [])
            size //= 2 if halves else 4
        else:
            place = _Place("scalar", [])
        before = self._places.get(register.name)  # an unrolled body declares it again and again
        kind = register.value if place.how == "scalar" else "v128"
        place.locals = before.locals if before else [self._locals.fresh(kind) for _ in range(size)]
        place.versions = [self._version() for _ in place.locals]
        self._places[register.name] = place

    def get(self, values: Values, register: Register, index: Sequence[Poly]) -> int:
        place, flat, lanes = self._element(register, index)
        if place.how in ("vector", "halves"):
            vector = self._vector(values, place, flat // 4)
            return vector if lanes else values.lane(vector, register.value, flat % 4)
        if lanes:
            raise KernelError(f"register {register.name} is read by lanes but not set by them")
        kind = "v128" if place.how == "lane" else register.value
        return values.local(kind, place.locals[flat], place.versions[flat])

    def set(self, values: Values, register: Register, index: Sequence[Poly], node: int) -> None:
        place, flat, lanes = self._element(register, index)
        if not lanes and place.how != "lane" and values.kind(node) == "v128":
            raise KernelError(f"register {register.name}: every lane sets one element")
        if place.how in ("scalar", "lane"):
            node = node if place.how == "scalar" else values.splat(node)
            self._set_local(values, place, flat, node)
            return
        number = flat // 4
        if not lanes:
            node = values.with_lane(self._vector(values, place, number), flat % 4, node)
        if place.how == "vector":
            self._set_local(values, place, number, values.splat(node))
        else:
            self._set_halves(values, place, number, values.halves(node))

    def dots(
        self, register: Register, index: Sequence[Expr], expr: Expr
    ) -> list[tuple[Expr, Expr]]:
        """[(a, b), ...] where setting the element to `expr` is to add dot4(a, b) ... to halves."""
        return _dots(register, index, expr) if register.name in self._dots else []

    def add_dots(
        self,
        values: Values,
        register: Register,
        index: Sequence[Poly],
        dots: Sequence[tuple[int, int]],
    ) -> None:
        """Adds dot4(a, b) of each of `dots` to the element, which runs over the lanes or not."""
        place, flat, lanes = self._element(register, index)
        if place.how != "halves" or not lanes:
            node = self.get(values, register, index)
            for a, b in dots:
                node = values.op("dot4", "i32", [a, b, node])
            self.set(values, register, index, node)
            return
        halves = self._halves(values, place, flat // 4)
        for a, b in dots:
            halves = values.add_dots(a, b, halves)
        self._set_halves(values, place, flat // 4, halves)

    def _element(self, register: Register, index: Sequence[Poly]) -> tuple[_Place, int, bool]:
        """(place, number of the element, whether the index runs over the lanes)"""
        place = self._places.get(register.name)
        if place is None:
            raise KernelError(f"register {register.name} is used outside of its scope")
        flat, lanes = 0, False
        for axis, (part, n) in enumerate(zip(index, register.shape, strict=True)):
            at = dict(part)
            if at.get((LANE,)) == 1 and axis == len(index) - 1:
                lanes = True
                del at[(LANE,)]
            if set(at) - {()}:
                raise KernelError(
                    f"register {register.name} is indexed by a running loop; unroll it"
                )
            if not 0 <= at.get((), 0) < n:
                raise KernelError(f"register {register.name}: index {at.get((), 0)} of {n}")
            flat = flat * n + at.get((), 0)
        return place, flat, lanes

    def _vector(self, values: Values, place: _Place, number: int) -> int:
        """Elements 4 * number to 4 * number + 3."""
        if place.how == "halves":
            return values.joined(self._halves(values, place, number))
        return values.local("v128", place.locals[number], place.versions[number])

    def _halves(self, values: Values, place: _Place, number: int) -> tuple[int, int]:
        first, second = (
            values.local("v128", place.locals[at], place.versions[at])
            for at in (2 * number, 2 * number + 1)
        )
        return first, second

    def _set_halves(
        self, values: Values, place: _Place, number: int, halves: tuple[int, int]
    ) -> None:
        for half, node in enumerate(halves):
            self._set_local(values, place, 2 * number + half, node)

    def _set_local(self, values: Values, place: _Place, number: int, node: int) -> None:
        values.set_local(place.locals[number], node)
        place.versions[number] = self._version()

    def _version(self) -> int:
        self._versions += 1
        return self._versions


def _dots(register: Register, index: Sequence[Expr], expr: Expr) -> list[tuple[Expr, Expr]]:
    """[(a, b), ...] where `expr` is the element of the register with dot4(a, b) ... added to it."""
    found = []
    while isinstance(expr, Op) and expr.name == "dot4":
        found.append((expr.args[0], expr.args[1]))
        expr = expr.args[2]
    return found if expr == Get(register, tuple(index)) else []


def _dot_registers(body: Sequence[Stmt]) -> set[str]:
    """Registers that sum dot products."""
    found: set[str] = set()
    for stmt in body:
        match stmt:
            case Set(register, index, expr) if _dots(register, index, expr):
                found.add(register.name)
            case For(body=inside) | If(body=inside):
                found |= _dot_registers(inside)
    return found


def _lane_registers(kernel: Kernel) -> set[str]:
    """Registers whose last index runs over the lanes of some vector loop."""
    found: set[str] = set()
    for loop in loops(kernel.body):
        if loop.mapping == "vector":
            _collect(loop.body, loop.var, found)
    return found


def _collect(body: Sequence[Stmt], variable: str, found: set[str]) -> None:
    for stmt in body:
        match stmt:
            case Set(register, index, expr):
                if index and _mentions(index[-1], variable):
                    found.add(register.name)
                _collect_reads(expr, variable, found, set())
            case Store(_, _, expr):
                _collect_reads(expr, variable, found, set())
            case For(body=inside) | If(body=inside):
                _collect(inside, variable, found)


def _collect_reads(expr: Expr, variable: str, found: set[str], seen: set[int]) -> None:
    match expr:
        case Get(register, index) if index and _mentions(index[-1], variable):
            found.add(register.name)
        case Op(_, args) if id(expr) not in seen:
            seen.add(id(expr))
            for arg in args:
                _collect_reads(arg, variable, found, seen)


def _mentions(expr: Expr, variable: str) -> bool:
    match expr:
        case Var(name):
            return name == variable
        case Op(_, args):
            return any(_mentions(arg, variable) for arg in args)
    return False
