"""Indexes as polynomials over loop variables and extents: what addresses are folded by.

A `Poly` maps a product of names (sorted) to its coefficient; () is the constant term. i + 4 is
{("i",): 1, (): 4}; row * n + 3 with an extent n is {("n", "row"): 1, (): 3}.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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
    if len(a) == 1 and () in a:
        return scale(b, a[()])
    if len(b) == 1 and () in b:
        return scale(a, b[()])
    out: Poly = {}
    for left, x in a.items():
        for right, y in b.items():
            term = tuple(sorted(left + right))
            out[term] = out.get(term, 0) + x * y
    return {term: coefficient for term, coefficient in out.items() if coefficient}


def scale(a: Poly, factor: int) -> Poly:
    return {term: factor * coefficient for term, coefficient in a.items()} if factor else {}


def substituted(a: Poly, values: Mapping[str, Poly]) -> Poly:
    """`a` with polynomials in the place of names; always a new one."""
    out: Poly = {}
    for term, coefficient in a.items():
        product: Poly | None = None
        for part in term:
            if part in values:
                product = {(): coefficient} if product is None else product
                product = mul(product, values[part])
        if product is None:
            out[term] = out.get(term, 0) + coefficient
            continue
        left = tuple(part for part in term if part not in values)
        for key, number in product.items():
            whole = key if not left else left if not key else tuple(sorted(key + left))
            out[whole] = out.get(whole, 0) + number
    return {term: coefficient for term, coefficient in out.items() if coefficient}


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
