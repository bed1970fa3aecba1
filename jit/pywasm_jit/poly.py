"""Indexes as polynomials over loop variables and extents: what addresses are folded by.

A `Poly` maps a product of names (sorted) to its coefficient; () is the constant term. i + 4 is
{("i",): 1, (): 4}; row * n + 3 with an extent n is {("n", "row"): 1, (): 3}.
"""

from __future__ import annotations

from collections.abc import Iterable

Term = tuple[str, ...]
Poly = dict[Term, int]


def constant(number: int) -> Poly:
    return {(): number} if number else {}


def name(text: str) -> Poly:
    return {(text,): 1}


def add(a: Poly, b: Poly, factor: int = 1) -> Poly:
    """a + factor * b"""
    out = dict(a)
    for term, coefficient in b.items():
        total = out.get(term, 0) + factor * coefficient
        if total:
            out[term] = total
        else:
            out.pop(term, None)
    return out


def mul(a: Poly, b: Poly) -> Poly:
    out: Poly = {}
    for left, x in a.items():
        for right, y in b.items():
            out = add(out, {tuple(sorted(left + right)): x * y})
    return out


def scale(a: Poly, factor: int) -> Poly:
    return {term: factor * coefficient for term, coefficient in a.items()} if factor else {}


def has(a: Poly, variable: str) -> bool:
    return any(variable in term for term in a)


def split_constant(a: Poly) -> tuple[Poly, int]:
    """(the rest, the constant term)"""
    return {term: c for term, c in a.items() if term}, a.get((), 0)


def slope(a: Poly, variable: str) -> Poly | None:
    """What is added when `variable` grows by one; None if `a` is not linear in it."""
    out: Poly = {}
    for term, coefficient in a.items():
        count = term.count(variable)
        if count > 1:
            return None
        if count:
            rest = list(term)
            rest.remove(variable)
            out = add(out, {tuple(rest): coefficient})
    return out


def without(a: Poly, variable: str) -> Poly:
    """The terms that don't have `variable`."""
    return {term: coefficient for term, coefficient in a.items() if variable not in term}


def names(a: Poly) -> Iterable[str]:
    return {part for term in a for part in term}
