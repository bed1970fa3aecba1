"""Runs shaders on a GPU, or on the software adapter that stands in for one."""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping
from typing import Any

import pytest

from pywasm_jit.interpret import interpret
from pywasm_jit.ir import F32, Kernel
from pywasm_jit.wgsl import Shader, render

# Not everybody's machine has a Vulkan driver; CI installs Mesa's lavapipe.
wgpu = pytest.importorskip("wgpu")


@functools.cache
def device() -> Any:
    try:
        adapter = wgpu.gpu.request_adapter_sync()
    except RuntimeError as error:
        pytest.skip(f"no GPU adapter: {error}")
    return adapter.request_device_sync()


def agree(
    kernel: Kernel,
    buffers: Mapping[str, bytes],
    extents: Mapping[str, int],
    tolerance: float = 1e-6,
    definition: Kernel | None = None,
) -> None:
    """Every buffer is as the interpreter leaves it; f32 within a share of their size."""
    expected = {name: bytearray(content) for name, content in buffers.items()}
    interpret(definition or kernel, expected, extents)
    got = {name: bytearray(content) for name, content in buffers.items()}
    shader = run(kernel, got, extents)
    compare(kernel, got, expected, tolerance)
    if "packed_source" in shader:
        got = {name: bytearray(content) for name, content in buffers.items()}
        dispatch(kernel, shader, shader["packed_source"], got, extents)
        compare(kernel, got, expected, tolerance)


def compare(
    kernel: Kernel,
    got: Mapping[str, bytearray],
    expected: Mapping[str, bytearray],
    tolerance: float,
) -> None:
    for buffer in kernel.buffers:
        if buffer.space != "global":
            continue
        if buffer.dtype != F32:
            assert got[buffer.name] == expected[buffer.name], buffer.name
            continue
        floats = f"<{len(got[buffer.name]) // 4}f"
        pairs = zip(
            struct.unpack(floats, got[buffer.name]),
            struct.unpack(floats, expected[buffer.name]),
            strict=True,
        )
        for i, (a, b) in enumerate(pairs):
            assert a == b or abs(a - b) <= tolerance * max(1, abs(b)), (buffer.name, i, a, b)


def run(kernel: Kernel, buffers: Mapping[str, bytearray], extents: Mapping[str, int]) -> Shader:
    """Run `kernel` as WGSL on `buffers` (global ones by name), in place, like `interpret`."""
    shader = render(kernel)
    dispatch(kernel, shader, shader["source"], buffers, extents)
    return shader


def dispatch(
    kernel: Kernel,
    shader: Shader,
    source: str,
    buffers: Mapping[str, bytearray],
    extents: Mapping[str, int],
) -> None:
    usage = wgpu.BufferUsage
    gpu = device()
    bindings = []
    outputs = []
    for buffer in kernel.buffers:
        if buffer.space == "global":
            data = bytes(buffers[buffer.name])
            data += bytes(-len(data) % 4)
            held = gpu.create_buffer_with_data(data=data, usage=usage.STORAGE | usage.COPY_SRC)
            bindings.append(held)
            if buffer.access != "read":
                outputs.append((buffer.name, held))
    if kernel.extents:
        sizes = b"".join(extents[name].to_bytes(4, "little") for name in kernel.extents)
        bindings.append(gpu.create_buffer_with_data(data=sizes, usage=usage.UNIFORM))
    pipeline = gpu.create_compute_pipeline(
        layout="auto",
        compute={
            "module": gpu.create_shader_module(code=source),
            "entry_point": shader["entry"],
        },
    )
    group = gpu.create_bind_group(
        layout=pipeline.get_bind_group_layout(0),
        entries=[
            {"binding": i, "resource": {"buffer": held, "offset": 0, "size": held.size}}
            for i, held in enumerate(bindings)
        ],
    )
    encoder = gpu.create_command_encoder()
    work = encoder.begin_compute_pass()
    work.set_pipeline(pipeline)
    work.set_bind_group(0, group)
    work.dispatch_workgroups(*(evaluate(count, extents) for count in shader["workgroups"]))
    work.end()
    gpu.queue.submit([encoder.finish()])
    for name, held in outputs:
        buffers[name][:] = bytes(gpu.queue.read_buffer(held))[: len(buffers[name])]


def evaluate(expr: Any, symbols: Mapping[str, int]) -> int:
    """An expression of a plan."""
    match expr:
        case int():
            return expr
        case str():
            return symbols[expr]
    name, *args = expr
    values = [evaluate(arg, symbols) for arg in args]
    match name:
        case "+":
            return sum(values)
        case "*":
            return functools.reduce(lambda a, b: a * b, values)
        case "quo":
            return values[0] // values[1]
        case "min":
            return min(values)
        case "max":
            return max(values)
    raise ValueError(f"no operation {name!r}")
