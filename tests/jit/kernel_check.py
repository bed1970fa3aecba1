"""A recipe's kernel against numpy (naive, interpreted), its schedule against that bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from wasm_host import WasmHost, grid_size, interpreted

from pywasm_jit import recipes
from pywasm_jit.ir import Kernel, Numeric
from pywasm_jit.recipes import Recipe

Arrays = Mapping[str, np.ndarray[Any, Any]]
NUMERICS: tuple[Numeric, ...] = ("fused", "separate")


def memory(kernel: Kernel, arrays: Arrays, outputs: Arrays) -> dict[str, bytes]:
    """Buffers of the kernel: `arrays` as they are, outputs filled with what must not stay."""
    out = {}
    for buffer in kernel.buffers:
        if buffer.space != "global":
            continue
        if buffer.name in arrays:
            array = np.ascontiguousarray(arrays[buffer.name])
            assert array.itemsize == buffer.dtype.bytes, buffer.name
            out[buffer.name] = array.tobytes()
        else:
            out[buffer.name] = b"\x7b" * outputs[buffer.name].nbytes
    return out


def check(
    wasm: WasmHost,
    kernel: str,
    parameters: Mapping[str, Any],
    arrays: Arrays,
    extents: Mapping[str, int],
    expected: Arrays,
    tolerance: float = 2e-6,
    numerics: tuple[Numeric, ...] = NUMERICS,
) -> dict[str, bytearray]:
    """All buffers after the last class. Each class: interpreter within `tolerance` (absolute and
    relative) of `expected`, Wasm the interpreter's bits, also in two slices of the grid.
    """
    for numeric in numerics:
        recipe: Recipe = recipes.default(kernel, parameters, numeric)
        naive, scheduled = recipes.naive(recipe), recipes.build(recipe)
        buffers = memory(naive, arrays, expected)
        result = interpreted(naive, buffers, extents)
        for name, wanted in expected.items():
            found = np.frombuffer(bytes(result[name]), wanted.dtype).reshape(wanted.shape)
            if tolerance and wanted.dtype.kind == "f":
                np.testing.assert_allclose(
                    found, wanted, rtol=tolerance, atol=tolerance, err_msg=f"{kernel} {name}"
                )
            else:
                np.testing.assert_array_equal(found, wanted, err_msg=f"{kernel} {name}")
        assert wasm.run(scheduled, buffers, extents) == result, f"{kernel} {numeric}"
        size = grid_size(scheduled, extents)
        if size > 1:
            first = wasm.run(scheduled, buffers, extents, (0, size // 2))
            assert wasm.run(scheduled, first, extents, (size // 2, size)) == result
    return result
