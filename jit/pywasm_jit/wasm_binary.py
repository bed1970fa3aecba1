"""Bytes of a WebAssembly module: LEB128, the opcodes the renderer uses, sections.

Source: WebAssembly core specification, section 5 (binary format); relaxed SIMD proposal (in the
specification since 3.0) for opcodes from 0x100.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

I32, F32, V128 = 0x7F, 0x7D, 0x7B

# One-byte instructions.
BLOCK, LOOP, IF, END, BR_IF = 0x02, 0x03, 0x04, 0x0B, 0x0D
VOID = 0x40
SELECT, LOCAL_GET, LOCAL_SET, LOCAL_TEE = 0x1B, 0x20, 0x21, 0x22
I32_CONST, F32_CONST = 0x41, 0x43
I32_ADD, I32_MUL, I32_LT_S = 0x6A, 0x6C, 0x48

LOADS = {"f32": 0x2A, "i32": 0x28, "i8x4": 0x28, "i8": 0x2C, "u8": 0x2D, "f16": 0x2F}
LOADS["finite f16"] = 0x2E  # with its sign
STORES = {"f32": 0x38, "i32": 0x36, "i8x4": 0x36, "i8": 0x3A, "u8": 0x3A, "f16": 0x3B}
STORES["finite f16"] = STORES["f16"]

# (operation, type of its operands) -> instruction on scalars.
SCALAR = {
    ("add", "f32"): 0x92, ("sub", "f32"): 0x93, ("mul", "f32"): 0x94, ("div", "f32"): 0x95,
    ("abs", "f32"): 0x8B, ("sqrt", "f32"): 0x91, ("floor", "f32"): 0x8E, ("round", "f32"): 0x90,
    ("add", "i32"): 0x6A, ("sub", "i32"): 0x6B, ("mul", "i32"): 0x6C,
    ("quo", "i32"): 0x6D, ("rem", "i32"): 0x6F,
    ("and", "i32"): 0x71, ("or", "i32"): 0x72, ("xor", "i32"): 0x73,
    ("shl", "i32"): 0x74, ("sar", "i32"): 0x75, ("shr", "i32"): 0x76, ("popcount", "i32"): 0x69,
    ("lt", "f32"): 0x5D, ("le", "f32"): 0x5F, ("eq", "f32"): 0x5B,
    ("lt", "i32"): 0x48, ("le", "i32"): 0x4C, ("eq", "i32"): 0x46,
    ("to_f32", "i32"): 0xB2, ("as_f32", "i32"): 0xBE, ("as_i32", "f32"): 0xBC,
}  # fmt: skip
TO_I32_SAT = bytes([0xFC, 0x00])

# (operation, type of its operands) -> SIMD instruction (after the 0xFD prefix).
VECTOR = {
    ("add", "f32"): 0xE4, ("sub", "f32"): 0xE5, ("mul", "f32"): 0xE6, ("div", "f32"): 0xE7,
    ("abs", "f32"): 0xE0, ("sqrt", "f32"): 0xE3, ("floor", "f32"): 0x68, ("round", "f32"): 0x6A,
    ("add", "i32"): 0xAE, ("sub", "i32"): 0xB1, ("mul", "i32"): 0xB5,
    ("and", "i32"): 0x4E, ("or", "i32"): 0x50, ("xor", "i32"): 0x51,
    ("shl", "i32"): 0xAB, ("sar", "i32"): 0xAC, ("shr", "i32"): 0xAD,
    ("lt", "f32"): 0x43, ("le", "f32"): 0x45, ("eq", "f32"): 0x41,
    ("lt", "i32"): 0x39, ("le", "i32"): 0x3D, ("eq", "i32"): 0x37,
    ("to_f32", "i32"): 0xFA, ("to_i32", "f32"): 0xF8,
    ("min", "f32"): 0xEA, ("max", "f32"): 0xEB, ("min", "i32"): 0xB6, ("max", "i32"): 0xB8,
}  # fmt: skip
V_LOAD, V_LOAD8X8_S, V_LOAD16X4_S, V_STORE, V_CONST = 0x00, 0x01, 0x03, 0x0B, 0x0C
V_LOAD32_SPLAT, V_LOAD32_ZERO, V_LOAD64_ZERO, V_STORE32_LANE, V_STORE64_LANE = (
    0x09, 0x5C, 0x5D, 0x5A, 0x5B)  # fmt: skip
V_SPLAT = {"f32": 0x13, "i32": 0x11}
V_EXTRACT = {"f32": 0x1F, "i32": 0x1B}
V_REPLACE = {"f32": 0x20, "i32": 0x1C}
V_BITSELECT, V_NOT = 0x52, 0x4D
I8X16_POPCNT, I8X16_SHUFFLE, I8X16_NARROW_I16X8_U = 0x62, 0x0D, 0x66
I16X8_EXTEND_LOW_S, I16X8_EXTEND_HIGH_S, I16X8_EXTEND_LOW_U = 0x87, 0x88, 0x89
I16X8_EXTMUL_LOW_S, I16X8_EXTMUL_HIGH_S = 0x9C, 0x9D
I16X8_EXTADD_I8X16_U, I16X8_NARROW_I32X4_U, I16X8_ADD = 0x7D, 0x86, 0x8E
I32X4_EXTEND_LOW_S, I32X4_EXTEND_LOW_U = 0xA7, 0xA9
I32X4_EXTADD_I16X8_S, I32X4_EXTADD_I16X8_U, I32X4_DOT_I16X8_S = 0x7E, 0x7F, 0xBA
RELAXED_MADD, RELAXED_DOT_ADD = 0x105, 0x113


def uleb(number: int) -> bytes:
    """Unsigned LEB128."""
    out = bytearray()
    while True:
        low, number = number & 0x7F, number >> 7
        out.append(low | (0x80 if number else 0))
        if not number:
            return bytes(out)


def sleb(number: int) -> bytes:
    """Signed LEB128."""
    out = bytearray()
    while True:
        low, number = number & 0x7F, number >> 7
        done = number == (-1 if low & 0x40 else 0)
        out.append(low | (0 if done else 0x80))
        if done:
            return bytes(out)


def simd(opcode: int) -> bytes:
    return b"\xfd" + uleb(opcode)


def i32_const(number: int) -> bytes:
    return bytes([I32_CONST]) + sleb(number)


def f32_const(number: float) -> bytes:
    return bytes([F32_CONST]) + struct.pack("<f", number)


def local_get(local: int) -> bytes:
    return bytes([LOCAL_GET]) + uleb(local)


def local_set(local: int) -> bytes:
    return bytes([LOCAL_SET]) + uleb(local)


def local_tee(local: int) -> bytes:
    return bytes([LOCAL_TEE]) + uleb(local)


def memarg(offset: int) -> bytes:
    """Byte alignment is promised to nobody: engines on today's hardware don't use the hint."""
    return b"\x00" + uleb(offset)


@dataclass(frozen=True)
class Function:
    """An exported function: `parameters` i32 arguments, no result, then its other locals."""

    name: str
    parameters: int
    locals: Sequence[int]
    code: bytes


@dataclass(frozen=True)
class MemoryImport:
    """`env.memory`: at least `pages` of 64 KiB; a shared one needs its exact maximum."""

    pages: int = 0
    maximum: int = 65536
    shared: bool = False


def module(functions: Sequence[Function], memory: MemoryImport) -> bytes:
    """A module that imports its memory and exports `functions`."""
    counts = sorted({function.parameters for function in functions})
    types = [b"\x60" + _vector([bytes([I32])] * count) + b"\x00" for count in counts]
    limits = b"\x03" if memory.shared else b"\x01"
    imported = (
        _name("env") + _name("memory") + b"\x02" + limits + uleb(memory.pages)
        + uleb(memory.maximum)
    )  # fmt: skip
    exports = [
        _name(function.name) + b"\x00" + uleb(index) for index, function in enumerate(functions)
    ]
    return (
        b"\0asm\1\0\0\0"
        + _section(1, _vector(types))
        + _section(2, _vector([imported]))
        + _section(3, _vector([uleb(counts.index(f.parameters)) for f in functions]))
        + _section(7, _vector(exports))
        + _section(10, _vector([_body(function) for function in functions]))
    )


def _body(function: Function) -> bytes:
    runs: list[list[int]] = []
    for kind in function.locals:
        if runs and runs[-1][1] == kind:
            runs[-1][0] += 1
        else:
            runs.append([1, kind])
    body = _vector([uleb(count) + bytes([kind]) for count, kind in runs])
    body += function.code + bytes([END])
    return uleb(len(body)) + body


def _section(number: int, content: bytes) -> bytes:
    return bytes([number]) + uleb(len(content)) + content


def _vector(items: Sequence[bytes]) -> bytes:
    return uleb(len(items)) + b"".join(items)


def _name(text: str) -> bytes:
    raw = text.encode()
    return uleb(len(raw)) + raw
