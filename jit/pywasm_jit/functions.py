"""exp, erf, tanh and the activations as expressions of a kernel, in its numeric class.

Each takes the `Builder` (for its multiply-add) and an f32 expression. Polynomials are evaluated by
Horner's rule with `Builder.mac`. Infinities give the limit wherever there is one; NaN gives NaN.
An argument appears many times in the result: as the same object, which interpreter and renderers
evaluate once.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from pywasm_jit.builder import Builder
from pywasm_jit.ir import Expr, KernelError, op

# 1.5 * 2**23: an f32 of that size has no bits for fractions, so adding it rounds to an integer,
# which then stands in the low bits.
_MAGIC = 12582912.0
_LOG2_E = 1.4426950408889634
# ln 2 in two parts; the first has few bits, so that its product with an exponent is exact.
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
# e**r = 1 + r + r**2 * poly(r) for |r| <= ln 2 / 2 (S. Moshier, Cephes, expf), highest power first.
_EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5)
_EXP_LOWEST, _EXP_HIGHEST = -86.6, 88.72283

# 2**r = 1 + r * poly(r) for |r| <= 1/2, to 1e-7 relative (our fit). Highest power first.
_EXP2 = (
    0.0013264727065278557, 0.009671512648911994, 0.055507337436910775, 0.24022242085173168,
    0.693146977598858,
)  # fmt: skip

# tanh(x) = x + x**3 * poly(x**2) for |x| < 0.625 (Cephes, tanhf).
_TANH = (
    -5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1,
)  # fmt: skip

# The normal distribution's Phi(x) - 1/2 = x * P(x**2) / Q(x**2) for |x| <= 5.3, to 4e-9: our
# minimax fit (iterated weighted least squares). Highest power first.
_PHI_LIMIT = 5.3
_PHI_P = (
    2.405025127545118e-08, 6.379056875531203e-06, 1.6033453083290372e-04, 4.627993360594831e-03,
    3.2935789615796456e-02, 3.989422540837242e-01,
)  # fmt: skip
_PHI_Q = (
    1.2371665942177668e-06, 7.135231216880573e-05, 1.8365716320980724e-03, 2.8138826308765408e-02,
    2.4922401045410583e-01, 1.0,
)  # fmt: skip


def exp(k: Builder, x: Expr) -> Expr:
    """e**x to 2 ulp; results under 2.4e-38 become 0, results too large infinity."""
    finite = op("select", op("lt", _EXP_HIGHEST, x), math.inf, _exp(k, x))
    return op("select", x < _EXP_LOWEST, 0.0, finite)


def exp_of_negative(k: Builder, x: Expr) -> Expr:
    """`exp` for x <= 0: -infinity gives 0."""
    return op("select", x < _EXP_LOWEST, 0.0, _exp(k, x))


def exp2_of_negative(k: Builder, x: Expr) -> Expr:
    """2**x for x <= 0, to 2 ulp: what a softmax needs. Never less than 2**-126."""
    inside = op("max", x, -126.0)
    shifted = inside + _MAGIC
    r = inside - (shifted - _MAGIC)
    fraction = k.mac(_horner(k, _EXP2, r), r, 1.0)
    return op("as_f32", op("as_i32", fraction) + (op("as_i32", shifted) << 23))


def _exp(k: Builder, x: Expr) -> Expr:
    """e**x for x in [_EXP_LOWEST, _EXP_HIGHEST]: 2**n * e**r with n an integer."""
    shifted = k.mac(x, _LOG2_E, _MAGIC)
    n = shifted - _MAGIC
    r = k.mac(n, -_LN2_LOW, k.mac(n, -_LN2_HIGH, x))
    fraction = k.mac(_horner(k, _EXP, r), r * r, r) + 1.0
    # n is added to the exponent of the fraction, which is near 1.
    return op("as_f32", op("as_i32", fraction) + (op("as_i32", shifted) << 23))


def sigmoid(k: Builder, x: Expr) -> Expr:
    """1 / (1 + e**-x)"""
    return 1.0 / (exp(k, -x) + 1.0)


def tanh(k: Builder, x: Expr) -> Expr:
    """Hyperbolic tangent, to 2 ulp or so also near 0."""
    size = op("abs", x)
    square = x * x
    small = k.mac(_horner(k, _TANH, square) * square, x, x)
    large = 1.0 - 2.0 / (exp(k, size + size) + 1.0)
    sign = op("as_i32", x) & -0x80000000
    signed = op("as_f32", op("as_i32", large) | sign)
    return op("select", size < 0.625, small, signed)


def erf(k: Builder, x: Expr) -> Expr:
    """The error function, to 2e-7."""
    wide = _clamp(x * math.sqrt(2), _PHI_LIMIT)
    return _clamp(wide * (_phi_ratio(k, wide) * 2.0), 1.0)


def gelu(k: Builder, x: Expr) -> Expr:
    """x * Phi(x), the exact (erf) form, to 4e-7 + 2e-7 |x|."""
    above = op("max", x, -_PHI_LIMIT)
    inside = op("min", above, _PHI_LIMIT)
    return above * k.mac(inside, _phi_ratio(k, inside), 0.5)


def gelu_tanh(k: Builder, x: Expr) -> Expr:
    """x * sigmoid(2 u), u = sqrt(2 / pi) * (x + 0.044715 x**3): GELU's tanh form."""
    above = op("max", x, -100.0)  # -infinity * 0 is no number
    scale = -2 * math.sqrt(2 / math.pi)
    minus_two_u = k.mac(above * above, scale * 0.044715, scale) * above
    return above / (exp(k, minus_two_u) + 1.0)


def silu(k: Builder, x: Expr) -> Expr:
    """x * sigmoid(x)"""
    above = op("max", x, -100.0)
    return above / (exp(k, -above) + 1.0)


def relu(k: Builder, x: Expr) -> Expr:
    """max(x, 0)"""
    return op("max", x, 0.0)


ACTIVATIONS: dict[str, Callable[[Builder, Expr], Expr]] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "silu": silu,
    "relu": relu,
    "tanh": tanh,
    "sigmoid": sigmoid,
}


def activate(k: Builder, name: str, x: Expr) -> Expr:
    """The activation of that name; "" is none."""
    if not name:
        return x
    if name not in ACTIVATIONS:
        raise KernelError(f"no activation {name!r}; there are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name](k, x)


def _phi_ratio(k: Builder, x: Expr) -> Expr:
    square = x * x
    return _horner(k, _PHI_P, square) / _horner(k, _PHI_Q, square)


def _horner(k: Builder, coefficients: tuple[float, ...], x: Expr) -> Expr:
    total = k.mac(coefficients[0], x, coefficients[1])
    for coefficient in coefficients[2:]:
        total = k.mac(total, x, coefficient)
    return total


def _clamp(x: Expr, limit: float) -> Expr:
    return op("min", op("max", x, -limit), limit)
