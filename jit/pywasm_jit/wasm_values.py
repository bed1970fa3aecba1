"""A straight-line stretch of a kernel as a graph of values.

Equal values are one node (hash-consing), so that a load that six rows of a register tile use is
done once. Values that are the same in every lane are scalars until a vector needs them.
"""

from __future__ import annotations

import struct
from typing import Literal

from pywasm_jit import wasm_binary as w
from pywasm_jit.ir import KernelError
from pywasm_jit.wasm_emit import Address, Emitter, Kind, Locals, Node, Root


class Values:
    """The graph of one stretch. Made anew after every loop: what was loaded may have changed."""

    def __init__(self, locals_: Locals, relaxed: bool) -> None:
        self._locals = locals_
        self._relaxed = relaxed
        self._nodes: list[Node] = []
        self._ids: dict[Node, int] = {}
        self._masks: set[int] = set()
        self._roots: list[Root] = []

    # -- building ---------------------------------------------------------------------------

    def kind(self, node: int) -> Kind:
        return self._nodes[node].kind

    def constant(self, kind: Literal["f32", "i32"], number: float) -> int:
        return self._node("const", kind, (), _bits(kind, number))

    def local(self, kind: Kind, local: int, version: int = 0) -> int:
        """A local as it is now; `version` tells apart what it holds at other times."""
        return self._node("local", kind, (), (local, version))

    def load(self, dtype: str, vector: bool, address: Address, extra: int | None) -> int:
        """Memory at address (+ the i32 `extra`); a vector is four neighbours."""
        args = () if extra is None else (extra,)
        if not vector:
            kind: Kind = "f32" if dtype == "f32" else "i32"
            node = self._node("load", kind, args, (dtype, address))
        else:
            node = self._node("vload", "v128", args, (dtype, address))
        if dtype == "finite f16":
            return self._from_finite_half(node)
        return self._from_half(node) if dtype == "f16" else node

    def op(self, name: str, value: str, args: list[int]) -> int:
        """Operation `name` on operands of type `value` (of the last, for select)."""
        if any(self.kind(arg) == "v128" for arg in args):
            return self._vector_op(name, value, args)
        return self._scalar_op(name, value, args)

    def splat(self, node: int) -> int:
        """The value in all four lanes."""
        found = self._nodes[node]
        if found.kind == "v128":
            return node
        if found.op == "const":
            assert isinstance(found.attribute, int)
            return self._node("vconst", "v128", (), found.attribute)
        if found.op == "load" and isinstance(found.attribute, tuple):
            dtype, address = found.attribute
            if dtype in ("f32", "i32", "i8x4"):
                return self._node("splat load", "v128", found.args, address)
        return self._node("splat", "v128", (node,), found.kind)

    def lane(self, node: int, value: Literal["f32", "i32"], lane: int) -> int:
        return self._node("lane", value, (node,), (value, lane))

    def lanes(self, parts: list[int]) -> int:
        """Four scalars as one vector."""
        node = self.splat(parts[0])
        for lane, part in enumerate(parts[1:], 1):
            node = self.with_lane(node, lane, part)
        return node

    def column(self, rows: list[int], number: int) -> int:
        """Lane `number` of each of four vectors."""
        lanes = _LOW_LANES if number < 2 else _HIGH_LANES
        first, second = (
            self._node("shuffle", "v128", (rows[at], rows[at + 1]), lanes) for at in (0, 2)
        )
        half = _LOW_HALVES if number % 2 == 0 else _HIGH_HALVES
        return self._node("shuffle", "v128", (first, second), half)

    def with_lane(self, vector: int, lane: int, scalar: int) -> int:
        return self._node("with lane", "v128", (vector, scalar), (self.kind(scalar), lane))

    def set_local(self, local: int, node: int) -> None:
        self._roots.append(("set", (self._number(node),), local))

    def store(self, dtype: str, address: Address, extra: int | None, node: int) -> None:
        if dtype == "finite f16":
            node = self._to_finite_half(node)
        else:
            node = self._to_half(node) if dtype == "f16" else self._number(node)
        args = (node,) if extra is None else (extra, node)
        self._roots.append(("store", args, (dtype, address)))

    def condition(self, node: int) -> None:
        """Leaves an i32 on the stack, for the `if` that follows."""
        self._roots.append(("value", (node,), None))

    def _node(
        self, op: str, kind: Kind, args: tuple[int, ...] = (), attribute: object = None
    ) -> int:
        node = Node(op, kind, args, attribute)
        found = self._ids.get(node)
        if found is None:
            found = self._ids[node] = len(self._nodes)
            self._nodes.append(node)
        return found

    def _scalar_op(self, name: str, value: str, args: list[int]) -> int:
        if name in ("min", "max"):
            a, b = args
            less = self._scalar_op("lt", value, [b, a] if name == "min" else [a, b])
            return self._scalar_op("select", value, [less, b, a])
        if name in ("fma", "dot4", "dot2"):  # only vectors have them
            kind: Literal["f32", "i32"] = "f32" if name == "fma" else "i32"
            return self.lane(self._vector_op(name, value, args), kind, 0)
        result: Kind = "i32"
        if name == "select":
            return self._node("select", self.kind(args[1]), (args[1], args[2], args[0]))
        if name == "to_i32":
            return self._node("to_i32", "i32", tuple(args))
        if name in ("to_f32", "as_f32") or (
            value == "f32" and name not in ("lt", "le", "eq", "as_i32")
        ):
            result = "f32"
        operand = self.kind(args[0])
        if (name, operand) not in w.SCALAR:
            raise KernelError(f"no instruction for {name} of {operand}")
        return self._node("scalar", result, tuple(args), w.SCALAR[name, operand])

    def _vector_op(self, name: str, value: str, args: list[int]) -> int:
        if name == "select":
            condition = args[0]
            if condition not in self._masks:
                zero = self.splat(self.constant("i32", 0))
                is_zero = self._node(
                    "vector", "v128", (self.splat(condition), zero), w.VECTOR["eq", "i32"]
                )
                condition = self._node("vector", "v128", (is_zero,), w.V_NOT)
            chosen = (self.splat(args[1]), self.splat(args[2]), condition)
            return self._node("vector", "v128", chosen, w.V_BITSELECT)
        numbers = [self._number(arg) for arg in args]
        if name in ("shl", "shr", "sar"):
            if self.kind(numbers[1]) != "i32":
                raise KernelError(f"{name}: the lanes of a vector shift by one number only")
            shifted = (self.splat(numbers[0]), numbers[1])
            return self._node("vector", "v128", shifted, w.VECTOR[name, "i32"])
        operands = tuple(self.splat(arg) for arg in numbers)
        if name in ("as_f32", "as_i32"):
            return operands[0]
        if name == "fma":
            if not self._relaxed:
                raise KernelError(
                    "fused multiply-add needs relaxed SIMD; build the kernel 'separate'"
                )
            return self._node("vector", "v128", operands, w.RELAXED_MADD)
        if name == "dot4":
            return self._dot4(*operands)
        if name == "dot2":
            a, b, c = operands
            dots = self._node("vector", "v128", (a, b), w.I32X4_DOT_I16X8_S)
            return self._node("vector", "v128", (c, dots), w.VECTOR["add", "i32"])
        if name == "popcount":
            node = self._node("vector", "v128", operands, w.I8X16_POPCNT)
            node = self._node("vector", "v128", (node,), w.I16X8_EXTADD_I8X16_U)
            return self._node("vector", "v128", (node,), w.I32X4_EXTADD_I16X8_U)
        typed = {"to_f32": "i32", "to_i32": "f32"}.get(name, value)
        if (name, typed) not in w.VECTOR:
            raise KernelError(f"no vector instruction for {name} of {typed}")
        if name in ("min", "max") and typed == "i32":
            operands = (operands[0], operands[1])
        node = self._node("vector", "v128", operands, w.VECTOR[name, typed])
        if name in ("lt", "le", "eq"):
            self._masks.add(node)
        return node

    def _number(self, node: int) -> int:
        """A comparison is all ones in a lane for Wasm, 1 for the IR."""
        if node not in self._masks:
            return node
        one = self.splat(self.constant("i32", 1))
        return self._node("vector", "v128", (node, one), w.VECTOR["and", "i32"])

    def _dot4(self, a: int, b: int, c: int) -> int:
        if self._relaxed:
            return self._node("vector", "v128", (a, b, c), w.RELAXED_DOT_ADD)
        zero = self.splat(self._i(0))
        total = self.joined(self.add_dots(a, b, (zero, zero)))
        return self._node("vector", "v128", (c, total), w.VECTOR["add", "i32"])

    def add_dots(self, a: int, b: int, halves: tuple[int, int]) -> tuple[int, int]:
        """Adds dot4(a, b) to four sums kept in halves, which is how i16 dot products come: lanes 0
        and 1 of the first make element 0, 2 and 3 element 1; elements 2 and 3 are in the second.

        Exact: a product is at most 127 * 128, two of them fit an i16.
        """
        a, b = self.splat(a), self.splat(b)
        out = []
        extends = (w.I16X8_EXTEND_LOW_S, w.I16X8_EXTEND_HIGH_S)
        for half, extend in zip(halves, extends, strict=True):
            parts = [self._extended(node, extend) for node in (a, b)]
            dots = self._node("vector", "v128", tuple(parts), w.I32X4_DOT_I16X8_S)
            if self._nodes[half] == Node("vconst", "v128", (), 0):
                out.append(dots)
            else:
                out.append(self._node("vector", "v128", (half, dots), w.VECTOR["add", "i32"]))
        return out[0], out[1]

    def _extended(self, node: int, extend: int) -> int:
        """Half of the bytes as i16; where all lanes are the same, the halves are.

        What comes from memory is extended as it is loaded. (V8 on x64 would turn the dot product
        of two extended lower halves into one of multiplied bytes, at half the speed.)
        """
        found = self._nodes[node]
        if found.op in ("splat", "splat load", "vconst"):
            extend = w.I16X8_EXTEND_LOW_S
        elif found.op == "vload":
            assert isinstance(found.attribute, tuple)
            address = found.attribute[1]
            if extend == w.I16X8_EXTEND_HIGH_S:
                address = address._replace(offset=address.offset + 8)
            return self._node("extending load", "v128", found.args, address)
        return self._node("vector", "v128", (node,), extend)

    def halves(self, node: int) -> tuple[int, int]:
        """Four i32 as `add_dots` keeps them."""
        zero = self.splat(self._i(0))
        node = self._number(self.splat(node))
        if node == zero:
            return zero, zero
        first, second = (
            self._node("shuffle", "v128", (node, zero), lanes) for lanes in (_FIRST, _SECOND)
        )
        return first, second

    def joined(self, halves: tuple[int, int]) -> int:
        """Four i32 from what `add_dots` keeps."""
        even, odd = (self._node("shuffle", "v128", halves, lanes) for lanes in (_EVEN, _ODD))
        return self._node("vector", "v128", (even, odd), w.VECTOR["add", "i32"])

    def _i(self, number: int) -> int:
        return self.constant("i32", number)

    def _from_half(self, h: int) -> int:
        """f16 bits in an i32 to f32: shifted into place, the exponent moved by a multiplication."""
        magnitude = self.op(
            "shl", "i32", [self.op("and", "i32", [h, self._i(0x7FFF)]), self._i(13)]
        )
        sign = self.op("shl", "i32", [self.op("and", "i32", [h, self._i(0x8000)]), self._i(16)])
        scaled = self.op(
            "mul", "f32", [self.op("as_f32", "i32", [magnitude]), self.constant("f32", 2.0**112)]
        )
        finite = self.op("lt", "i32", [magnitude, self._i(0x7C00 << 13)])
        special = self.op("or", "i32", [magnitude, self._i(0x7F800000)])
        bits = self.op("select", "i32", [finite, self.op("as_i32", "f32", [scaled]), special])
        return self.op("as_f32", "i32", [self.op("or", "i32", [bits, sign])])

    def _from_finite_half(self, h: int) -> int:
        """The same of f16 bits that came with their sign extended, where all are numbers."""
        moved = self.op("shl", "i32", [h, self._i(13)])
        bits = self.op("and", "i32", [moved, self._i(-0x70000001)])
        return self.op(
            "mul", "f32", [self.op("as_f32", "i32", [bits]), self.constant("f32", 2.0**112)]
        )

    def _to_half(self, f: int) -> int:
        """f32 to f16 bits, to nearest even."""
        magnitude, sign = self._parts(f)
        is_nan = self.op("lt", "i32", [self._i(0x7F800000), magnitude])
        special = self.op("select", "i32", [is_nan, self._i(0x7E00), self._i(0x7C00)])
        is_large = self.op("le", "i32", [self._i(0x47800000), magnitude])
        half = self.op("select", "i32", [is_large, special, self._half_magnitude(magnitude)])
        return self.op("or", "i32", [half, sign])

    def _to_finite_half(self, f: int) -> int:
        """The same, numbers that are too large becoming the largest."""
        inside = self.op("min", "f32", [self.constant("f32", 65504.0), f])
        inside = self.op("max", "f32", [self.constant("f32", -65504.0), inside])
        magnitude, sign = self._parts(inside)
        return self.op("or", "i32", [self._half_magnitude(magnitude), sign])

    def _parts(self, f: int) -> tuple[int, int]:
        """(bits of |f|, the sign where f16 has it)"""
        bits = self.op("as_i32", "f32", [f])
        sign = self.op("and", "i32", [self.op("shr", "i32", [bits, self._i(16)]), self._i(0x8000)])
        return self.op("and", "i32", [bits, self._i(0x7FFFFFFF)]), sign

    def _half_magnitude(self, magnitude: int) -> int:
        """f16 bits of what is less than 65520 (after F. Giesen, float_to_half_fast3_rtne)."""
        # Below the smallest normal half: adding 0.5 leaves the half's bits at the bottom.
        raised = self.op(
            "add", "f32", [self.op("as_f32", "i32", [magnitude]), self.constant("f32", 0.5)]
        )
        small = self.op("sub", "i32", [self.op("as_i32", "f32", [raised]), self._i(0x3F000000)])
        odd = self.op("and", "i32", [self.op("shr", "i32", [magnitude, self._i(13)]), self._i(1)])
        rebased = self.op("add", "i32", [magnitude, self._i(((15 - 127) << 23) + 0xFFF)])
        normal = self.op("shr", "i32", [self.op("add", "i32", [rebased, odd]), self._i(13)])
        is_small = self.op("lt", "i32", [magnitude, self._i(0x38800000)])
        return self.op("select", "i32", [is_small, small, normal])

    def emit(self) -> bytes:
        """Instructions for what was set and stored, in that order."""
        return Emitter(self._nodes, self._locals).emit(self._roots)


def _bits(kind: str, number: float) -> int:
    if kind == "i32":
        return int(number)
    bits: int = struct.unpack("<i", struct.pack("<f", number))[0]
    return bits


_LOW_LANES = bytes([0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23])
_HIGH_LANES = bytes([8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31])
_LOW_HALVES = bytes([*range(8), *range(16, 24)])
_HIGH_HALVES = bytes([*range(8, 16), *range(24, 32)])
_FIRST = bytes([0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 16, 17, 18, 19])
_SECOND = bytes([8, 9, 10, 11, 16, 17, 18, 19, 12, 13, 14, 15, 16, 17, 18, 19])
_EVEN = bytes([0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27])
_ODD = bytes([4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31])
