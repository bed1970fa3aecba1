"""Kernels to WGSL, the language of WebGPU: one compute shader a kernel.

Loops bound to "workgroup.x" and "workgroup.y" become the number of the workgroup, those bound to
"local.x" the number of the thread in it; what lies outside of a local loop is done by every
thread alike, its stores by the first. Barriers are put where threads of a workgroup exchange
values, so that a bound kernel means what the interpreter says. A kernel without bound loops gets
one thread an iteration of its outer parallel loops.

WebGPU does not pin arithmetic down (fma may round twice, denormals may vanish): results agree
with the interpreter within a tolerance only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NotRequired, TypedDict

from pywasm_jit.ir import (
    Barrier,
    Declare,
    Expr,
    Extent,
    For,
    If,
    Int,
    Kernel,
    KernelError,
    Op,
    Set,
    Stmt,
    Store,
    loops,
    named_value,
    op,
)
from pywasm_jit.wgsl_regions import Accesses, Shared, distributed, local_size
from pywasm_jit.wgsl_values import HELPERS, NARROWED, PACKED_DOT4, STORAGE, Names, Values

Json = int | str | list["Json"]


class Shader(TypedDict):
    """A shader and how to run it.

    Bindings of group 0: the kernel's global buffers in order, storage all; then, if there are
    extents, a uniform block of them, i32 each. `workgroups`: how many to dispatch, x, y and z, as
    expressions of `extents`. `packed_source` is there for kernels with dot4 and needs the
    language feature packed_4x8_integer_dot_product.
    """

    entry: str
    source: str
    packed_source: NotRequired[str]
    workgroup_size: int
    workgroups: list[Json]
    extents: list[str]
    storage_buffers: int


_THREADS = 64  # of a workgroup, where the kernel leaves it open
# Limits that every device has.
_MOST_GROUPS = 65535  # maxComputeWorkgroupsPerDimension
_MOST_SHARED = 16384  # maxComputeWorkgroupStorageSize
_MOST_PRIVATE = 8192  # bytes of private variables, by the language


def render(kernel: Kernel) -> Shader:
    """The shader of `kernel`. Raises KernelError for what WebGPU can't do."""
    try:
        shader = _Shader(kernel, HELPERS).shader()
        if HELPERS["dot4("] in shader["source"]:
            packed = _Shader(kernel, HELPERS | {"dot4(": PACKED_DOT4}).shader()
            shader["packed_source"] = packed["source"]
    except KernelError as error:
        raise KernelError(f"{kernel.name}: {error}") from None
    return shader


class _Shader:
    def __init__(self, kernel: Kernel, helpers: dict[str, str]) -> None:
        self._kernel = kernel
        self._helpers = helpers
        self._names = Names()
        self._lines: list[str] = []
        self._indent = 1
        self._values = Values(self._names, distributed(kernel), self._line)
        self._groups: dict[str, Expr] = {}  # axis -> how many
        mapped = {loop.mapping for loop in loops(kernel.body)}
        self._bound = bool(mapped & {"workgroup.x", "workgroup.y", "local.x"})
        self._one_axis = "workgroup.y" not in mapped
        self._size = local_size(kernel) if self._bound else _THREADS
        self._shared = Shared(kernel)
        self._pending = Accesses()  # since the last barrier
        self._outside = True  # of all loops but workgroups'
        self._local = False  # inside of a local loop

    def shader(self) -> Shader:
        if self._bound:
            self._body(self._kernel.body)
        else:
            self._threads()
        memory = self._memory()
        body = "\n".join(self._lines)
        head = [
            f"@compute @workgroup_size({self._size})",
            "fn main(",
            "  @builtin(workgroup_id) group: vec3<u32>,",
            "  @builtin(local_invocation_index) index: u32,",
            ") {",
            "  let thread = i32(index);",
        ]
        used = [helper for call, helper in self._helpers.items() if call in body]
        groups = [self._groups.get(axis, Int(1)) for axis in "xy"]
        if self._one_axis and not _few(groups[0]):
            groups = [op("min", groups[0], _MOST_GROUPS), _ceil_div(groups[0], _MOST_GROUPS)]
        return Shader(
            entry="main",
            source="\n".join([*memory, *used, *head, body, "}", ""]),
            workgroup_size=self._size,
            workgroups=[*map(_json, groups), 1],
            extents=list(self._kernel.extents),
            storage_buffers=sum(buffer.space == "global" for buffer in self._kernel.buffers),
        )

    def _memory(self) -> list[str]:
        """Declarations of what lives outside of the function."""
        lines: list[str] = []
        held = {"private": 0, "workgroup": 0}
        for buffer in self._kernel.buffers:
            name, dtype = self._names[buffer.name], buffer.dtype
            if buffer.space == "global":
                access = "read" if buffer.access == "read" else "read_write"
                element = STORAGE[dtype.name][0]
                lines.append(
                    f"@group(0) @binding({len(lines)}) "
                    f"var<storage, {access}> {name}: array<{element}>;"
                )
        binding = len(lines)
        for buffer in self._kernel.buffers:
            if buffer.space != "global":
                size = math.prod(self._values.number(n) for n in buffer.shape)
                # What a grid iteration has to itself is a thread's or, if bound, a workgroup's.
                space = "workgroup" if self._bound else "private"
                held[space] += 4 * size
                element = buffer.dtype.value
                lines.append(f"var<{space}> {self._names[buffer.name]}: array<{element}, {size}>;")
        for space, most in ("private", _MOST_PRIVATE), ("workgroup", _MOST_SHARED):
            if held[space] > most:
                raise KernelError(f"{held[space]} bytes of {space} memory, more than {most}")
        if self._kernel.extents:
            fields = "".join(f"  {self._names[name]}: i32,\n" for name in self._kernel.extents)
            lines.append(f"struct Extents {{\n{fields}}}")
            lines.append(f"@group(0) @binding({binding}) var<uniform> extents: Extents;")
        return lines

    def _line(self, text: str) -> None:
        self._lines.append("  " * self._indent + text)

    @contextmanager
    def _block(self, head: str = "") -> Iterator[None]:
        self._line(f"{head} {{".lstrip())
        self._indent += 1
        yield
        self._indent -= 1
        self._line("}")

    # -- threads ----------------------------------------------------------------------------

    def _threads(self) -> None:
        """One thread an iteration of the outer, perfectly nested parallel loops."""
        chain: list[For] = []
        names: list[For] = []
        body = self._kernel.body
        while len(body) == 1 and isinstance(loop := body[0], For):
            if named_value(loop) is not None:
                names.append(loop)
            elif loop.parallel and _of_extents(loop.begin) and _of_extents(loop.end):
                chain.append(loop)
            else:
                break
            body = loop.body
        if not chain and not names:
            raise KernelError("no parallel loop is outermost, so no thread can have an iteration")
        counts = [op("sub", loop.end, loop.begin) for loop in chain]
        total: Expr = Int(1)
        for count in counts:
            total = op("mul", total, count)
        self._groups["x"] = _ceil_div(total, _THREADS)
        self._line(f"let place0 = ({self._group_number()}) * {_THREADS} + thread;")
        with self._block(f"if (place0 < {self._values.whole(total)})"):
            for depth, loop in enumerate(reversed(chain)):  # neighbours run the innermost loop
                place, n = f"u32(place{depth})", f"u32({self._values.whole(counts[-1 - depth])})"
                begin = "" if loop.begin == Int(0) else f"{self._values.whole(loop.begin)} + "
                self._line(f"let {self._names[loop.var]} = {begin}i32({place} % {n});")
                self._line(f"let place{depth + 1} = i32({place} / {n});")
            for loop in names:
                self._name(loop)
            self._body(body)

    def _group_number(self) -> str:
        """Along x; where y is free, what doesn't fit x goes there."""
        if self._one_axis and not _few(self._groups["x"]):
            return f"i32(group.y * {_MOST_GROUPS}u + group.x)"
        return "i32(group.x)"

    def _group(self, loop: For, axis: str) -> None:
        if axis in self._groups or not self._outside:
            raise KernelError(
                f"loop {loop.var}: an outermost loop, and only one, is {loop.mapping}"
            )
        if not loop.parallel or loop.begin != Int(0) or not _of_extents(loop.end):
            raise KernelError(
                f"loop {loop.var}: workgroups are parallel and count from 0 to a size"
            )
        self._groups[axis] = loop.end
        number = self._group_number() if axis == "x" else "i32(group.y)"
        self._line(f"let {self._names[loop.var]} = {number};")
        with self._block(f"if ({self._names[loop.var]} < {self._values.whole(loop.end)})"):
            self._body(loop.body)

    def _local_loop(self, loop: For) -> None:
        name = self._names[loop.var]
        self._values.begin(loop.begin, loop.end)
        begin = "" if loop.begin == Int(0) else f"{self._values.text(loop.begin)} + "
        every = loop.begin == Int(0) and loop.end == Int(self._size)
        with self._block():
            self._line(f"let {name} = {begin}thread;")
            with self._block("" if every else f"if ({name} < {self._values.text(loop.end)})"):
                self._local = True
                self._body(loop.body)
                self._local = False

    def _exchange(self, stmt: Stmt) -> None:
        """A barrier before `stmt`, if it meets what other threads did since the last one."""
        if self._local or self._size == 1 or not self._bound:
            return
        spaces = self._pending.conflicts(self._shared.accesses(stmt))
        if spaces:
            self._barrier(spaces)
        if self._shared.meets_inside(stmt):
            self._pending = self._pending | self._shared.own_accesses(stmt)
        else:
            self._pending = self._pending | self._shared.accesses(stmt)

    def _barrier(self, spaces: Sequence[str]) -> None:
        if "global" in spaces:
            self._line("storageBarrier();")
        self._line("workgroupBarrier();")
        self._pending = Accesses()

    # -- statements -------------------------------------------------------------------------

    def _body(self, body: Sequence[Stmt]) -> None:
        for stmt in body:
            self._exchange(stmt)
            match stmt:
                case For():
                    self._loop(stmt)
                case Declare(register):
                    kind: str = register.value
                    if register.shape:
                        kind = f"array<{kind}, {math.prod(self._values.shape(register))}>"
                    self._line(f"var {self._names[register.name]}: {kind};")
                case Set(register, index, expr):
                    self._values.begin(expr, *index)
                    text = self._values.text(expr)
                    self._line(f"{self._values.register(register, index)} = {text};")
                case Store():
                    self._store(stmt)
                case If(condition, inside):
                    self._values.begin(condition)
                    with self._inside(f"if {self._values.condition(condition)}"):
                        self._body(inside)
                case Barrier():
                    self._barrier(self._shared.spaces)

    @contextmanager
    def _inside(self, head: str) -> Iterator[None]:
        """A block that may not run: its barriers are none for what follows."""
        before, outside = self._pending, self._outside
        self._outside = False
        with self._block(head):
            yield
        self._pending = before | self._pending
        self._outside = outside

    def _loop(self, loop: For) -> None:
        match loop.mapping:
            case "unroll" | "vector":
                self._unroll(loop)
            case "workgroup.x" | "workgroup.y":
                self._group(loop, loop.mapping[-1])
            case "local.x":
                self._local_loop(loop)
            case "loop" | "grid":
                if named_value(loop) is None:
                    self._run(loop)
                else:
                    self._name(loop)
                    self._body(loop.body)
            case _:
                raise KernelError(f"loop {loop.var}: WGSL has no {loop.mapping}")

    def _name(self, loop: For) -> None:
        self._line(f"let {self._names[loop.var]} = {self._values.whole(loop.begin)};")

    def _unroll(self, loop: For) -> None:
        begin, end = self._values.number(loop.begin), self._values.number(loop.end)
        declares = any(map(_declares, loop.body))
        for i in range(begin, end):
            self._values.env[loop.var] = i
            if declares:
                with self._block():
                    self._body(loop.body)
            else:
                self._body(loop.body)
        self._values.env.pop(loop.var, None)

    def _run(self, loop: For) -> None:
        name = self._names[loop.var]
        self._values.begin(loop.begin, loop.end)
        begin, end = self._values.text(loop.begin), self._values.text(loop.end)
        if not _of_extents(loop.end):  # is evaluated once
            end = self._values.temporary(end)
        with self._inside(f"for (var {name} = {begin}; {name} < {end}; {name}++)"):
            self._body(loop.body)
            if not self._local and self._bound and self._size > 1:
                # The next iteration begins where this one ended.
                spaces = self._pending.conflicts(self._shared.accesses(loop))
                if spaces:
                    self._barrier(spaces)

    def _store(self, store: Store) -> None:
        buffer = store.buffer
        self._values.begin(store.expr, *store.index)
        text = self._values.text(store.expr)
        if buffer.dtype.name in NARROWED:
            if buffer.space == "global":
                raise KernelError(f"{buffer.name}: WGSL stores no {buffer.dtype.name}, but i8x4")
            text = NARROWED[buffer.dtype.name].format(text)
        line = f"{self._values.element(buffer, store.index)} = {text};"
        every = self._local or not self._bound or self._size == 1
        self._line(line if every else f"if (thread == 0) {{ {line} }}")


_JSON = {"add": "+", "mul": "*", "quo": "quo", "min": "min", "max": "max"}


def _json(expr: Expr) -> Json:
    """An expression of extents as a plan writes it."""
    match expr:
        case Int(number):
            return number
        case Extent(name):
            return name
        case Op("sub", (a, b)):
            return ["+", _json(a), ["*", -1, _json(b)]]
        case Op(name, args) if name in _JSON:
            return [_JSON[name], *map(_json, args)]
    raise KernelError(f"the number of workgroups depends on {expr!r}")


def _of_extents(expr: Expr) -> bool:
    match expr:
        case Int() | Extent():
            return True
        case Op(_, args):
            return all(map(_of_extents, args))
    return False


def _ceil_div(expr: Expr, divisor: int) -> Expr:
    return op("quo", op("add", expr, divisor - 1), divisor)


def _few(groups: Expr) -> bool:
    """Whether they are known to fit one axis."""
    return isinstance(groups, Int) and groups.number <= _MOST_GROUPS


def _declares(stmt: Stmt) -> bool:
    """Whether a name is declared in the very block that `stmt` is rendered to."""
    if isinstance(stmt, For) and stmt.mapping in ("loop", "grid"):
        return named_value(stmt) is not None
    return isinstance(stmt, Declare)
