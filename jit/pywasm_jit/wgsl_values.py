"""Values of a WGSL shader: expressions, places in memory, and the names of both, as text."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Mapping, Sequence

from pywasm_jit import poly as p
from pywasm_jit.interpret import apply
from pywasm_jit.ir import (
    Buffer,
    Expr,
    Extent,
    Float,
    Get,
    Int,
    KernelError,
    Load,
    Op,
    Register,
    Value,
    Var,
    wrap,
)
from pywasm_jit.poly import Poly

# dtype -> (what an element of the storage array is, how an element is read): WGSL has no memory
# narrower than 32 bits.
STORAGE = {
    "f32": ("f32", "{0}[{1}]"),
    "i32": ("i32", "{0}[{1}]"),
    "i8x4": ("i32", "{0}[{1}]"),
    "f16": ("u32", "unpack2x16float({0}[({1}) >> 1u])[({1}) & 1]"),
    "i8": ("i32", "extractBits({0}[({1}) >> 2u], 8u * u32(({1}) & 3), 8u)"),
    "u8": ("u32", "i32(extractBits({0}[({1}) >> 2u], 8u * u32(({1}) & 3), 8u))"),
}
# dtype -> what is left of a value in private and workgroup memory, where it keeps its 32 bits
NARROWED = {
    "f16": "quantizeToF16({0})",
    "i8": "extractBits({0}, 0u, 8u)",
    "u8": "({0} & 255)",
}

_OPS = {
    "add": "({0} + {1})",
    "sub": "({0} - {1})",
    "mul": "({0} * {1})",
    "div": "({0} / {1})",
    "min": "min({0}, {1})",
    "max": "max({0}, {1})",
    "fma": "fma({0}, {1}, {2})",
    "abs": "abs({0})",
    "sqrt": "sqrt({0})",
    "floor": "floor({0})",
    "round": "round({0})",
    # Without a sign: what GPUs divide fastest, and defined for no other numbers.
    "quo": "i32(u32({0}) / {u1})",
    "rem": "i32(u32({0}) % {u1})",
    "and": "({0} & {1})",
    "or": "({0} | {1})",
    "xor": "({0} ^ {1})",
    "shl": "({0} << ({u1} & 31u))",
    "shr": "bitcast<i32>(bitcast<u32>({0}) >> ({u1} & 31u))",
    "sar": "({0} >> ({u1} & 31u))",
    "popcount": "countOneBits({0})",
    "to_f32": "f32({0})",
    "to_i32": "i32({0})",
    "as_f32": "bitcast<f32>({0})",
    "as_i32": "bitcast<i32>({0})",
    "dot4": "dot4({0}, {1}, {2})",
    "dot2": "dot2({0}, {1}, {2})",
}
_COMPARISONS = {"lt": "<", "le": "<=", "eq": "=="}
_LINEAR = ("add", "sub", "mul")

# 1.5 * 2**23, added to an f32 to round it: the integer then stands in the low bits. Compilers of
# shaders may cancel (x + MAGIC) - MAGIC, so the difference is taken of the bits.
MAGIC, MAGIC_BITS = 12582912.0, "0x4b400000"

# The beginning of a call -> the function called, for sources that have the call.
HELPERS = {
    # No constant expression, as a builtin would be: infinity and NaN are errors in those.
    "from_bits(": "fn from_bits(bits: u32) -> f32 { return bitcast<f32>(bits); }",
    "dot2(": """fn dot2(a: i32, b: i32, c: i32) -> i32 {
  return c + ((a << 16u) >> 16u) * ((b << 16u) >> 16u) + (a >> 16u) * (b >> 16u);
}""",
    "dot4(": """fn dot4(a: i32, b: i32, c: i32) -> i32 {
  return c + extractBits(a, 0u, 8u) * (b & 127) + extractBits(a, 8u, 8u) * ((b >> 8u) & 127)
    + extractBits(a, 16u, 8u) * ((b >> 16u) & 127) + extractBits(a, 24u, 8u) * ((b >> 24u) & 127);
}""",
}
PACKED_DOT4 = """fn dot4(a: i32, b: i32, c: i32) -> i32 {
  return c + dot4I8Packed(bitcast<u32>(a), bitcast<u32>(b));
}"""


class Names:
    """Identifiers; the underscore at their end keeps them off WGSL's many reserved words."""

    def __init__(self) -> None:
        self._found: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        found = self._found.get(name)
        if found is None:
            plain = found = "v" + re.sub(r"\W", "_", name) + "_"
            if plain[1].isalpha():
                plain = found = plain[1:]
            number = 0
            while found in self._found.values():
                number += 1
                found = f"{plain}{number}_"
            self._found[name] = found
        return found


class Values:
    """Expressions as text. `line` takes the statements that name what is used twice.

    `env`: the values of unrolled loops. `distributed`: as of wgsl_regions.
    """

    def __init__(
        self, names: Names, distributed: Mapping[str, int], line: Callable[[str], None]
    ) -> None:
        self._names = names
        self._distributed = distributed
        self._line = line
        self.env: dict[str, int] = {}
        self._temporaries = 0
        # Of the nodes of one statement, by identity: expressions are graphs.
        self._uses: dict[int, int] = {}
        self._texts: dict[int, str] = {}
        self._constants: dict[int, int | float | None] = {}

    def begin(self, *exprs: Expr) -> None:
        """A new statement, of these expressions."""
        self._uses, self._texts, self._constants = {}, {}, {}
        waiting = list(exprs)
        while waiting:
            expr = waiting.pop()
            self._uses[id(expr)] = self._uses.get(id(expr), 0) + 1
            if self._uses[id(expr)] == 1 and isinstance(expr, Op):
                waiting += expr.args
            elif self._uses[id(expr)] == 1 and isinstance(expr, (Load, Get)):
                waiting += expr.index

    def whole(self, expr: Expr) -> str:
        """The text of a statement's only expression."""
        self.begin(expr)
        return self.text(expr)

    def text(self, expr: Expr) -> str:
        found = self._texts.get(id(expr))
        if found is None:
            found = self._render(expr)
            if self._uses.get(id(expr), 0) > 1 and not re.fullmatch(r"[\w.]+", found):
                found = self.temporary(found)
            self._texts[id(expr)] = found
        return found

    def temporary(self, text: str) -> str:
        """A new name for a value."""
        self._temporaries += 1
        name = f"t{self._temporaries}"
        self._line(f"let {name} = {text};")
        return name

    def condition(self, expr: Expr) -> str:
        """`expr` as a bool."""
        match expr:
            case Op(name, (a, b)) if name in _COMPARISONS:
                return f"({self.text(a)} {_COMPARISONS[name]} {self.text(b)})"
            case Op("and", (a, b)) if _is_truth(a) and _is_truth(b):
                return f"({self.condition(a)} && {self.condition(b)})"
            case Op("or", (a, b)) if _is_truth(a) and _is_truth(b):
                return f"({self.condition(a)} || {self.condition(b)})"
        return f"({self.text(expr)} != 0)"

    def number(self, expr: Expr) -> int:
        """The value of a constant. Raises KernelError if it is none."""
        self.begin(expr)
        number = self._constant(expr)
        if not isinstance(number, int):
            raise KernelError(f"{expr!r} where a constant is needed")
        return number

    def element(self, buffer: Buffer, index: Sequence[Expr]) -> str:
        """Where an element of 32 bits lies."""
        return f"{self._names[buffer.name]}[{self._flat(buffer.shape, index)}]"

    def register(self, register: Register, index: Sequence[Expr]) -> str:
        name = self._names[register.name]
        if not register.shape:
            return name
        axis = self._distributed.get(register.name)
        kept = [expr for i, expr in enumerate(index) if i != axis]
        return f"{name}[{self._flat([Int(n) for n in self.shape(register)], kept)}]"

    def shape(self, register: Register) -> list[int]:
        """Without the axis that runs over threads: each has its own part of it."""
        axis = self._distributed.get(register.name)
        return [n for i, n in enumerate(register.shape) if i != axis]

    def _render(self, expr: Expr) -> str:
        number = self._constant(expr)
        if number is not None:
            return _literal(number, expr.value)
        match expr:
            case Var(name):
                return self._names[name]
            case Extent(name):
                return f"extents.{self._names[name]}"
            case Get(register, index):
                return self.register(register, index)
            case Load(buffer, index):
                if buffer.space != "global":
                    return self.element(buffer, index)
                place = self._flat(buffer.shape, index)
                return STORAGE[buffer.dtype.name][1].format(self._names[buffer.name], place)
            case Op(name, args):
                if expr.value == "i32" and name in _LINEAR and _is_affine(expr):
                    return f"({_polynomial(self._poly(expr))})"
                if name in _COMPARISONS:
                    return f"select(0, 1, {self.condition(expr)})"
                if name == "select":
                    condition = self.condition(args[0])
                    return f"select({self.text(args[2])}, {self.text(args[1])}, {condition})"
                if name == "sub" and args[1] == Float(MAGIC):
                    return f"f32(bitcast<i32>({self.text(args[0])}) - {MAGIC_BITS})"
                texts = [self.text(arg) for arg in args]
                last = f"{texts[-1]}u" if texts[-1].isdigit() else f"u32({texts[-1]})"
                return _OPS[name].format(*texts, u1=last)
        raise KernelError(f"{expr!r} is no expression")

    def _constant(self, expr: Expr) -> int | float | None:
        """The value of an expression of constants: WGSL refuses some (overflow, infinity)."""
        match expr:
            case Int(number) | Float(number):
                return number
            case Var(name):
                return self.env.get(name)
            case Op(name, args):
                if id(expr) not in self._constants:
                    numbers = [self._constant(arg) for arg in args]
                    known = [number for number in numbers if number is not None]
                    self._constants[id(expr)] = (
                        apply(name, args[-1].value, known) if len(known) == len(args) else None
                    )
                return self._constants[id(expr)]
        return None

    def _flat(self, shape: Sequence[Expr], index: Sequence[Expr]) -> str:
        flat: Poly = {}
        for expr, size in zip(index, shape, strict=True):
            flat = p.add(p.mul(flat, self._poly(size)), self._poly(expr))
        return _polynomial(flat)

    def _poly(self, expr: Expr) -> Poly:
        """An index as a polynomial of texts."""
        number = self._constant(expr)
        if number is not None:
            return p.constant(int(number))
        match expr:
            case Op("add", (a, b)):
                return p.add(self._poly(a), self._poly(b))
            case Op("sub", (a, b)):
                return p.add(self._poly(a), self._poly(b), -1)
            case Op("mul", (a, b)):
                return p.mul(self._poly(a), self._poly(b))
        return p.name(self.text(expr))


def _polynomial(poly: Poly) -> str:
    text = ""
    for term, coefficient in sorted(poly.items(), key=lambda item: (-len(item[0]), item[0])):
        number = wrap(coefficient)
        factors = [*term]
        if abs(number) != 1 or not term:
            factors.append(_literal(abs(number), "i32"))
        minus, plus = (" - ", " + ") if text else ("-", "")
        text += (minus if number < 0 else plus) + " * ".join(factors)
    return text or "0"


def _is_affine(expr: Expr) -> bool:
    """Whether `expr` is made of sums and products of variables and sizes."""
    match expr:
        case Int() | Var() | Extent():
            return True
        case Op(name, args) if name in _LINEAR:
            return all(map(_is_affine, args))
    return False


def _is_truth(expr: Expr) -> bool:
    match expr:
        case Op(name, args):
            return name in _COMPARISONS or (name in ("and", "or") and all(map(_is_truth, args)))
    return False


def _literal(number: int | float, value: Value) -> str:
    """A constant, exactly; negative ones in brackets, for they follow operators."""
    if value == "i32":
        number = wrap(int(number))
        if number == -0x80000000:
            return "bitcast<i32>(0x80000000u)"
        return str(number) if number >= 0 else f"({number})"
    if not math.isfinite(number):
        return f"from_bits({struct.unpack('<I', struct.pack('<f', number))[0]:#x}u)"
    text = f"{float(number)!r}f"
    return f"({text})" if text.startswith("-") else text
