"""Sums and maxima along a row, in an order that is part of the numeric class.

`lanes(width)` partial results, element i in number i % lanes, are combined by halves: 16, 8, 4,
then (0 + 2) + (1 + 3). So vectors of 4 do it without a shuffle, and rows don't matter.
"""

from __future__ import annotations

from collections.abc import Callable

from pywasm_jit.builder import Builder
from pywasm_jit.ir import Expr, op
from pywasm_jit.kernels.family import lanes


def fold_row(
    k: Builder,
    name: str,
    width: int,
    step: Callable[[Expr, Expr], Expr],
    combine: Callable[[Expr, Expr], Expr] | None = None,
    start: float = 0.0,
) -> Expr:
    """The result over elements 0 to `width` - 1 as one f32.

    `step(partial, i)` takes element i in; `combine` joins two partial results (default: a sum).
    """
    join = combine or (lambda a, b: a + b)
    count = lanes(width)
    partial = k.register(name, "f32", count)
    with k.parallel(f"{name}_start", count) as lane:
        partial[lane] = start
    with k.serial(f"{name}_step", width // count) as at, k.parallel(f"{name}_lane", count) as lane:
        partial[lane] = step(partial[lane], at * count + lane)
    while count > 4:
        count //= 2
        with k.parallel(f"{name}_{count}", count) as lane:
            partial[lane] = join(partial[lane], partial[lane + count])
    result = k.register(f"{name}_all", "f32")
    result[()] = join(join(partial[0], partial[2]), join(partial[1], partial[3]))
    return result[()]


def sum_row(k: Builder, name: str, width: int, term: Callable[[Expr], Expr]) -> Expr:
    return fold_row(k, name, width, lambda partial, i: partial + term(i))


def sum_of_squares(k: Builder, name: str, width: int, term: Callable[[Expr], Expr]) -> Expr:
    def step(partial: Expr, i: Expr) -> Expr:
        value = term(i)
        return k.mac(value, value, partial)

    return fold_row(k, name, width, step)


def max_row(k: Builder, name: str, width: int, term: Callable[[Expr], Expr], start: float) -> Expr:
    def larger(a: Expr, b: Expr) -> Expr:
        return op("max", a, b)

    return fold_row(k, name, width, lambda partial, i: larger(partial, term(i)), larger, start)
