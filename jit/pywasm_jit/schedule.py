"""Schedules: rewritings of a kernel's loops that change its speed and not one bit of its result.

All of them are legal by the two kinds of loop (ir.py): iterations of a parallel loop may be
regrouped, reordered and interleaved with anything of their own; a serial loop keeps its order. So
there is nothing to analyse, and nothing here can change a numeric class.

A schedule is the list of its steps, which is JSON: what tuning stores and a site ships. A step
names a loop; `*` in a name stands for nothing or for a dot and anything: "i*.i" is "i.i" and
"i.t2.i".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

from pywasm_jit.ir import (
    Declare,
    Expr,
    For,
    If,
    Int,
    Kernel,
    KernelError,
    Mapping,
    Register,
    Set,
    Stmt,
    Store,
    Var,
    loops,
    op,
)
from pywasm_jit.rewrite import expanded, renamed, substitute, variables

Step = list[Any]
_BINDINGS = ("grid", "workgroup.x", "workgroup.y", "local.x")


class Schedule:
    """A kernel being scheduled. Methods return self; `steps` replays what was done."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.steps: list[Step] = []

    def kernel(self) -> Kernel:
        return self._kernel

    def block(self, loop: str, size: int) -> Schedule:
        """Pieces of `size` iterations, the last one shorter: {loop}.b over pieces, then {loop}."""
        self.steps.append(["block", loop, size])

        def change(found: For) -> tuple[Stmt, ...]:
            outer = f"{found.var}.b"
            start = found.begin + Var(outer) * size
            end = op("min", found.end, start + size)
            pieces = (found.end - found.begin + (size - 1)) // size
            return (
                For(outer, Int(0), pieces, (replace(found, begin=start, end=end),), found.parallel),
            )

        return self._change(loop, change)

    def split(
        self,
        loop: str,
        factor: int,
        tails: Sequence[int] = (),
        back: int = 0,
        whole: Sequence[int] = (),
    ) -> Schedule:
        """{loop}.o over whole groups of `factor`, {loop}.i within one.

        What is left over runs in groups of each of `tails` in turn, then one by one: loops
        {loop}.t4.o, {loop}.t4.i, {loop}.t1 around copies of the body, in which x is called
        x.{loop}.t4, x.{loop}.t1. Where 1 to `back` iterations would be left, one group fewer is
        made: 8 rows are better two tiles of 4 than one of 6 and one of 2. Before `tails` come the
        sizes of `whole`, each used only where just as many are left: {loop}.w5.o, {loop}.w5.i.
        """
        arguments: list[Any] = [loop, factor, list(tails), back, list(whole)]
        while arguments[-1] in (0, []) and len(arguments) > 3:
            arguments.pop()
        self.steps.append(["split", *arguments])
        return self._change(loop, lambda found: _split(found, factor, tails, back, whole))

    def reorder(self, outer: str, inner: str) -> Schedule:
        """Swap two parallel loops, one of which is all there is in the other."""
        self.steps.append(["reorder", outer, inner])

        def change(found: For) -> tuple[Stmt, ...]:
            inside = _nested(found, inner)
            return (replace(inside, body=(replace(found, body=inside.body),)),)

        return self._change(outer, change)

    def fuse(self, outer: str, inner: str) -> Schedule:
        """Two parallel loops, one of which is all there is in the other, as one: {outer}+{inner}.

        The old variables become loops of one iteration, which a renderer makes plain values.
        """
        self.steps.append(["fuse", outer, inner])

        def change(found: For) -> tuple[Stmt, ...]:
            inside = _nested(found, inner)
            if found.begin != Int(0) or inside.begin != Int(0):
                raise KernelError(f"fuse: {outer} and {inner} must begin at 0")
            both = f"{found.var}+{inside.var}"
            first, second = Var(both) // inside.end, Var(both) % inside.end
            body = replace(inside, begin=second, end=second + 1)
            body = replace(found, begin=first, end=first + 1, body=(body,))
            return (For(both, Int(0), found.end * inside.end, (body,), True),)

        return self._change(outer, change)

    def jam(self, loop: str) -> Schedule:
        """Push a parallel loop of constant length into the serial loops of its body.

        Registers declared in it become arrays with one more axis in front. This makes a register
        tile: the rows of a matrix product, one after another at first, then share each step of
        the reduction.
        """
        self.steps.append(["jam", loop])
        return self._change(loop, _jam)

    def unroll(self, loop: str) -> Schedule:
        self.steps.append(["unroll", loop])
        return self._map(loop, "unroll")

    def vectorise(self, loop: str) -> Schedule:
        """Iterations as lanes: parallel, a constant multiple of 4 of them."""
        self.steps.append(["vectorise", loop])

        def check(found: For) -> None:
            length = _length(found)
            if not found.parallel or length is None or length % 4:
                raise KernelError(f"vectorise: {found.var} is not parallel with 4n iterations")

        return self._map(loop, "vector", check)

    def bind(self, loop: str, axis: str) -> Schedule:
        """Give a parallel loop to threads: "grid" in Wasm, the other axes on a GPU."""
        self.steps.append(["bind", loop, axis])
        if axis not in _BINDINGS:
            raise KernelError(f"bind: {axis} is none of {', '.join(_BINDINGS)}")

        def check(found: For) -> None:
            if not found.parallel:
                raise KernelError(f"bind: {found.var} is serial")

        return self._map(loop, cast(Mapping, axis), check)

    def _map(
        self, loop: str, mapping: Mapping, check: Callable[[For], None] = lambda found: None
    ) -> Schedule:
        def change(found: For) -> tuple[Stmt, ...]:
            check(found)
            return (replace(found, mapping=mapping),)

        return self._change(loop, change)

    def _change(self, loop: str, change: Callable[[For], tuple[Stmt, ...]]) -> Schedule:
        """Apply to every loop the name stands for; outer ones first, and not within the result."""
        pattern = re.compile(re.escape(loop).replace(r"\*", r"(\..+)?"))
        before = [found.var for found in loops(self._kernel.body)]
        names = [name for name in before if pattern.fullmatch(name)]
        if not names:
            raise KernelError(f"{self._kernel.name}: no loop {loop}; there are {', '.join(before)}")
        for name in names:
            self._kernel = self._kernel.with_body(_at(self._kernel.body, name, change))
        after = [found.var for found in loops(self._kernel.body)]
        if len(set(after)) != len(after):
            twice = sorted({name for name in after if after.count(name) > 1})
            raise KernelError(f"{self._kernel.name}: two loops are called {', '.join(twice)}")
        return self


def apply(kernel: Kernel, steps: Sequence[Step]) -> Kernel:
    """Replay the steps of a schedule. Raises KernelError for steps that are none."""
    schedule = Schedule(kernel)
    methods = ("block", "split", "reorder", "fuse", "jam", "unroll", "vectorise", "bind")
    for step in steps:
        if not isinstance(step, list) or not step or step[0] not in methods:
            raise KernelError(f"{step!r} is no step of a schedule")
        try:
            getattr(schedule, step[0])(*step[1:])
        except TypeError:
            raise KernelError(f"{step!r}: wrong arguments") from None
    return schedule.kernel()


def _at(
    body: tuple[Stmt, ...], name: str, change: Callable[[For], tuple[Stmt, ...]]
) -> tuple[Stmt, ...]:
    """`body` with the loop of that name changed; the same object where it has none."""
    for place, stmt in enumerate(body):
        if isinstance(stmt, For) and stmt.var == name:
            return (*body[:place], *change(stmt), *body[place + 1 :])
        if isinstance(stmt, For | If):
            inside = _at(stmt.body, name, change)
            if inside is not stmt.body:
                return (*body[:place], replace(stmt, body=inside), *body[place + 1 :])
    return body


def _length(loop: For) -> int | None:
    """The number of iterations where it is constant."""
    length = op("sub", loop.end, loop.begin)
    if isinstance(length, Int):
        return length.number
    return None


def _nested(outer: For, inner: str) -> For:
    inside = outer.body[0]
    if len(outer.body) != 1 or not isinstance(inside, For) or inside.var != inner:
        raise KernelError(f"{inner} is not all there is in {outer.var}")
    if not outer.parallel or not inside.parallel:
        raise KernelError(f"{outer.var} and {inner} are not both parallel")
    if outer.var in variables(inside.begin) | variables(inside.end):
        raise KernelError(f"the bounds of {inner} depend on {outer.var}")
    return inside


def _split(
    loop: For, factor: int, tails: Sequence[int], back: int, whole: Sequence[int]
) -> tuple[Stmt, ...]:
    if min(factor, *tails, *whole, 1) < 1 or not 0 <= back < factor:
        raise KernelError(f"split {loop.var}: factors are positive, back is less than the factor")
    # The beginning of what is left has a name, {loop}.t4.from, inside of which it is worked on:
    # addresses are folded around names, not around quotients.
    levels: list[tuple[str, Expr, list[Stmt]]] = [("", loop.begin, [])]
    begin: Expr = loop.begin
    for number, size in enumerate((factor, *whole, *tails, 1)):
        exactly = 0 < number <= len(whole)
        left = _length(replace(loop, begin=begin))
        if left is not None and (left < size or (exactly and left != size)):
            continue
        name = f"{loop.var}.{'w' if exactly else 't'}{size}" if number else loop.var
        body = renamed(loop.body, f".{name}") if number else loop.body
        if number and size > 1 and not isinstance(begin, Int | Var):
            levels.append((f"{name}.from", begin, []))
            begin = Var(f"{name}.from")
        out = levels[-1][2]
        if size == 1 and number:
            one = substitute(body, loop.var, Var(name))
            out.append(replace(loop, var=name, begin=begin, body=one))
            break
        groups = (loop.end - begin) // size
        if number == 0 and back:
            groups = _groups(loop.end - begin, size, back)
        elif exactly and left is None:
            groups = op("eq", loop.end - begin, size)
        at = begin + Var(f"{name}.o") * size + Var(f"{name}.i")
        inner = For(f"{name}.i", Int(0), Int(size), substitute(body, loop.var, at), loop.parallel)
        out.append(For(f"{name}.o", Int(0), groups, (inner,), loop.parallel))
        begin = begin + groups * size
        if begin == loop.end:
            break
    while len(levels) > 1:
        name, begin, inside = levels.pop()
        levels[-1][2].append(For(name, begin, begin + 1, tuple(inside), True))
    return tuple(levels[0][2])


def _groups(length: Expr, size: int, back: int) -> Expr:
    """length // size, less one (if there is one) where 1 to `back` would be left."""
    fewer = length // size - (length + (size - 1)) // size + (length + (size - 1 - back)) // size
    return op("max", fewer, 0)


def _jam(loop: For) -> tuple[Stmt, ...]:
    length = _length(loop)
    if not loop.parallel or length is None or loop.begin != Int(0):
        raise KernelError(f"jam: {loop.var} is not parallel, from 0 and of constant length")
    registers = _declared(loop.body)
    body = expanded(loop.body, registers, length, Var(loop.var))
    return _Jam(loop).push(body)


class _Jam:
    """Distributes a loop over statements; its copies are called {loop}, {loop}.1, {loop}.2 ..."""

    def __init__(self, loop: For) -> None:
        self._loop = loop
        self._copies = 0

    def push(self, body: Sequence[Stmt]) -> tuple[Stmt, ...]:
        out: list[Stmt] = []
        group: list[Stmt] = []
        for stmt in body:
            if isinstance(stmt, Declare):
                out.append(stmt)
            elif isinstance(stmt, For) and _has_serial(stmt):
                out += self._wrap(group)
                if self._loop.var in variables(stmt.begin) | variables(stmt.end):
                    raise KernelError(f"jam: the bounds of {stmt.var} depend on {self._loop.var}")
                out.append(replace(stmt, body=self.push(stmt.body)))
            else:
                group.append(stmt)
        return (*out, *self._wrap(group))

    def _wrap(self, group: list[Stmt]) -> list[Stmt]:
        if not group:
            return []
        name = self._loop.var + (f".{self._copies}" if self._copies else "")
        self._copies += 1
        body = substitute(group, self._loop.var, Var(name))
        group.clear()
        return [replace(self._loop, var=name, body=body)]


def _has_serial(loop: For) -> bool:
    return not loop.parallel or any(not inner.parallel for inner in loops(loop.body))


def _declared(body: Sequence[Stmt]) -> list[Register]:
    """Registers declared in `body`, but for those of loops that `jam` leaves whole."""
    found: list[Register] = []
    for stmt in body:
        match stmt:
            case Declare(register):
                found.append(register)
            case For() if _has_serial(stmt):
                found += _declared(stmt.body)
            case Set() | Store() | For() | If():
                pass
    return found
