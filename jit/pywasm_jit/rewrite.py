"""Walking and substituting in kernels: what the schedule transforms are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from pywasm_jit.ir import (
    Declare,
    Expr,
    Extent,
    Float,
    For,
    Get,
    If,
    Int,
    Load,
    Op,
    Register,
    Set,
    Stmt,
    Store,
    Var,
    op,
)


def map_expr(
    expr: Expr, leaf: Callable[[Expr], Expr | None], done: dict[int, Expr] | None = None
) -> Expr:
    """`expr` with every sub-expression for which `leaf` gives another one replaced by it.

    Arithmetic is built anew by `op`, which folds what has become constant. What is one object in
    many places (`done`, by identity) stays one: activations share much.
    """
    done = {} if done is None else done
    found = done.get(id(expr)) or leaf(expr)
    if found is None:
        match expr:
            case Load(buffer, index):
                found = Load(buffer, tuple(map_expr(part, leaf, done) for part in index))
            case Get(register, index):
                found = Get(register, tuple(map_expr(part, leaf, done) for part in index))
            case Op(name, args):
                found = op(name, *(map_expr(arg, leaf, done) for arg in args))
            case _:
                found = expr
    done[id(expr)] = found
    return found


def map_exprs(body: Iterable[Stmt], change: Callable[[Expr], Expr]) -> tuple[Stmt, ...]:
    """`body` with every whole expression of its statements changed."""

    def index(parts: Sequence[Expr]) -> tuple[Expr, ...]:
        return tuple(change(part) for part in parts)

    out: list[Stmt] = []
    for stmt in body:
        match stmt:
            case For(_, begin, end, inside):
                inner = map_exprs(inside, change)
                out.append(replace(stmt, begin=change(begin), end=change(end), body=inner))
            case If(condition, inside):
                out.append(If(change(condition), map_exprs(inside, change)))
            case Set(register, place, expr):
                out.append(Set(register, index(place), change(expr)))
            case Store(buffer, place, expr):
                out.append(Store(buffer, index(place), change(expr)))
            case _:
                out.append(stmt)
    return tuple(out)


def substitute(body: Iterable[Stmt], variable: str, by: Expr) -> tuple[Stmt, ...]:
    def leaf(expr: Expr) -> Expr | None:
        return by if expr == Var(variable) else None

    return map_exprs(body, lambda expr: map_expr(expr, leaf))


def variables(expr: Expr) -> set[str]:
    """Names of the loop variables in an expression."""
    match expr:
        case Var(name):
            return {name}
        case Load(_, index) | Get(_, index):
            return set().union(*(variables(part) for part in index))
        case Op(_, args):
            return set().union(*(variables(arg) for arg in args))
        case Int() | Float() | Extent():
            return set()
    return set()


def renamed(body: Iterable[Stmt], suffix: str) -> tuple[Stmt, ...]:
    """A copy whose loops and registers have their names extended by `suffix`."""
    loops: dict[str, str] = {}
    registers: dict[str, Register] = {}

    def collect(stmts: Iterable[Stmt]) -> None:
        for stmt in stmts:
            match stmt:
                case For():
                    loops[stmt.var] = stmt.var + suffix
                    collect(stmt.body)
                case If():
                    collect(stmt.body)
                case Declare(register):
                    registers[register.name] = replace(register, name=register.name + suffix)

    def leaf(expr: Expr) -> Expr | None:
        match expr:
            case Var(name) if name in loops:
                return Var(loops[name])
            case Get(register, index) if register.name in registers:
                parts = tuple(map_expr(part, leaf) for part in index)
                return Get(registers[register.name], parts)
        return None

    def names(stmts: Iterable[Stmt]) -> tuple[Stmt, ...]:
        out: list[Stmt] = []
        for stmt in stmts:
            match stmt:
                case For():
                    out.append(replace(stmt, var=loops[stmt.var], body=names(stmt.body)))
                case If():
                    out.append(replace(stmt, body=names(stmt.body)))
                case Declare(register):
                    out.append(Declare(registers[register.name]))
                case Set(register, index, expr) if register.name in registers:
                    out.append(Set(registers[register.name], index, expr))
                case _:
                    out.append(stmt)
        return tuple(out)

    collect(body := tuple(body))
    return names(map_exprs(body, lambda expr: map_expr(expr, leaf)))


def expanded(
    body: Iterable[Stmt], registers: Iterable[Register], n: int, at: Expr
) -> tuple[Stmt, ...]:
    """`body` with each of `registers` an array of `n` more, of which it uses number `at`."""
    bigger = {
        register.name: replace(register, shape=(n, *register.shape)) for register in registers
    }

    def leaf(expr: Expr) -> Expr | None:
        match expr:
            case Get(register, index) if register.name in bigger:
                parts = tuple(map_expr(part, leaf) for part in index)
                return Get(bigger[register.name], (at, *parts))
        return None

    def sets(stmts: Iterable[Stmt]) -> tuple[Stmt, ...]:
        out: list[Stmt] = []
        for stmt in stmts:
            match stmt:
                case For() | If():
                    out.append(replace(stmt, body=sets(stmt.body)))
                case Set(register, index, expr) if register.name in bigger:
                    out.append(Set(bigger[register.name], (at, *index), expr))
                case Declare(register) if register.name in bigger:
                    out.append(Declare(bigger[register.name]))
                case _:
                    out.append(stmt)
        return tuple(out)

    return sets(map_exprs(body, lambda expr: map_expr(expr, leaf)))
