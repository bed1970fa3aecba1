"""Kernels to WGSL, the language of WebGPU: one compute shader a kernel.

Loops bound to "workgroup.x" and "workgroup.y" become the number of the workgroup, those bound to
"local.x" the number of the thread in it; what lies outside of a local loop is done by every
thread alike, its stores by the first. Barriers are put where threads of a workgroup exchange
values, so that a bound kernel means what the interpreter says. A kernel without bound loops gets
one thread an iteration of its outer parallel loops.

WebGPU does not pin arithmetic down (fma may round twice, denormals may vanish): the results
agree with the interpreter within a tolerance only.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NotRequired, TypedDict

from pywasm_jit import poly as p
from pywasm_jit.interpret import apply
from pywasm_jit.ir import (
    Barrier,
    Declare,
    DType,
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
    Value,
    Var,
    loops,
    op,
    wrap,
)
from pywasm_jit.poly import Poly
from pywasm_jit.wgsl_regions import Accesses, Shared, distributed

Json = int | str | list["Json"]


class Shader(TypedDict):
    """`workgroups`: how many to dispatch, x, y and z, as expressions of the kernel's `extents`.

    Bindings of group 0: the kernel's global buffers in order, then (if there are extents) a
    uniform block of them, i32 each. `packed_source` is there for kernels with dot4 and needs the
    language feature packed_4x8_integer_dot_product.
    """

    entry: str
    source: str
    packed_source: NotRequired[str]
    workgroup_size: int
    workgroups: list[Json]
    extents: list[str]
    bindings: int


_THREADS = 64  # a workgroup, where the kernel leaves it open
_MOST_GROUPS = 65535  # maxComputeWorkgroupsPerDimension, everywhere
_MOST_THREADS = 256  # maxComputeInvocationsPerWorkgroup, everywhere
_MOST_SHARED = 16384  # maxComputeWorkgroupStorageSize, everywhere
_MOST_PRIVATE = 8192  # bytes of private variables, by the language


def render(kernel: Kernel) -> Shader:
    """The shader of `kernel`. Raises KernelError for what WebGPU can't do."""
    try:
        shader = _Shader(kernel, packed=False).shader()
        if "dot4(" in shader["source"]:
            shader["packed_source"] = _Shader(kernel, packed=True).shader()["source"]
    except KernelError as error:
        raise KernelError(f"{kernel.name}: {error}") from None
    return shader


def expression(expr: Expr) -> Json:
    """An expression of extents as a plan writes it."""
    match expr:
        case Int(number):
            return number
        case Extent(name):
            return name
        case Op("sub", (a, b)):
            return ["+", expression(a), ["*", -1, expression(b)]]
        case Op(name, args) if name in _JSON:
            return [_JSON[name], *map(expression, args)]
    raise KernelError(f"the number of workgroups depends on {expr!r}")


_JSON = {"add": "+", "mul": "*", "quo": "quo", "min": "min", "max": "max"}

# dtype -> (what an element of the storage array is, how an element is read)
_STORAGE = {
    "f32": ("f32", "{buffer}[{index}]"),
    "i32": ("i32", "{buffer}[{index}]"),
    "i8x4": ("i32", "{buffer}[{index}]"),
    "f16": ("u32", "unpack2x16float({buffer}[({index}) >> 1u])[({index}) & 1]"),
    "i8": (
        "u32",
        "extractBits(bitcast<i32>({buffer}[({index}) >> 2u]), 8u * u32(({index}) & 3), 8u)",
    ),
    "u8": ("u32", "i32(extractBits({buffer}[({index}) >> 2u], 8u * u32(({index}) & 3), 8u))"),
}
# dtype -> what private and workgroup memory, kept as whole values, keeps of a value
_NARROWED = {
    "f16": "quantizeToF16({0})",
    "i8": "extractBits({0}, 0u, 8u)",
    "u8": "({0} & 255)",
}

# Every operation, by the type of its last argument where that matters.
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
    "quo": "i32(u32({0}) / u32({1}))",
    "rem": "i32(u32({0}) % u32({1}))",
    "and": "({0} & {1})",
    "or": "({0} | {1})",
    "xor": "({0} ^ {1})",
    "shl": "({0} << (u32({1}) & 31u))",
    "shr": "bitcast<i32>(bitcast<u32>({0}) >> (u32({1}) & 31u))",
    "sar": "({0} >> (u32({1}) & 31u))",
    "popcount": "countOneBits({0})",
    "to_f32": "f32({0})",
    "to_i32": "i32({0})",
    "as_f32": "bitcast<f32>({0})",
    "as_i32": "bitcast<i32>({0})",
    "dot4": "dot4({0}, {1}, {2})",
}
_COMPARISONS = {"lt": "<", "le": "<=", "eq": "=="}

_HELPERS = {
    # A call is no constant expression, in which infinity and NaN are errors.
    "from_bits(": "fn from_bits(bits: u32) -> f32 { return bitcast<f32>(bits); }",
    "dot4(": """fn dot4(a: i32, b: i32, c: i32) -> i32 {
  return c + extractBits(a, 0u, 8u) * (b & 127) + extractBits(a, 8u, 8u) * ((b >> 8u) & 127)
    + extractBits(a, 16u, 8u) * ((b >> 16u) & 127) + extractBits(a, 24u, 8u) * ((b >> 24u) & 127);
}""",
}
_PACKED_DOT4 = """fn dot4(a: i32, b: i32, c: i32) -> i32 {
  return c + dot4I8Packed(bitcast<u32>(a), bitcast<u32>(b));
}"""


class _Shader:
    def __init__(self, kernel: Kernel, packed: bool) -> None:
        self._kernel = kernel
        self._packed = packed
        self._identifiers: dict[str, str] = {}
        self._lines: list[str] = []
        self._indent = 1
        self._env: dict[str, Poly] = {}  # of unrolled loops
        self._temporaries = 0
        self._uses: dict[int, int] = {}  # of a statement's nodes, by identity
        self._texts: dict[int, str] = {}
        self._constants: dict[int, int | float | None] = {}
        self._counts: dict[str, Expr] = {}
        self._local = False  # inside of a local loop
        mapped = {loop.mapping for loop in loops(kernel.body)}
        self._bound = bool(mapped & {"workgroup.x", "workgroup.y", "local.x"})
        self._wide = "workgroup.y" not in mapped
        self._size = _local_size(kernel) if self._bound else _THREADS
        self._distributed = distributed(kernel)
        self._shared = Shared(kernel)
        self._pending = Accesses()

    def shader(self) -> Shader:
        if self._bound:
            self._body(self._kernel.body)
        else:
            self._threads()
        memory = self._memory()
        body = "\n".join(self._lines)
        helpers = dict(_HELPERS, **({"dot4(": _PACKED_DOT4} if self._packed else {}))
        used = [helper for call, helper in helpers.items() if call in body]
        head = [f"@compute @workgroup_size({self._size})", "fn main("]
        head.append("  @builtin(workgroup_id) group: vec3<u32>,")
        head.append("  @builtin(local_invocation_index) index: u32,\n) {")
        head.append("  let thread = i32(index);")
        source = "\n".join([*memory, *used, *head, body, "}", ""])
        counts = [self._counts.get(f"workgroup.{axis}", Int(1)) for axis in "xy"]
        if counts[0] != Int(1) and self._wide:
            many = counts[0]
            counts = [op("min", many, _MOST_GROUPS), _ceil_div(many, _MOST_GROUPS)]
        return Shader(
            entry="main",
            source=source,
            workgroup_size=self._size,
            workgroups=[*map(expression, counts), 1],
            extents=list(self._kernel.extents),
            bindings=sum(buffer.space == "global" for buffer in self._kernel.buffers),
        )

    def _memory(self) -> list[str]:
        """Declarations of what lives outside of the function."""
        lines, binding, private, shared = [], 0, 0, 0
        for buffer in self._kernel.buffers:
            name, dtype = self._name(buffer.name), buffer.dtype
            if buffer.space == "global":
                access = "read" if buffer.access == "read" else "read_write"
                lines.append(
                    f"@group(0) @binding({binding}) var<storage, {access}> {name}: "
                    f"array<{_STORAGE[dtype.name][0]}>;"
                )
                binding += 1
                continue
            size = math.prod(_number(n) for n in buffer.shape)
            private += 4 * size * (buffer.space == "scratch")
            shared += 4 * size * (buffer.space == "workgroup")
            space = "private" if buffer.space == "scratch" else "workgroup"
            lines.append(f"var<{space}> {name}: array<{dtype.value}, {size}>;")
        if private > _MOST_PRIVATE:
            raise KernelError(f"{private} bytes of scratch; WGSL has {_MOST_PRIVATE} a thread")
        if shared > _MOST_SHARED:
            raise KernelError(f"{shared} bytes of workgroup memory; WebGPU has {_MOST_SHARED}")
        if self._kernel.extents:
            fields = "".join(f"  {self._name(name)}: i32,\n" for name in self._kernel.extents)
            lines.append(f"struct Extents {{\n{fields}}}")
            lines.append(f"@group(0) @binding({binding}) var<uniform> extents: Extents;")
        return lines

    def _name(self, name: str) -> str:
        """An identifier; the underscore at its end keeps it off WGSL's many reserved words."""
        found = self._identifiers.get(name)
        if found is None:
            plain = found = re.sub(r"\W", "_", name).strip("_") + "_"
            number = 0
            while found in self._identifiers.values():
                number += 1
                found = f"{plain}{number}_"
            self._identifiers[name] = found
        return found

    # -- statements -------------------------------------------------------------------------

    def _line(self, text: str) -> None:
        self._lines.append("  " * self._indent + text)

    @contextmanager
    def _block(self, head: str = "") -> Iterator[None]:
        self._line(f"{head} {{".lstrip())
        self._indent += 1
        yield
        self._indent -= 1
        self._line("}")

    def _threads(self) -> None:
        """One thread an iteration of the outer, perfectly nested parallel loops."""
        chain: list[For] = []
        body = self._kernel.body
        while (
            len(body) == 1
            and isinstance(body[0], For)
            and body[0].parallel
            and all(_of_extents(bound) for bound in (body[0].begin, body[0].end))
        ):
            chain.append(body[0])
            body = body[0].body
        if not chain:
            raise KernelError("no parallel loop is outermost, so no thread can have an iteration")
        counts = [op("sub", loop.end, loop.begin) for loop in chain]
        total: Expr = Int(1)
        for count in counts:
            total = op("mul", total, count)
        self._counts["workgroup.x"] = _ceil_div(total, _THREADS)
        self._line(
            f"let place = i32((group.y * {_MOST_GROUPS}u + group.x) * {_THREADS}u) + thread;"
        )
        with self._block(f"if (place < {self._whole(total)})"):
            rest = "place"
            for loop, count in reversed(list(zip(chain, counts, strict=True))):
                if loop is chain[0]:
                    value = rest
                else:
                    value = f"i32(u32({rest}) % u32({self._whole(count)}))"
                    rest_now = f"i32(u32({rest}) / u32({self._whole(count)}))"
                begin = "" if loop.begin == Int(0) else f"{self._whole(loop.begin)} + "
                self._line(f"let {self._name(loop.var)} = {begin}{value};")
                if loop is not chain[0]:
                    rest = f"rest_{len(self._lines)}"
                    self._line(f"let {rest} = {rest_now};")
            self._local = True
            self._body(body)

    def _body(self, body: Sequence[Stmt]) -> None:
        for stmt in body:
            self._exchange(stmt)
            match stmt:
                case For():
                    self._loop(stmt)
                case Declare(register):
                    size = math.prod(self._shape(register))
                    kind = f"array<{register.value}, {size}>" if register.shape else register.value
                    self._line(f"var {self._name(register.name)}: {kind};")
                case Set(register, index, expr):
                    self._begin(expr, *index)
                    self._line(f"{self._register(register, index)} = {self._text(expr)};")
                case Store():
                    self._store(stmt)
                case If(condition, inside):
                    self._begin(condition)
                    before = self._pending
                    with self._block(f"if ({self._condition(condition)})"):
                        self._body(inside)
                    self._pending = before | self._pending
                case Barrier():
                    self._barrier(self._shared.spaces)

    def _exchange(self, stmt: Stmt) -> None:
        """A barrier before `stmt`, if it meets what other threads did since the last one."""
        if self._local or not self._bound or self._size == 1:
            return
        if isinstance(stmt, (For, If)) and not (
            isinstance(stmt, For) and stmt.mapping == "local.x"
        ):
            return  # it is looked into
        accesses = self._shared.accesses(stmt)
        spaces = self._pending.conflicts(accesses)
        if spaces:
            self._barrier(spaces)
        self._pending = self._pending | accesses

    def _barrier(self, spaces: Sequence[str]) -> None:
        if "global" in spaces:
            self._line("storageBarrier();")
        self._line("workgroupBarrier();")
        self._pending = Accesses()

    def _loop(self, loop: For) -> None:
        name = self._name(loop.var)
        match loop.mapping:
            case "unroll" | "vector":
                self._begin(loop.begin, loop.end)
                begin, end = (_number(self._resolved(bound)) for bound in (loop.begin, loop.end))
                scoped = any(isinstance(stmt, Declare) for stmt in loop.body)
                for i in range(begin, end):
                    self._env[loop.var] = p.constant(i)
                    if scoped:
                        with self._block():
                            self._body(loop.body)
                    else:
                        self._body(loop.body)
                self._env.pop(loop.var, None)
            case "workgroup.x" | "workgroup.y":
                self._group(loop)
            case "local.x":
                count = _number(loop.end)
                guard = f"if (thread < {count})" if count < self._size else ""
                with self._block(guard):
                    self._line(f"let {name} = thread;")
                    self._local = True
                    self._body(loop.body)
                    self._local = False
            case "loop" | "grid":
                self._run(loop)
            case _:
                raise KernelError(f"loop {loop.var}: WGSL has no {loop.mapping}")

    def _run(self, loop: For) -> None:
        name = self._name(loop.var)
        self._begin(loop.begin, loop.end)
        begin, end = self._text(loop.begin), self._text(loop.end)
        if not _of_extents(loop.end):  # evaluated once
            self._line(f"let {name}end = {end};")
            end = f"{name}end"
        before = self._pending
        with self._block(f"for (var {name} = {begin}; {name} < {end}; {name}++)"):
            self._body(loop.body)
            if not self._local and self._bound:
                # The next iteration begins where this one ended.
                spaces = self._pending.conflicts(self._shared.accesses(loop))
                if spaces and self._size > 1:
                    self._barrier(spaces)
        self._pending = before | self._pending

    def _group(self, loop: For) -> None:
        name, axis = self._name(loop.var), loop.mapping[-1]
        if loop.mapping in self._counts or not loop.parallel or self._indent > 3:
            raise KernelError(
                f"loop {loop.var}: one parallel loop, the outermost, is {loop.mapping}"
            )
        if loop.begin != Int(0) or not _of_extents(loop.end):
            raise KernelError(f"loop {loop.var}: workgroups count from 0 to a size")
        self._counts[loop.mapping] = loop.end
        number = "group.y * 65535u + group.x" if axis == "x" and self._wide else f"group.{axis}"
        self._line(f"let {name} = i32({number});")
        with self._block(f"if ({name} < {self._whole(loop.end)})"):
            self._body(loop.body)

    def _store(self, store: Store) -> None:
        buffer, dtype = store.buffer, store.buffer.dtype
        self._begin(store.expr, *store.index)
        text, index = self._text(store.expr), self._flat(buffer.shape, store.index)
        if dtype.name in _NARROWED:
            if buffer.space == "global":
                raise KernelError(f"{buffer.name}: WGSL writes no {dtype.name}; write i8x4 or f32")
            text = _NARROWED[dtype.name].format(text)
        line = f"{self._name(buffer.name)}[{index}] = {text};"
        alone = not self._local and buffer.space != "scratch" and self._size > 1
        self._line(f"if (thread == 0) {{ {line} }}" if alone else line)

    # -- values -----------------------------------------------------------------------------

    def _begin(self, *exprs: Expr) -> None:
        """A new statement: nodes that it uses twice get a name once (they form a graph)."""
        self._uses, self._texts, self._constants = {}, {}, {}
        waiting = list(exprs)
        while waiting:
            expr = waiting.pop()
            self._uses[id(expr)] = self._uses.get(id(expr), 0) + 1
            if self._uses[id(expr)] == 1:
                waiting += _parts(expr)

    def _whole(self, expr: Expr) -> str:
        self._begin(expr)
        return self._text(expr)

    def _text(self, expr: Expr) -> str:
        found = self._texts.get(id(expr))
        if found is None:
            found = self._render(expr)
            if self._uses.get(id(expr), 0) > 1 and not re.fullmatch(r"\w+", found):
                self._temporaries += 1
                name = f"t{self._temporaries}"
                self._line(f"let {name} = {found};")
                found = name
            self._texts[id(expr)] = found
        return found

    def _render(self, expr: Expr) -> str:
        number = self._constant(expr)
        if number is not None:
            return _literal(number, expr.value)
        match expr:
            case Var() | Extent():
                return self._polynomial(self._poly(expr))
            case Get(register, index):
                return self._register(register, index)
            case Load(buffer, index):
                place = self._flat(buffer.shape, index)
                read = "{buffer}[{index}]" if buffer.space != "global" else _read(buffer.dtype)
                return read.format(buffer=self._name(buffer.name), index=place)
            case Op(name, args):
                if expr.value == "i32" and name in _LINEAR and _affine(expr):
                    return f"({self._polynomial(self._poly(expr))})"
                if name in _COMPARISONS:
                    return f"select(0, 1, {self._condition(expr)})"
                if name == "select":
                    condition = self._condition(args[0])
                    return f"select({self._text(args[2])}, {self._text(args[1])}, {condition})"
                return _OPS[name].format(*map(self._text, args))
        raise KernelError(f"{expr!r} is no expression")

    def _condition(self, expr: Expr) -> str:
        """`expr` as a bool."""
        match expr:
            case Op(name, (a, b)) if name in _COMPARISONS:
                return f"({self._text(a)} {_COMPARISONS[name]} {self._text(b)})"
            case Op("and", (a, b)) if _is_truth(a) and _is_truth(b):
                return f"({self._condition(a)} && {self._condition(b)})"
            case Op("or", (a, b)) if _is_truth(a) and _is_truth(b):
                return f"({self._condition(a)} || {self._condition(b)})"
        return f"({self._text(expr)} != 0)"

    def _constant(self, expr: Expr) -> int | float | None:
        """The value of an expression of constants: WGSL refuses some (overflow, infinity)."""
        match expr:
            case Int(number) | Float(number):
                return number
            case Var(name) if name in self._env:
                return self._env[name].get((), 0)
            case Op(name, args):
                if id(expr) not in self._constants:
                    numbers = [self._constant(arg) for arg in args]
                    known = [number for number in numbers if number is not None]
                    self._constants[id(expr)] = (
                        apply(name, args[-1].value, known) if len(known) == len(args) else None
                    )
                return self._constants[id(expr)]
        return None

    def _register(self, register: Register, index: Sequence[Expr]) -> str:
        name = self._name(register.name)
        if not register.shape:
            return name
        axis = self._distributed.get(register.name)
        kept = [expr for i, expr in enumerate(index) if i != axis]
        return f"{name}[{self._flat([Int(n) for n in self._shape(register)], kept)}]"

    def _shape(self, register: Register) -> list[int]:
        """Without the axis that runs over threads: each has its own part of it."""
        axis = self._distributed.get(register.name)
        return [n for i, n in enumerate(register.shape) if i != axis]

    def _flat(self, shape: Sequence[Expr], index: Sequence[Expr]) -> str:
        flat: Poly = {}
        for expr, size in zip(index, shape, strict=True):
            flat = p.add(p.mul(flat, self._poly(size)), self._poly(expr))
        return self._polynomial(flat)

    def _poly(self, expr: Expr) -> Poly:
        """An index as a polynomial of WGSL texts."""
        number = self._constant(expr)
        if number is not None:
            return p.constant(int(number))
        match expr:
            case Var(name):
                return p.name(self._name(name))
            case Extent(name):
                return p.name(f"extents.{self._name(name)}")
            case Op("add", (a, b)):
                return p.add(self._poly(a), self._poly(b))
            case Op("sub", (a, b)):
                return p.add(self._poly(a), self._poly(b), -1)
            case Op("mul", (a, b)):
                return p.mul(self._poly(a), self._poly(b))
        return p.name(self._text(expr))

    def _polynomial(self, poly: Poly) -> str:
        text = ""
        for term, coefficient in sorted(poly.items(), key=lambda item: (-len(item[0]), item[0])):
            number = wrap(coefficient)
            factors = [
                *term,
                *([_literal(abs(number), "i32")] if abs(number) != 1 or not term else []),
            ]
            sign = ("-" if number < 0 else "") if not text else " - " if number < 0 else " + "
            text += sign + " * ".join(factors)
        return text or "0"

    def _resolved(self, expr: Expr) -> Expr:
        number = self._constant(expr)
        return expr if number is None else Int(int(number))


_LINEAR = ("add", "sub", "mul")


def _affine(expr: Expr) -> bool:
    """Whether `expr` is made of sums and products of variables and sizes."""
    match expr:
        case Int() | Var() | Extent():
            return True
        case Op(name, args) if name in _LINEAR:
            return all(map(_affine, args))
    return False


def _of_extents(expr: Expr) -> bool:
    match expr:
        case Int() | Extent():
            return True
        case Op(_, args):
            return all(map(_of_extents, args))
    return False


def _is_truth(expr: Expr) -> bool:
    match expr:
        case Op(name, args):
            return name in _COMPARISONS or (name in ("and", "or") and all(map(_is_truth, args)))
    return False


def _parts(expr: Expr) -> Sequence[Expr]:
    match expr:
        case Op(_, parts) | Load(_, parts) | Get(_, parts):
            return parts
    return ()


def _read(dtype: DType) -> str:
    return _STORAGE[dtype.name][1]


def _number(expr: Expr) -> int:
    if not isinstance(expr, Int):
        raise KernelError(f"{expr!r} where a constant is needed")
    return expr.number


def _ceil_div(expr: Expr, divisor: int) -> Expr:
    return op("quo", op("add", expr, divisor - 1), divisor)


def _local_size(kernel: Kernel) -> int:
    """Threads of a workgroup: the longest local loop."""
    size = 1
    for loop in loops(kernel.body):
        if loop.mapping == "local.x":
            if not loop.parallel or loop.begin != Int(0):
                raise KernelError(f"loop {loop.var}: a local loop is parallel and from 0")
            if any(inner.mapping == "local.x" for inner in loops(loop.body)):
                raise KernelError(f"loop {loop.var}: a local loop in a local loop")
            size = max(size, _number(loop.end))
    if size > _MOST_THREADS:
        raise KernelError(f"{size} threads; a workgroup has {_MOST_THREADS} at most")
    return size


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
