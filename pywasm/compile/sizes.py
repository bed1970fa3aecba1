"""Sizes with symbols: polynomials in those of a plan, and how plan.json writes them.

Encoders have "batch" and "seq", decoders "rows".
"""

from __future__ import annotations

from typing import Any

from pywasm.compile.plan_types import Expr
from pywasm_jit import poly
from pywasm_jit.poly import Poly

ONE = poly.constant(1)
BATCH = poly.name("batch")
SEQ = poly.name("seq")
ROWS = poly.mul(BATCH, SEQ)


def number(value: int) -> Poly:
    return poly.constant(value)


def to_expr(size: Poly) -> Expr:
    """Shortest form: terms in a fixed order, factors of 1 left out."""
    terms: list[Any] = []
    for names, coefficient in sorted(size.items()):
        factors: list[Any] = [*([coefficient] if coefficient != 1 or not names else []), *names]
        terms.append(factors[0] if len(factors) == 1 else ["*", *factors])
    if not terms:
        return 0
    return terms[0] if len(terms) == 1 else ["+", *terms]


def at_most(a: Poly, b: Poly) -> bool:
    """Whether a <= b for all sizes from 1 up, as far as coefficients tell.

    With 1 + x for each symbol no coefficient of b - a may be negative.
    """
    difference = poly.add(b, a, -1)
    symbols = {name for names in difference for name in names}
    moved = {name: poly.add(poly.name(name), ONE) for name in symbols}
    return min(poly.substituted(difference, moved).values(), default=0) >= 0
