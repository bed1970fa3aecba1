"""A graph of values as Wasm instructions.

A node used once stays on Wasm's stack; one used more often gets a local.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Literal, NamedTuple

from pywasm_jit import wasm_binary as w
from pywasm_jit.ir import KernelError

Kind = Literal["f32", "i32", "v128"]
TYPES: dict[str, int] = {"f32": w.F32, "i32": w.I32, "v128": w.V128}
# ("set", (node,), local), ("store", (..., node), (dtype, address)) or ("value", (node,), None)
Root = tuple[str, tuple[int, ...], object]


class Node(NamedTuple):
    """`attribute` is what else the instruction needs; for a load, how to address it."""

    op: str
    kind: Kind
    args: tuple[int, ...] = ()
    attribute: object = None


class Address(NamedTuple):
    """A pointer local, a constant folded into the instruction, and the buffer's store count."""

    pointer: int
    offset: int
    version: int


class Locals:
    """Locals of a function. What is taken may be given back and is then used again, also in a loop
    before: what must live through a loop (its pointers, registers) is `fresh`.
    """

    def __init__(self, parameters: int) -> None:
        self._parameters = parameters
        self.types: list[int] = []
        self._free: dict[Kind, list[int]] = {"f32": [], "i32": [], "v128": []}

    def take(self, kind: Kind) -> int:
        if self._free[kind]:
            return self._free[kind].pop()
        return self.fresh(kind)

    def fresh(self, kind: Kind) -> int:
        self.types.append(TYPES[kind])
        return self._parameters + len(self.types) - 1

    def give(self, kind: Kind, local: int) -> None:
        self._free[kind].append(local)


class Emitter:
    """Writes the nodes that roots need; a node is a number in `nodes`."""

    def __init__(self, nodes: Sequence[Node], locals_: Locals) -> None:
        self._nodes = nodes
        self._locals = locals_
        self._uses = [0] * len(nodes)
        self._held: dict[int, int] = {}
        self._code = bytearray()

    def emit(self, roots: Sequence[Root]) -> bytes:
        """Instructions for what was set and stored, in that order."""
        for _, args, _ in roots:
            for arg in args:
                self._count(arg)
        for kind, args, attribute in roots:
            if kind == "set":
                assert isinstance(attribute, int)
                self._push(args[0])
                self._code += w.local_set(attribute)
            elif kind == "store":
                self._emit_store(args, attribute)
            else:
                self._push(args[0])
        return bytes(self._code)

    def _count(self, node: int) -> None:
        self._uses[node] += 1
        if self._uses[node] == 1:
            for arg in self._nodes[node].args:
                self._count(arg)

    def _push(self, node: int) -> None:
        found = self._nodes[node]
        self._uses[node] -= 1
        held = self._held.get(node)
        if held is not None:
            self._code += w.local_get(held)
            if not self._uses[node]:
                self._locals.give(found.kind, held)
            return
        self._instruct(found)
        if self._uses[node] and found.op not in ("const", "local"):
            self._held[node] = local = self._locals.take(found.kind)
            self._code += w.local_tee(local)

    def _instruct(self, node: Node) -> None:
        code, attribute = self._code, node.attribute
        match node.op, attribute:
            case "const", int(bits):
                if node.kind == "i32":
                    code += w.i32_const(bits)
                else:
                    code += bytes([w.F32_CONST]) + struct.pack("<i", bits)
            case "vconst", int(bits):
                code += w.simd(w.V_CONST) + struct.pack("<i", bits) * 4
            case "local", (int(local), _):
                code += w.local_get(local)
            case "load", (str(dtype), Address() as address):
                self._address(address, node.args)
                code += bytes([w.LOADS[dtype]]) + w.memarg(address.offset)
            case "splat load", Address() as address:
                self._address(address, node.args)
                code += w.simd(w.V_LOAD32_SPLAT) + w.memarg(address.offset)
            case "extending load", Address() as address:
                self._address(address, node.args)
                code += w.simd(w.V_LOAD8X8_S) + w.memarg(address.offset)
            case "vload", (str(dtype), Address() as address):
                self._address(address, node.args)
                code += _VECTOR_LOADS[dtype][0] + w.memarg(address.offset) + _VECTOR_LOADS[dtype][1]
            case _:
                for arg in node.args:
                    self._push(arg)
                code += _instruction(node)

    def _address(self, address: Address, extra: tuple[int, ...]) -> None:
        self._code += w.local_get(address.pointer)
        for arg in extra:
            self._push(arg)
            self._code += bytes([w.I32_ADD])

    def _emit_store(self, args: tuple[int, ...], attribute: object) -> None:
        assert isinstance(attribute, tuple)
        dtype, address = attribute
        self._address(address, args[:-1])
        self._push(args[-1])
        if self._nodes[args[-1]].kind != "v128":
            self._code += bytes([w.STORES[dtype]]) + w.memarg(address.offset)
        else:
            before, instruction, after = _VECTOR_STORES[dtype]
            self._code += before + instruction + w.memarg(address.offset) + after


def _instruction(node: Node) -> bytes:
    match node.op, node.attribute:
        case "scalar", int(opcode):
            return bytes([opcode])
        case "vector", int(opcode):
            return w.simd(opcode)
        case "shuffle", bytes(lanes):
            return w.simd(w.I8X16_SHUFFLE) + lanes
        case "select", _:
            return bytes([w.SELECT])
        case "to_i32", _:
            return w.TO_I32_SAT
        case "splat", str(value):
            return w.simd(w.V_SPLAT[value])
        case "lane", (str(value), int(lane)):
            return w.simd(w.V_EXTRACT[value]) + bytes([lane])
        case "with lane", (str(value), int(lane)):
            return w.simd(w.V_REPLACE[value]) + bytes([lane])
    raise KernelError(f"no instruction for {node}")


_WHOLE = (w.simd(w.V_LOAD), b"")
# dtype -> (instruction, what widens its four elements to 32 bits)
_VECTOR_LOADS = {
    "f32": _WHOLE,
    "i32": _WHOLE,
    "i8x4": _WHOLE,
    "f16": (w.simd(w.V_LOAD64_ZERO), w.simd(w.I32X4_EXTEND_LOW_U)),
    "finite f16": (w.simd(w.V_LOAD16X4_S), b""),
    "i8": (w.simd(w.V_LOAD32_ZERO), w.simd(w.I16X8_EXTEND_LOW_S) + w.simd(w.I32X4_EXTEND_LOW_S)),
    "u8": (w.simd(w.V_LOAD32_ZERO), w.simd(w.I16X8_EXTEND_LOW_U) + w.simd(w.I32X4_EXTEND_LOW_U)),
}
_ALL = (b"", w.simd(w.V_STORE), b"")


def _masked(mask: int) -> bytes:
    return w.simd(w.V_CONST) + struct.pack("<i", mask) * 4 + w.simd(w.VECTOR["and", "i32"])


# Narrowing takes two vectors: the second is a constant nobody stores.
_ZERO = w.simd(w.V_CONST) + bytes(16)
_TO_16 = _ZERO + w.simd(w.I16X8_NARROW_I32X4_U)
_TO_8 = _masked(0xFF) + _TO_16 + _ZERO + w.simd(w.I8X16_NARROW_I16X8_U)
# dtype -> (what narrows four values, instruction, the lane that is stored)
_VECTOR_STORES = {
    "f32": _ALL,
    "i32": _ALL,
    "i8x4": _ALL,
    "f16": (_TO_16, w.simd(w.V_STORE64_LANE), b"\x00"),
    "finite f16": (_TO_16, w.simd(w.V_STORE64_LANE), b"\x00"),
    "i8": (_TO_8, w.simd(w.V_STORE32_LANE), b"\x00"),
    "u8": (_TO_8, w.simd(w.V_STORE32_LANE), b"\x00"),
}
