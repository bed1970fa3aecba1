"""One instance of builder.wasm under wasmtime: memory, calls, errors. The rest is in engine.py.

The engine does no I/O and shares nothing between instances; each holds one index and one build.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import wasmtime

from pywasm._abi import PwStatus
from pywasm.cache_dir import cache_dir

ENGINE_WASM = Path(__file__).with_name("_web") / "builder.wasm"

Buffer = bytes | bytearray | memoryview | npt.NDArray[Any]


class EngineError(Exception):
    """The engine refused: `status` says in which way, the text what, where and what it expected."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = PwStatus(status)


def _load_module(engine: wasmtime.Engine, wasm: Path) -> wasmtime.Module:
    """Compile, or take the machine code of an earlier process from the user's cache."""
    data = wasm.read_bytes()
    name = hashlib.sha256(data + version("wasmtime").encode()).hexdigest()[:32]
    cached = cache_dir() / "engine" / f"{name}.cwasm"
    with contextlib.suppress(OSError, wasmtime.WasmtimeError):
        return wasmtime.Module.deserialize(engine, cached.read_bytes())
    module = wasmtime.Module(engine, data)
    # The cache is a convenience: a folder that can't be written is no error.
    with contextlib.suppress(OSError):
        cached.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=cached.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(module.serialize())
        Path(temporary).replace(cached)
    return module


@functools.cache
def _compiled() -> tuple[wasmtime.Engine, wasmtime.Module]:
    config = wasmtime.Config()
    config.wasm_simd = True
    config.cranelift_opt_level = "speed"
    engine = wasmtime.Engine(config)
    if not ENGINE_WASM.exists():
        raise FileNotFoundError(f"{ENGINE_WASM} is missing: a checkout needs `make` to build it")
    return engine, _load_module(engine, ENGINE_WASM)


def _as_bytes(data: Buffer) -> memoryview:
    """The bytes of `data` without a copy (with one where an array is not contiguous)."""
    if isinstance(data, np.ndarray):
        return np.ascontiguousarray(data).reshape(-1).view(np.uint8).data
    return memoryview(data).cast("B")


class Instance:
    """The exported functions as methods of `call`, and copies in and out of the memory."""

    def __init__(self) -> None:
        engine, module = _compiled()
        self._store = wasmtime.Store(engine)
        instance = wasmtime.Instance(self._store, module, [])
        exports = instance.exports(self._store)
        self._exports: dict[str, Any] = {
            name: exports[name] for name in exports if isinstance(exports[name], wasmtime.Func)
        }
        memory = exports["memory"]
        assert isinstance(memory, wasmtime.Memory)
        self._memory = memory
        self.call("_initialize")

    def call(self, name: str, *arguments: int) -> int:
        """Call an export. 32-bit results are signed; a call without result gives 0."""
        return self._exports[name](self._store, *arguments) or 0

    def check(self, name: str, *arguments: int) -> int:
        """`call`, with a status below zero raised as EngineError."""
        status = self.call(name, *arguments)
        if status < 0:
            raise self.error(status)
        return status

    def error(self, status: int) -> EngineError:
        """The engine's last failure."""
        address = self.call("pw_error") & 0xFFFFFFFF
        text = self.read(address, min(512, self.memory_bytes - address)).split(b"\0", 1)[0]
        return EngineError(status, text.decode("utf-8", "replace"))

    @property
    def memory_bytes(self) -> int:
        """Bytes of the instance's linear memory, which only grows."""
        return self._memory.data_len(self._store)

    def view(self, address: int, size: int) -> memoryview:
        """The memory itself. It holds until the next call, which may grow (and move) the memory."""
        address &= 0xFFFFFFFF
        if address + size > self.memory_bytes:
            raise ValueError(f"{size} bytes at {address} leave the memory")
        base = self._memory.data_ptr(self._store)
        start = ctypes.addressof(base.contents) + address
        return memoryview((ctypes.c_ubyte * size).from_address(start)).cast("B")

    def read(self, address: int, size: int) -> bytes:
        """A copy of `size` bytes."""
        return bytes(self.view(address, size))

    def array(self, address: int, dtype: npt.DTypeLike, count: int) -> npt.NDArray[Any]:
        """A copy of `count` items."""
        item = np.dtype(dtype)
        return np.frombuffer(self.read(address, item.itemsize * count), dtype=item, count=count)

    def write(self, address: int, data: Buffer) -> None:
        """Copy `data` in."""
        source = _as_bytes(data)
        if source.nbytes:
            self.view(address, source.nbytes)[:] = source

    @contextlib.contextmanager
    def buffer(self, size: int) -> Iterator[int]:
        """The address of `size` bytes, 16-byte aligned, freed at the end."""
        address = self.call("pw_alloc", max(size, 16))
        if address == 0:
            raise EngineError(PwStatus.PW_NO_MEMORY, f"no memory for {size} bytes")
        try:
            yield address
        finally:
            self.call("pw_free", address)

    @contextlib.contextmanager
    def given(self, data: Buffer) -> Iterator[tuple[int, int]]:
        """The address and size of a copy of `data`, freed at the end."""
        size = _as_bytes(data).nbytes
        with self.buffer(size) as address:
            self.write(address, data)
            yield address, size

    def out(self, name: str, *arguments: int) -> bytes | None:
        """Call a function of the form `pointer f(..., u32* bytes)`; None for a null pointer."""
        with self.buffer(4) as size_at:
            address = self.call(name, *arguments, size_at) & 0xFFFFFFFF
            if address == 0:
                return None
            return self.read(address, int.from_bytes(self.read(size_at, 4), "little"))
