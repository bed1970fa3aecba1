"""Pointers of a WebAssembly function: one for each part of an address that a loop moves on.

A pointer belongs to the innermost loop whose variable its offset has. There it is set from that of
the loop around, and moved on by an addition (strength reduction).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pywasm_jit import poly as p
from pywasm_jit import wasm_binary as w
from pywasm_jit.ir import Kernel, KernelError
from pywasm_jit.poly import Poly
from pywasm_jit.wasm_emit import Locals


@dataclass
class Scope:
    """A loop being rendered (or the function): its pointers are set in `prologue`."""

    parent: Scope | None
    variable: str
    prologue: bytearray = field(default_factory=bytearray)
    code: bytearray = field(default_factory=bytearray)
    pointers: dict[tuple[str, tuple[tuple[p.Term, int], ...]], int] = field(default_factory=dict)
    steps: bytearray = field(default_factory=bytearray)


class Pointers:
    """`variables`: the locals of running loops, which the renderer keeps."""

    def __init__(self, kernel: Kernel, locals_: Locals) -> None:
        count = len(kernel.buffers)
        self._addresses = {buffer.name: index for index, buffer in enumerate(kernel.buffers)}
        self._extents = {name: count + index for index, name in enumerate(kernel.extents)}
        self._locals = locals_
        self.variables: dict[str, int] = {}

    def local(self, name: str) -> int | None:
        """The local of a running loop's variable or of an extent."""
        return self.variables.get(name, self._extents.get(name))

    def find(self, scope: Scope, buffer: str, offset: Poly) -> int:
        """A local holding the buffer's address + offset, kept by the innermost loop it needs."""
        while scope.parent is not None and not p.has(offset, scope.variable):
            scope = scope.parent
        if not offset:
            return self._addresses[buffer]
        key = (buffer, tuple(sorted(offset.items())))
        if key in scope.pointers:
            return scope.pointers[key]
        local = self._locals.fresh("i32")
        if scope.parent is None:
            code = w.local_get(self._addresses[buffer]) + self._sum(offset)
            scope.prologue += code + w.local_set(local)
        else:
            slope = p.slope(offset, scope.variable)
            if slope is None:
                raise KernelError(f"{buffer}: an index has {scope.variable} squared")
            base = self.find(scope.parent, buffer, p.without(offset, scope.variable))
            first = p.mul(slope, p.name(scope.variable))
            scope.prologue += w.local_get(base) + self._sum(first) + w.local_set(local)
            scope.steps += w.local_get(local) + self._sum(slope) + w.local_set(local)
        scope.pointers[key] = local
        return local

    def _sum(self, offset: Poly) -> bytes:
        """Instructions that add a polynomial to what is on the stack."""
        code = bytearray()
        for term, coefficient in sorted(offset.items()):
            code += w.i32_const(coefficient)
            for name in term:
                local = self.local(name)
                if local is None:
                    raise KernelError(f"{name} is used outside of its loop")
                code += w.local_get(local) + bytes([w.I32_MUL])
            code.append(w.I32_ADD)
        return bytes(code)
