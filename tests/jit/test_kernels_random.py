"""Random shapes: what Wasm computes is bit for bit what the interpreter does."""

from __future__ import annotations

import random
import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from wasm_host import WasmHost, grid_size, interpreted

from pywasm_jit import recipes
from pywasm_jit.interpret import evaluate
from pywasm_jit.ir import Kernel

NUMERIC = st.sampled_from(["fused", "separate"])
ACTIVATION = st.sampled_from(["", "gelu", "gelu_tanh", "silu", "relu"])


def fill(kernel: Kernel, extents: dict[str, int], seed: int) -> dict[str, bytes]:
    """Random content for every buffer of the caller: numbers around 0, integers from 0 to 6."""
    rng = random.Random(seed)
    out = {}
    for buffer in kernel.buffers:
        if buffer.space != "global":
            continue
        count = 1
        for size in buffer.shape:
            count *= evaluate(size, extents)
        name = buffer.dtype.name
        if name in ("f32", "f16"):
            code = f"<{count}{'f' if name == 'f32' else 'e'}"
            out[buffer.name] = struct.pack(code, *(rng.gauss(0, 1) for _ in range(count)))
        elif name == "i32":
            out[buffer.name] = struct.pack(f"<{count}i", *(rng.randrange(7) for _ in range(count)))
        else:
            out[buffer.name] = bytes(rng.randrange(128) for _ in range(count * buffer.dtype.bytes))
    return out


def compare(
    wasm: WasmHost,
    kernel: str,
    parameters: dict[str, object],
    numeric: str,
    extents: dict[str, int],
) -> None:
    recipe = recipes.default(kernel, parameters, "fused" if numeric == "fused" else "separate")
    naive, scheduled = recipes.naive(recipe), recipes.build(recipe)
    buffers = fill(naive, extents, 1)
    expected = interpreted(naive, buffers, extents)
    assert wasm.run(scheduled, buffers, extents) == expected
    # Slices in any order.
    size = grid_size(scheduled, extents)
    later = wasm.run(scheduled, buffers, extents, (size // 3, size))
    assert wasm.run(scheduled, later, extents, (0, size // 3)) == expected


@settings(max_examples=12, deadline=None)
@given(
    rows=st.integers(1, 14), quarters=st.integers(1, 4), panels=st.integers(1, 3),
    bias=st.booleans(), residual=st.booleans(), activation=ACTIVATION,
    weights=st.sampled_from(["f32", "f16"]), numeric=NUMERIC,
)  # fmt: skip
def test_matmul(
    wasm: WasmHost, rows: int, quarters: int, panels: int, bias: bool, residual: bool,
    activation: str, weights: str, numeric: str,
) -> None:  # fmt: skip
    parameters = {"K": 4 * quarters, "N": 8 * panels, "bias": bias, "residual": residual}
    parameters |= {"activation": activation, "weights": weights}
    compare(wasm, "matmul", parameters, numeric, {"rows": rows})


@settings(max_examples=12, deadline=None)
@given(
    rows=st.integers(1, 14), quarters=st.integers(1, 4), panels=st.integers(1, 3),
    bias=st.booleans(), offset=st.booleans(), activation=ACTIVATION, numeric=NUMERIC,
)  # fmt: skip
def test_matmul_i8(
    wasm: WasmHost, rows: int, quarters: int, panels: int, bias: bool, offset: bool,
    activation: str, numeric: str,
) -> None:  # fmt: skip
    parameters = {"K": 4 * quarters, "N": 8 * panels, "bias": bias, "offset": offset}
    compare(wasm, "matmul_i8", parameters | {"activation": activation}, numeric, {"rows": rows})


@settings(max_examples=8, deadline=None)
@given(
    batch=st.integers(1, 3), seq=st.integers(1, 6), heads=st.integers(1, 2),
    head_dim=st.sampled_from([8, 16, 24]), numeric=NUMERIC,
)  # fmt: skip
def test_attention(
    wasm: WasmHost, batch: int, seq: int, heads: int, head_dim: int, numeric: str
) -> None:
    parameters = {"heads": heads, "head_dim": head_dim}
    compare(wasm, "attention", parameters, numeric, {"batch": batch, "seq": seq})


@settings(max_examples=20, deadline=None)
@given(
    kernel=st.sampled_from(["layer_norm", "rms_norm", "normalize", "softmax", "reduce"]),
    rows=st.integers(1, 3), quarters=st.integers(1, 17), numeric=NUMERIC,
)  # fmt: skip
def test_rows_of_any_width(
    wasm: WasmHost, kernel: str, rows: int, quarters: int, numeric: str
) -> None:
    compare(wasm, kernel, {"width": 4 * quarters}, numeric, {"rows": rows})


@settings(max_examples=10, deadline=None)
@given(
    rows=st.integers(1, 3), quarters=st.integers(1, 13), channels=st.booleans(),
    offset=st.booleans(), numeric=NUMERIC,
)  # fmt: skip
def test_quantize_rows(
    wasm: WasmHost, rows: int, quarters: int, channels: bool, offset: bool, numeric: str
) -> None:
    parameters = {"K": 4 * quarters, "channels": channels, "offset": offset}
    compare(wasm, "quantize_rows", parameters, numeric, {"rows": rows})
