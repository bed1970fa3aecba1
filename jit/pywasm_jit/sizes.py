"""Sizes of a kernel as JSON: what a host without this package works grids out from."""

from __future__ import annotations

from typing import Any

from pywasm_jit.ir import Expr, Extent, Int, Kernel, KernelError, Op, loops

Json = int | str | list[Any]
_OPERATORS = {"add": "+", "sub": "-", "mul": "*", "quo": "quo", "min": "min", "max": "max"}


def expr_json(expr: Expr) -> Json:
    """An expression of extents: a number, a name, or [operator, a, b]."""
    match expr:
        case Int(number):
            return number
        case Extent(name):
            return name
        case Op(name, (a, b)) if name in _OPERATORS:
            return [_OPERATORS[name], expr_json(a), expr_json(b)]
    raise KernelError(f"{expr!r} is no size")


def grid(kernel: Kernel) -> Expr:
    """The number of iterations that threads share."""
    for loop in loops(kernel.body):
        if loop.mapping == "grid":
            return loop.end
    raise KernelError(f"{kernel.name} has no grid loop")
