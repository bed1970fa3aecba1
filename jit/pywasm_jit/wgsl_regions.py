"""What threads of a workgroup share in a kernel, and what each has for itself.

Between two local loops threads may exchange values through workgroup memory, or through a global
buffer that is both read and written; `Accesses.conflicts` says when a barrier has to come between.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pywasm_jit.ir import (
    Declare,
    Expr,
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
    Var,
    loops,
    op,
)

MOST_THREADS = 256  # maxComputeInvocationsPerWorkgroup, which every device has

Place = tuple[str, str]  # (space, name) of a buffer


@dataclass(frozen=True)
class Accesses:
    """Shared buffers that were read and written."""

    reads: frozenset[Place] = frozenset()
    writes: frozenset[Place] = frozenset()

    def __or__(self, other: Accesses) -> Accesses:
        return Accesses(self.reads | other.reads, self.writes | other.writes)

    def conflicts(self, later: Accesses) -> list[str]:
        """Spaces in which `later` reads what these wrote, or writes what these touched."""
        met = (self.writes & (later.reads | later.writes)) | (self.reads & later.writes)
        return sorted({space for space, _ in met})


class Shared:
    """Accesses of statements to the buffers that threads of a workgroup share."""

    def __init__(self, kernel: Kernel) -> None:
        self._of: dict[int, Accesses] = {}  # by identity: a kernel's statements live as long as it
        read, written = set(), set()
        for stmt in _statements(kernel.body):
            if isinstance(stmt, Store):
                written.add(stmt.buffer.name)
            read |= {load.buffer.name for load in _loads(stmt)}
        self._names = {
            buffer.name
            for buffer in kernel.buffers
            if buffer.space != "global"
            or (buffer.space == "global" and buffer.name in read & written)
        }
        self.spaces = sorted({b.space for b in kernel.buffers if b.name in self._names})

    def accesses(self, stmt: Stmt) -> Accesses:
        """Of the statement and what is inside of it."""
        found = self._of.get(id(stmt))
        if found is None:
            found = Accesses()
            for inner in _statements((stmt,)):
                found |= self.own_accesses(inner)
            self._of[id(stmt)] = found
        return found

    def meets_inside(self, stmt: Stmt) -> bool:
        """Whether there may have to be barriers within `stmt`."""
        if not isinstance(stmt, (For, If)) or (isinstance(stmt, For) and stmt.mapping == "local.x"):
            return False
        inside = self.accesses(stmt)
        local = any(isinstance(s, For) and s.mapping == "local.x" for s in _statements((stmt,)))
        return local or bool(inside.reads & inside.writes)

    def own_accesses(self, stmt: Stmt) -> Accesses:
        """Of the statement alone: a loop's bounds, a condition."""
        reads = frozenset(
            (load.buffer.space, load.buffer.name)
            for load in _loads(stmt)
            if load.buffer.name in self._names
        )
        writes = frozenset[Place]()
        if isinstance(stmt, Store) and stmt.buffer.name in self._names:
            writes = frozenset([(stmt.buffer.space, stmt.buffer.name)])
        return Accesses(reads, writes)


def local_size(kernel: Kernel) -> int:
    """Threads of a workgroup: the longest local loop."""
    size = 1
    for loop in loops(kernel.body):
        if loop.mapping == "local.x":
            if not loop.parallel:
                raise KernelError(f"loop {loop.var}: a local loop is parallel")
            if any(inner.mapping == "local.x" for inner in loops(loop.body)):
                raise KernelError(f"loop {loop.var}: a local loop in a local loop")
            size = max(size, _most(loop))
    if size > MOST_THREADS:
        raise KernelError(f"{size} threads; a workgroup has {MOST_THREADS} at most")
    return size


def _most(loop: For) -> int:
    """The most iterations of a loop; from x to min(y, x + n) it is n (`Schedule.block`)."""
    ends: Sequence[Expr] = [loop.end]
    if isinstance(loop.end, Op) and loop.end.name == "min":
        ends = loop.end.args
    for end in ends:
        match op("sub", end, loop.begin), end:
            case Int(number), _:
                return number
            case _, Op("add", (begin, Int(number))) if begin == loop.begin:
                return number
    raise KernelError(f"loop {loop.var}: a local loop has a constant number of iterations at most")


def distributed(kernel: Kernel) -> dict[str, int]:
    """Registers declared outside of local loops with an axis that only threads index, by name.

    Each thread keeps its own part of such a register. Any other register that a local loop sets
    must be declared in it: raises KernelError.
    """
    found: dict[str, int] = {}
    uses: dict[str, list[tuple[Sequence[Expr], str | None, bool]]] = {}
    declared: set[str] = set()
    _collect(kernel.body, None, uses, declared)
    for name, accesses in uses.items():
        if name not in declared or not any(local for _, local, _ in accesses):
            continue
        index, local, _ = next(access for access in accesses if access[1])
        axes = [i for i, expr in enumerate(index) if expr == Var(str(local))]
        if axes and all(local and index[axes[0]] == Var(local) for index, local, _ in accesses):
            found[name] = axes[0]
        elif any(local and is_set for _, local, is_set in accesses):
            raise KernelError(
                f"register {name}: threads set it, so one of its axes must be theirs, everywhere"
            )
    return found


def _collect(
    body: Sequence[Stmt],
    local: str | None,
    uses: dict[str, list[tuple[Sequence[Expr], str | None, bool]]],
    declared: set[str],
) -> None:
    for stmt in body:
        match stmt:
            case Declare(register) if local is None:
                declared.add(register.name)
            case For(var=var, body=inside, mapping=mapping):
                _collect(inside, var if mapping == "local.x" else local, uses, declared)
            case If(body=inside):
                _collect(inside, local, uses, declared)
            case Set(register, index, _):
                uses.setdefault(register.name, []).append((index, local, True))
        for expr in _walk(_exprs(stmt)):
            if isinstance(expr, Get):
                uses.setdefault(expr.register.name, []).append((expr.index, local, False))


def _statements(body: Iterable[Stmt]) -> Iterable[Stmt]:
    for stmt in body:
        yield stmt
        if isinstance(stmt, (For, If)):
            yield from _statements(stmt.body)


def _loads(stmt: Stmt) -> list[Load]:
    return [expr for expr in _walk(_exprs(stmt)) if isinstance(expr, Load)]


def _exprs(stmt: Stmt) -> list[Expr]:
    """The statement's own expressions, not those of its body."""
    match stmt:
        case Set(_, index, expr) | Store(_, index, expr):
            return [expr, *index]
        case If(condition, _):
            return [condition]
        case For(begin=begin, end=end):
            return [begin, end]
    return []


def _walk(exprs: list[Expr]) -> Iterable[Expr]:
    """Every node once; expressions are graphs, and as trees they may be huge."""
    waiting, seen = list(exprs), set()
    while waiting:
        expr = waiting.pop()
        if id(expr) in seen:
            continue
        seen.add(id(expr))
        yield expr
        match expr:
            case Op(_, parts) | Load(_, parts) | Get(_, parts):
                waiting += parts
