"""Kernels to a WebAssembly module: statements, loops, indexes and addresses.

The rest: wasm_registers.py, wasm_pointers.py, wasm_values.py (what a stretch without loops
computes, as a graph), wasm_emit.py (its instructions), wasm_binary.py (bytes).

Calling convention: a kernel is an exported function of i32 arguments, in this order: the byte
address of every buffer (scratch too), every extent, grid_begin, grid_end. Addresses are multiples
of 16. Nothing is returned and nothing checked: the caller gives sizes that it has checked.

What pays on the web and is done here: registers are locals; the constant part of an address is
folded into the instruction; the rest is one pointer a loop, moved on by additions (strength
reduction), hoisted as far out as its variables allow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pywasm_jit import poly as p
from pywasm_jit import wasm_binary as w
from pywasm_jit.ir import (
    Barrier,
    Buffer,
    Declare,
    Expr,
    Extent,
    Float,
    For,
    Get,
    If,
    Int,
    Kernel,
    KernelError,
    Load,
    Op,
    Register,
    Set,
    Stmt,
    Store,
    Var,
    named_value,
)
from pywasm_jit.poly import Poly
from pywasm_jit.wasm_emit import Address, Locals
from pywasm_jit.wasm_pointers import Pointers, Scope
from pywasm_jit.wasm_registers import LANE, Registers
from pywasm_jit.wasm_values import Values

_MOST_STATEMENTS = 1 << 14  # the largest kernel here has some thousand


@dataclass(frozen=True)
class WasmTarget:
    """What the module may use. `relaxed`: relaxed SIMD; `shared`: its memory is shared."""

    relaxed: bool
    shared: bool = False


def render(kernels: Sequence[tuple[str, Kernel]], target: WasmTarget) -> bytes:
    """A module exporting each kernel under the name given. Raises KernelError."""
    functions = []
    for name, kernel in kernels:
        try:
            functions.append(_Function(kernel, target).render(name))
        except KernelError as error:
            raise KernelError(f"{kernel.name}: {error}") from None
    return w.module(functions, w.MemoryImport(shared=target.shared))


class _Function:
    def __init__(self, kernel: Kernel, target: WasmTarget) -> None:
        self._kernel = kernel
        self._target = target
        buffers = kernel.buffers
        if any(buffer.space == "workgroup" for buffer in buffers):
            raise KernelError("workgroup memory is for GPUs")
        self._parameters = len(buffers) + len(kernel.extents) + 2
        self._grid = (self._parameters - 2, self._parameters - 1)
        self._locals = Locals(self._parameters)
        self._pointers = Pointers(kernel, self._locals)
        self._env: dict[str, Poly] = {}  # of unrolled loops and lanes
        self._templates: dict[int, Poly | None] = {}  # by identity, as are the next
        self._offsets: dict[int, Poly | None] = {}
        self._stores: dict[str, int] = {}
        self._versions = 0
        self._registers = Registers(kernel, self._locals, target.relaxed)
        self._scope = Scope(None, "")
        self._values = Values(self._locals, target.relaxed)
        # Nodes of a statement's operations by identity: what is used in many places is made once.
        self._known: dict[int, int] = {}
        self._statements = 0

    def render(self, name: str) -> w.Function:
        self._body(self._kernel.body)
        self._flush()
        code = bytes(self._scope.prologue + self._scope.code)
        return w.Function(name, self._parameters, self._locals.types, code)

    # -- statements -------------------------------------------------------------------------

    def _body(self, body: Sequence[Stmt]) -> None:
        for stmt in body:
            self._known.clear()
            self._statements += 1
            if self._statements > _MOST_STATEMENTS:
                raise KernelError(f"more than {_MOST_STATEMENTS} statements after unrolling")
            match stmt:
                case For():
                    self._loop(stmt)
                case Declare(register):
                    in_lanes = any(LANE in term for at in self._env.values() for term in at)
                    self._registers.declare(register, in_lanes)
                case Set(register, index, expr):
                    self._set(register, index, expr)
                case Store(buffer, index, expr):
                    self._store(buffer, index, expr)
                case If(condition, inside):
                    self._values.condition(self._value(condition))
                    self._flush()
                    self._scope.code += bytes([w.IF, w.VOID])
                    self._body(inside)
                    self._flush()
                    self._scope.code.append(w.END)
                case Barrier():
                    raise KernelError("barriers are for GPUs")

    def _flush(self) -> None:
        self._known.clear()
        self._scope.code += self._values.emit()
        self._values = Values(self._locals, self._target.relaxed)

    def _loop(self, loop: For) -> None:
        if loop.mapping in ("unroll", "vector"):
            self._expand(loop)
        elif named_value(loop) is not None and loop.mapping == "loop":
            self._name(loop)
        elif loop.mapping in ("loop", "grid"):
            self._flush()
            self._run(loop)
        else:
            raise KernelError(f"loop {loop.var}: {loop.mapping} is for GPUs")

    def _expand(self, loop: For) -> None:
        begin, end = self._poly(loop.begin), self._poly(loop.end)
        if set(begin) - {()} or set(end) - {()}:
            raise KernelError(f"loop {loop.var} is {loop.mapping}ed and needs constant bounds")
        first, last = begin.get((), 0), end.get((), 0)
        if loop.mapping == "vector":
            if any(LANE in term for value in self._env.values() for term in value):
                raise KernelError(f"loop {loop.var}: a vector loop inside another")
            if not loop.parallel or (last - first) % 4:
                raise KernelError(f"loop {loop.var}: a vector loop is parallel, of 4n iterations")
            for i in range(first, last, 4):
                self._env[loop.var] = p.add(p.name(LANE), p.constant(i))
                self._body(loop.body)
        else:
            for i in range(first, last):
                self._env[loop.var] = p.constant(i)
                self._body(loop.body)
        self._env.pop(loop.var, None)

    def _name(self, loop: For) -> None:
        """A loop of one iteration: a local, and a scope for the pointers that need it."""
        begin = self._poly(loop.begin)
        if not set(begin) - {()} or loop.var in self._env:
            self._env[loop.var] = begin
            self._body(loop.body)
            self._env.pop(loop.var)
            return
        local = self._locals.fresh("i32")
        self._flush()
        self._assign(local, loop.begin)
        outside = self._scope
        self._pointers.variables[loop.var] = local
        self._scope = scope = Scope(outside, loop.var)
        self._body(loop.body)
        self._flush()
        self._scope = outside
        del self._pointers.variables[loop.var]
        outside.code += scope.prologue + scope.code

    def _run(self, loop: For) -> None:
        local, end = self._locals.fresh("i32"), self._locals.fresh("i32")
        outside = self._scope
        grid = loop.mapping == "grid"
        if grid:
            if outside.parent is not None or not loop.parallel or loop.begin != Int(0):
                raise KernelError(f"loop {loop.var}: the grid is outermost, parallel and from 0")
            outside.code += w.local_get(self._grid[0]) + w.local_set(local)
            outside.code += w.local_get(self._grid[1]) + w.local_set(end)
        else:
            self._assign(local, loop.begin)
            self._assign(end, loop.end)
        # The child's pointers start from the variable's first value, which its local holds now.
        self._pointers.variables[loop.var] = local
        self._scope = scope = Scope(outside, loop.var)
        self._body(loop.body)
        self._flush()
        self._scope = outside
        del self._pointers.variables[loop.var]

        condition = w.local_get(local) + w.local_get(end) + bytes([w.I32_LT_S])
        surely = not grid and _runs(loop.begin, loop.end)
        code = outside.code
        if not surely:
            code += condition + bytes([w.IF, w.VOID])
        code += scope.prologue + bytes([w.LOOP, w.VOID]) + scope.code + scope.steps
        code += w.local_get(local) + w.i32_const(1) + bytes([w.I32_ADD]) + w.local_set(local)
        code += condition + bytes([w.BR_IF, 0, w.END])
        if not surely:
            code.append(w.END)

    def _assign(self, local: int, expr: Expr) -> None:
        self._values.set_local(local, self._value(expr))
        self._flush()

    # -- registers --------------------------------------------------------------------------

    def _version(self) -> int:
        self._versions += 1
        return self._versions

    def _set(self, register: Register, index: Sequence[Expr], expr: Expr) -> None:
        at = [self._poly(part) for part in index]
        dots = self._registers.dots(register, index, expr)
        if dots:
            nodes = [(self._value(a), self._value(b)) for a, b in dots]
            self._registers.add_dots(self._values, register, at, nodes)
        else:
            self._registers.set(self._values, register, at, self._value(expr))

    # -- values -----------------------------------------------------------------------------

    def _value(self, expr: Expr) -> int:
        match expr:
            case Int(number):
                return self._values.constant("i32", number)
            case Float(number):
                return self._values.constant("f32", number)
            case Var() | Extent():
                return self._index_value(self._poly(expr))
            case Get(register, index):
                at = [self._poly(part) for part in index]
                return self._registers.get(self._values, register, at)
            case Load(buffer, index):
                return self._load(buffer, index)
            case Op():
                known = self._known.get(id(expr))
                if known is None:
                    known = self._known[id(expr)] = self._operation(expr)
                return known
        raise KernelError(f"{expr!r} is no expression")

    def _operation(self, expr: Op) -> int:
        if expr.value == "i32" and self._template(expr) is not None:
            return self._index_value(self._poly(expr))
        nodes = [self._value(arg) for arg in expr.args]
        return self._values.op(expr.name, expr.args[-1].value, nodes)

    def _index_value(self, index: Poly) -> int:
        """A polynomial of variables and extents as an i32, or as a vector of them."""
        rest, number = p.split_constant(index)
        total = self._values.constant("i32", number)
        for term, coefficient in sorted(rest.items()):
            factors = [self._atom(part) for part in term]
            if coefficient != 1:
                factors.append(self._values.constant("i32", coefficient))
            product = factors[0]
            for factor in factors[1:]:
                product = self._values.op("mul", "i32", [product, factor])
            total = self._values.op("add", "i32", [total, product])
        return total

    def _atom(self, name: str) -> int:
        if name == LANE:
            return self._values.lanes([self._values.constant("i32", lane) for lane in range(4)])
        local = self._pointers.local(name)
        if local is not None:
            return self._values.local("i32", local)
        if _is_opaque((name,)):
            return int(name[1:])
        raise KernelError(f"{name} is used outside of its loop")

    def _poly(self, expr: Expr) -> Poly:
        """An index as a polynomial; what is none becomes a name "#node" of its value."""
        if isinstance(expr, Var):
            return self._env.get(expr.name, p.name(expr.name))
        template = self._template(expr)
        if template is not None:
            return p.substituted(template, self._env)
        match expr:
            case Op("add", (a, b)):
                return p.add(self._poly(a), self._poly(b))
            case Op("sub", (a, b)):
                return p.add(self._poly(a), self._poly(b), -1)
            case Op("mul", (a, b)):
                return p.mul(self._poly(a), self._poly(b))
            case Op(name, args):
                parts = [self._poly(arg) for arg in args]
                if name in ("quo", "rem") and not any(set(part) - {()} for part in parts):
                    x, y = (part.get((), 0) for part in parts)
                    if x >= 0 and y > 0:
                        return p.constant(x // y if name == "quo" else x % y)
                nodes = [self._value(arg) for arg in args]
                return p.name(f"#{self._values.op(name, args[-1].value, nodes)}")
        return p.name(f"#{self._value(expr)}")

    def _template(self, expr: Expr) -> Poly | None:
        """The polynomial before unrolled loops have values; None if it is none.

        Every copy of an unrolled body is the same object, so this is worked out once for all.
        """
        known = self._templates.get(id(expr), _UNKNOWN)
        if known is not _UNKNOWN:
            return known
        found: Poly | None = None
        match expr:
            case Int(number):
                found = p.constant(number)
            case Var(name) | Extent(name):
                found = p.name(name)
            case Op(operation, (a, b)) if operation in _LINEAR:
                left, right = self._template(a), self._template(b)
                if left is not None and right is not None:
                    if operation == "mul":
                        found = p.mul(left, right)
                    else:
                        found = p.add(left, right, 1 if operation == "add" else -1)
        self._templates[id(expr)] = found
        return found

    # -- memory -----------------------------------------------------------------------------

    def _offset(self, buffer: Buffer, index: Sequence[Expr]) -> Poly:
        """The byte offset of an element."""
        template = self._offsets.get(id(index), _UNKNOWN)
        if template is _UNKNOWN:
            template = self._flat(buffer, index, self._template)
            self._offsets[id(index)] = template
        if template is not None:
            return p.substituted(template, self._env)
        offset = self._flat(buffer, index, self._poly)
        assert offset is not None
        return offset

    def _flat(
        self, buffer: Buffer, index: Sequence[Expr], poly: Callable[[Expr], Poly | None]
    ) -> Poly | None:
        flat: Poly = {}
        for expr, size in zip(index, buffer.shape, strict=True):
            inner, at = poly(size), poly(expr)
            if inner is None or at is None:
                return None
            flat = p.add(p.mul(flat, inner), at)
        return p.scale(flat, buffer.dtype.bytes)

    def _address(self, buffer: Buffer, offset: Poly) -> tuple[Address, int | None]:
        """Where `offset` is, and an i32 to be added that no pointer can hold."""
        opaque = {term: c for term, c in offset.items() if _is_opaque(term)}
        affine = {term: c for term, c in offset.items() if term not in opaque}
        rest, number = p.split_constant(affine)
        if number < 0:  # an instruction's offset can't be
            rest, number = affine, 0
        extra = self._index_value(opaque) if opaque else None
        if extra is not None and self._values.kind(extra) == "v128":
            raise KernelError(f"{buffer.name}: lanes have no common address")
        pointer = self._pointers.find(self._scope, buffer.name, rest)
        return Address(pointer, number, self._stores.get(buffer.name, 0)), extra

    def _load(self, buffer: Buffer, index: Sequence[Expr]) -> int:
        offset = self._offset(buffer, index)
        stride = offset.pop((LANE,), 0)
        if any(LANE in term for term in offset):
            raise KernelError(f"{buffer.name}: lanes have no common address")
        if stride in (0, buffer.dtype.bytes):
            address, extra = self._address(buffer, offset)
            return self._values.load(buffer.dtype.key, stride != 0, address, extra)
        if stride == 16 and buffer.dtype.bytes == 4 and _in_groups(buffer, offset):
            number = offset.get((), 0) % 16
            return self._column(buffer, p.add(offset, p.constant(-number)), number // 4)
        parts = []
        for lane in range(4):
            address, extra = self._address(buffer, p.add(offset, p.constant(lane * stride)))
            parts.append(self._values.load(buffer.dtype.key, False, address, extra))
        return self._values.lanes(parts)

    def _column(self, buffer: Buffer, offset: Poly, number: int) -> int:
        """Element `number` of each of the four groups of four at `offset`: as all four of them are
        wanted as a rule, the groups are loaded whole and transposed.
        """
        groups = []
        for lane in range(4):
            address, extra = self._address(buffer, p.add(offset, p.constant(16 * lane)))
            groups.append(self._values.load(buffer.dtype.key, True, address, extra))
        return self._values.column(groups, number)

    def _store(self, buffer: Buffer, index: Sequence[Expr], expr: Expr) -> None:
        node = self._value(expr)
        offset = self._offset(buffer, index)
        stride = offset.pop((LANE,), 0)
        if any(LANE in term for term in offset):
            raise KernelError(f"{buffer.name}: lanes have no common address")
        if stride == 0 and self._values.kind(node) == "v128":
            raise KernelError(f"{buffer.name}: every lane stores one element")
        if stride in (0, buffer.dtype.bytes):
            if stride:
                node = self._values.splat(node)
            address, extra = self._address(buffer, offset)
            self._values.store(buffer.dtype.key, address, extra, node)
        else:
            vector = self._values.splat(node)
            for lane in range(4):
                address, extra = self._address(buffer, p.add(offset, p.constant(lane * stride)))
                part = self._values.lane(vector, expr.value, lane)
                self._values.store(buffer.dtype.key, address, extra, part)
        self._stores[buffer.name] = self._version()


def _in_groups(buffer: Buffer, offset: Poly) -> bool:
    """Whether rows are whole groups of 16 bytes and all but the constant part of the offset is, so
    that the rest of the element's group may be read, and its place in the group is known.
    """
    row = buffer.shape[-1]
    aligned = all(c % 16 == 0 for term, c in offset.items() if term)
    return isinstance(row, Int) and row.number % 4 == 0 and aligned and offset.get((), 0) >= 0


_LINEAR = ("add", "sub", "mul")
_UNKNOWN: Poly = {("?",): 0}  # compared by identity


def _runs(begin: Expr, end: Expr) -> bool:
    """Whether a loop is known to run at least once."""
    return isinstance(begin, Int) and isinstance(end, Int) and begin.number < end.number


def _is_opaque(term: p.Term) -> bool:
    return any(name.startswith("#") for name in term)
