"""Kernels as a GPU runs them against what they are defined to be: interpreted, unscheduled."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Mapping
from typing import Any

import pytest
from gpu_host import agree

from pywasm_jit import gpu
from pywasm_jit.interpret import evaluate
from pywasm_jit.ir import Kernel, KernelError
from pywasm_jit.kernels import KERNELS

Case = tuple[str, dict[str, Any], dict[str, int]]
CASES: list[Case] = [
    ("matmul", {"K": 16, "N": 24, "bias": True, "activation": "gelu"}, {"rows": 5}),
    ("matmul", {"K": 36, "N": 72, "residual": True}, {"rows": 35}),
    ("matmul", {"K": 8, "N": 8, "weights": "f16", "activation": "silu"}, {"rows": 1}),
    ("matmul_i8", {"K": 32, "N": 72, "bias": True, "residual": True}, {"rows": 35}),
    ("matmul_i8", {"K": 4, "N": 8, "activation": "gelu_tanh"}, {"rows": 2}),
    ("matmul_i8", {"K": 32, "N": 72, "offset": True}, {"rows": 35}),
    ("quantize_rows", {"K": 48, "channels": True, "offset": True}, {"rows": 7}),
    ("quantize_rows", {"K": 16}, {"rows": 3}),
    ("attention", {"heads": 2, "head_dim": 8}, {"batch": 3, "seq": 37}),
    ("attention", {"heads": 1, "head_dim": 16, "scale": 0.5}, {"batch": 2, "seq": 5}),
    ("layer_norm", {"width": 72, "residual": True}, {"rows": 3}),
    ("layer_norm", {"width": 64, "eps": 1e-5}, {"rows": 2}),
    ("matmul_block", {"K": 32, "N": 16, "bits": 4, "bias": True}, {"rows": 3}),
    ("matmul_block", {"K": 64, "N": 8, "bits": 8, "activation": "silu"}, {"rows": 2}),
    ("block_sums", {"K": 64}, {"rows": 2}),
    ("quantize_blocks", {"K": 64, "bits": 7}, {"rows": 2}),
    ("matmul_q", {"K": 64, "N": 8, "bits": 4, "residual": True}, {"rows": 2}),
    ("matmul_q", {"K": 32, "N": 16, "bits": 8, "bias": True}, {"rows": 3}),
    ("quantize_blocks", {"K": 64, "planes": 2}, {"rows": 2}),
    ("matmul_q", {"K": 32, "N": 16, "bits": 4, "planes": 2}, {"rows": 3}),
    ("matmul_dequant", {"K": 32, "N": 16, "bits": 4, "bias": True}, {"rows": 3}),
    ("matmul_dequant", {"K": 32, "N": 8, "bits": 8, "residual": True}, {"rows": 7}),
    ("embed_block", {"K": 64, "bits": 4}, {"rows": 3, "vocab": 16}),
    ("embed_block", {"K": 32, "bits": 8}, {"rows": 3, "vocab": 16}),
    ("silu_mul", {"width": 24}, {"rows": 3}),
    (
        "paged_attention",
        {"heads": 4, "kv_heads": 2, "head_dim": 8, "layers": 1},
        {"rows": 3, "blocks": 2, "kv_blocks": 4},
    ),
    ("last_row", {"width": 24}, {"rows": 3}),
    ("batched_matmul", {"K": 8, "N": 16, "scale": 0.5}, {"batch": 2, "rows": 3}),
    ("batched_matmul", {"K": 8, "N": 16, "transposed": True}, {"batch": 2, "rows": 3}),
    ("softmax", {"width": 24}, {"rows": 3}),
    ("rope", {"heads": 2, "head_dim": 8}, {"rows": 3, "positions": 7}),
    ("rope", {"heads": 1, "head_dim": 8, "interleaved": True}, {"rows": 3, "positions": 7}),
    ("gather", {"width": 8, "dtype": "f16"}, {"rows": 3, "count": 5}),
    ("transpose", {"width": 8}, {"batch": 2, "rows": 3}),
    ("reduce", {"width": 24, "operation": "max"}, {"rows": 3}),
    ("elementwise", {"width": 8, "chain": "a b add tanh c mul", "vectors": "c"}, {"rows": 3}),
    ("distance", {"dim": 16, "dtype": "i8", "metric": "l2"}, {"rows": 3, "count": 5}),
    ("scan_1bit", {"dim": 64}, {"blocks": 2}),
    ("rms_norm", {"width": 24}, {"rows": 3}),
    ("normalize", {"width": 24}, {"rows": 3}),
    ("mean_pool", {"width": 24}, {"batch": 3, "seq": 37}),
    ("first_pool", {"width": 24}, {"batch": 2, "seq": 3}),
    (
        "embed",
        {"width": 24, "types": 2, "layer_norm": True},
        {"batch": 2, "seq": 3, "vocab": 9, "positions": 5},
    ),
    (
        "embed",
        {"width": 24, "types": 2, "type_ids": True, "dtype": "i8"},
        {"batch": 2, "seq": 3, "vocab": 9, "positions": 5},
    ),
]


def inputs(kernel: Kernel, extents: Mapping[str, int]) -> dict[str, bytes]:
    """Random content for every global buffer: ids and lengths inside and outside of the tables."""
    rng = random.Random(1)
    found = {}
    for buffer in kernel.buffers:
        count = math.prod(evaluate(size, extents) for size in buffer.shape)
        match buffer.dtype.name:
            case "f32" | "f16" as name:
                numbers = (rng.uniform(-2, 2) for _ in range(count))
                found[buffer.name] = struct.pack(
                    f"<{count}{'f' if name == 'f32' else 'e'}", *numbers
                )
            case "i32":
                found[buffer.name] = struct.pack(
                    f"<{count}i", *(20 * i % 50 - 1 for i in range(count))
                )
            case "i8x4" if buffer.name in ("a", "q"):  # bytes of 7 bits
                found[buffer.name] = bytes(rng.randrange(1, 128) for _ in range(4 * count))
            case _:
                found[buffer.name] = rng.randbytes(count * buffer.dtype.bytes)
    return found


@pytest.mark.parametrize(("family", "parameters", "extents"), CASES)
def test_a_kernel(family: str, parameters: dict[str, Any], extents: dict[str, int]) -> None:
    definition = KERNELS[family].naive(**parameters, numeric="fused")
    kernel = gpu.kernel(family, parameters)
    given = [buffer for buffer in definition.buffers if buffer.space == "global"]
    assert [buffer for buffer in kernel.buffers if buffer.space == "global"] == given
    buffers = inputs(definition.with_body(()), extents)
    buffers = {buffer.name: buffers[buffer.name] for buffer in given}
    agree(kernel, buffers, extents, 1e-5, definition)


NOT_ON_GPUS = {  # they write halves, two of which share a word of WGSL's
    "kv_write": {"heads": 4, "kv_heads": 2, "head_dim": 8, "layers": 2},
    "kv_move": {"kv_heads": 2, "head_dim": 8, "layers": 2},
    "kv_pack": {"kv_heads": 2, "head_dim": 8, "layers": 2},
    "kv_unpack": {"kv_heads": 2, "head_dim": 8, "layers": 2},
}


def test_every_family_is_tested() -> None:
    assert {family for family, _, _ in CASES} | set(NOT_ON_GPUS) == set(KERNELS)


@pytest.mark.parametrize("family", NOT_ON_GPUS)
def test_what_webgpu_can_not_run_has_no_shader(family: str) -> None:
    assert gpu.shaders([{"kernel": family, "parameters": NOT_ON_GPUS[family]}]) == [None]


def test_a_plan_s_shaders() -> None:
    """One for each recipe, and none for a kernel that needs more memory than WebGPU has."""
    recipes = [
        {"kernel": "matmul", "parameters": {"K": 8, "N": 8}},
        {"kernel": "attention", "parameters": {"heads": 1, "head_dim": 256}},
    ]
    first, second = gpu.shaders(recipes)
    assert first is not None
    assert first["storage_buffers"] == 3
    assert first["extents"] == ["rows"]
    assert second is None
    with pytest.raises(KernelError, match="no kernel 'convolution'"):
        gpu.kernel("convolution", {})
