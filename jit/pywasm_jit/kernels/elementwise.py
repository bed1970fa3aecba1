"""Element-wise operations, as many as follow one another, in one pass over memory."""

from __future__ import annotations

from pywasm_jit.builder import Array, Builder
from pywasm_jit.functions import ACTIVATIONS, erf, exp
from pywasm_jit.ir import F32, OPS, Expr, Float, Kernel, KernelError, Numeric, f32, op
from pywasm_jit.kernels.family import Family, by_rows

_UNARY = {**ACTIVATIONS, "exp": exp, "erf": erf}
_OPS = ("add", "sub", "mul", "div", "min", "max", "abs", "sqrt", "floor", "round")


def elementwise(width: int, chain: str, vectors: str = "", *, numeric: Numeric) -> Kernel:
    """y = `chain`, a formula in postfix: "a b add gelu c mul" is gelu(a + b) * c.

    Words: inputs a to h (f32[rows, width]; those in `vectors` f32[width], the same for all rows),
    numbers, add sub mul div min max abs sqrt floor round neg, exp erf tanh sigmoid gelu gelu_tanh
    silu relu. Inputs are buffers in alphabetical order, then y f32[rows, width].
    """
    words = chain.split()
    names = sorted({word for word in words if word in "abcdefgh"})
    if not set(vectors) <= set(names):
        raise KernelError(f"elementwise: vectors {vectors!r} are not all inputs of {chain!r}")
    k = Builder("elementwise", numeric)
    rows = k.extent("rows")
    arrays = {
        name: k.input(name, F32, width) if name in vectors else k.input(name, F32, rows, width)
        for name in names
    }
    y = k.output("y", F32, rows, width)
    with k.parallel("row", rows) as row, k.parallel("i", width) as i:
        y[row, i] = _evaluate(k, words, arrays, vectors, row, i)
    return k.kernel()


def _evaluate(
    k: Builder, words: list[str], arrays: dict[str, Array], vectors: str, row: Expr, i: Expr
) -> Expr:
    stack: list[Expr] = []

    def pop(word: str) -> Expr:
        if not stack:
            raise KernelError(f"elementwise: {word!r} in {' '.join(words)!r} lacks an operand")
        return stack.pop()

    for word in words:
        if word in arrays:
            stack.append(arrays[word][i] if word in vectors else arrays[word][row, i])
        elif word in _UNARY:
            stack.append(_UNARY[word](k, pop(word)))
        elif word == "neg":
            stack.append(-pop(word))
        elif word in _OPS:
            operands = [pop(word) for _ in OPS[word].args]
            stack.append(op(word, *reversed(operands)))
        else:
            try:
                stack.append(Float(f32(float(word))))
            except ValueError:
                raise KernelError(f"elementwise: no operation {word!r}") from None
    if len(stack) != 1:
        raise KernelError(f"elementwise: {' '.join(words)!r} leaves {len(stack)} values, not one")
    return stack[0]


FAMILY = Family(elementwise, by_rows)
