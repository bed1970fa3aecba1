"""What an encoder of the BERT family is made of: against numpy; Wasm against the interpreter."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from kernel_check import NUMERICS, check
from wasm_host import WasmHost, interpreted

from pywasm_jit import functions, recipes
from pywasm_jit.builder import Builder
from pywasm_jit.ir import F32, KernelError, Numeric
from pywasm_jit.schedule import Schedule
from pywasm_jit.wasm import WasmTarget, render

Floats = np.ndarray[Any, np.dtype[np.float32]]


def normal(seed: int, *shape: int) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def panels(b: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """[K, N] as [N / 8, K, 8]"""
    k, n = b.shape
    return np.ascontiguousarray(b.reshape(k, n // 8, 8).transpose(1, 0, 2))


def gelu(x: Floats) -> Floats:
    erf = np.vectorize(math.erf)
    return np.asarray(0.5 * x * (1 + erf(x / math.sqrt(2))), np.float32)


def layer_norm(x: Floats, gamma: Floats, beta: Floats, eps: float) -> Floats:
    wide = x.astype(np.float64)
    centred = wide - wide.mean(1, keepdims=True)
    scale = np.sqrt((centred**2).mean(1, keepdims=True) + eps)
    return np.asarray(centred / scale * gamma + beta, np.float32)


# -- functions ------------------------------------------------------------------------------------

_WHOLE = np.concatenate([np.linspace(-12, 12, 97), [-1e30, -200.0, -90.0, 90.0, 1e30, 0.0, 1e-3]])
_REFERENCES = {
    "exp": lambda x: math.exp(x) if x < 88.72 else math.inf,
    "exp_of_negative": lambda x: math.exp(min(x, 0.0)),
    "exp2_of_negative": lambda x: 2.0 ** min(max(x, -126.0), 0.0),
    "sigmoid": lambda x: 0.0 if x < -100 else 1 / (1 + math.exp(-x)),
    "tanh": math.tanh,
    "erf": math.erf,
    "gelu": lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: (
        0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
        if abs(x) < 1e9
        else max(x, 0.0)
    ),
    "silu": lambda x: max(x, 0.0) if abs(x) > 100 else x / (1 + math.exp(-x)),
    "relu": lambda x: max(x, 0.0),
}
_ABSOLUTE = {"erf": 2.5e-7, "gelu": 1e-6, "gelu_tanh": 5e-7}


@pytest.mark.parametrize("numeric", NUMERICS)
@pytest.mark.parametrize("name", _REFERENCES)
def test_a_function_is_accurate_and_wasm_gives_its_bits(
    wasm: WasmHost, name: str, numeric: Numeric
) -> None:
    k = Builder(name, numeric)
    n = k.extent("n")
    x, y = k.input("x", F32, n, 4), k.output("y", F32, n, 4)
    with k.parallel("i", n) as i, k.parallel("lane", 4) as lane:
        y[i, lane] = getattr(functions, name)(k, x[i, lane])
    points = -abs(_WHOLE) if name.endswith("of_negative") else _WHOLE
    values = np.concatenate([points, [-np.inf, -1.0 if name.endswith("of_negative") else np.inf]])
    values = np.resize(values, (len(values) + 3) // 4 * 4).astype(np.float32)
    buffers = {"x": values.tobytes(), "y": bytes(values.nbytes)}
    result = interpreted(k.kernel(), buffers, {"n": len(values) // 4})
    found = np.frombuffer(bytes(result["y"]), np.float32)
    limits = {-math.inf: _REFERENCES[name](-1e30), math.inf: _REFERENCES[name](1e30)}
    wanted = np.array(
        [_REFERENCES[name](float(v)) if np.isfinite(v) else limits[v] for v in values]
    )
    wanted[np.isinf(values) & (np.abs(wanted) == 1e30)] = math.inf
    np.testing.assert_allclose(found, wanted, rtol=4e-7, atol=_ABSOLUTE.get(name, 1e-35))
    scheduled = Schedule(k.kernel()).bind("i", "grid").vectorise("lane").kernel()
    assert wasm.run(scheduled, buffers, {"n": len(values) // 4}) == result


# -- kernels --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "K", "N", "bias", "activation", "residual"),
    [
        (1, 4, 8, False, "", False),
        (7, 8, 16, True, "gelu", False),
        (13, 12, 8, True, "", True),
        (6, 20, 24, True, "gelu_tanh", True),
        (10, 4, 8, False, "silu", False),
        (3, 4, 8, True, "relu", False),
    ],
)
def test_matmul(
    wasm: WasmHost, rows: int, K: int, N: int, bias: bool, activation: str, residual: bool
) -> None:
    a, b, added, rest = normal(1, rows, K), normal(2, K, N), normal(3, N), normal(4, rows, N)
    product = a.astype(np.float64) @ b + (added if bias else 0)
    wanted = np.array([_REFERENCES[activation or "relu"](v) for v in product.ravel()])
    wanted = wanted.reshape(rows, N) if activation else product
    check(
        wasm,
        "matmul",
        {"K": K, "N": N, "bias": bias, "activation": activation, "residual": residual},
        {"a": a, "b": panels(b), "bias": added, "residual": rest},
        {"rows": rows},
        {"c": (wanted + (rest if residual else 0)).astype(np.float32)},
        4e-6,
    )


def test_matmul_of_half_precision_weights(wasm: WasmHost) -> None:
    a, b, bias = normal(1, 9, 8), normal(2, 8, 16).astype(np.float16), normal(3, 16)
    wanted = (a.astype(np.float64) @ b + bias).astype(np.float32)
    arrays, parameters = {"a": a, "b": panels(b), "bias": bias}, {"K": 8, "N": 16, "bias": True}
    parameters["weights"] = "f16"
    check(wasm, "matmul", parameters, arrays, {"rows": 9}, {"c": wanted}, 4e-6)


@pytest.mark.parametrize("numeric", NUMERICS)
def test_a_row_does_not_depend_on_how_many_rows_run_together(
    wasm: WasmHost, numeric: Numeric
) -> None:
    kernel = recipes.build(
        recipes.default("matmul", {"K": 64, "N": 40, "bias": True, "activation": "gelu"}, numeric)
    )
    a, b, bias = normal(1, 23, 64), normal(2, 64, 40), normal(3, 40)

    def run(rows: Floats) -> bytes:
        buffers = {"a": rows.tobytes(), "b": panels(b).tobytes(), "bias": bias.tobytes()}
        buffers["c"] = bytes(len(rows) * 160)
        return bytes(wasm.run(kernel, buffers, {"rows": len(rows)})["c"])

    together = run(a)
    for count in (1, 2, 3, 5, 11):
        parts = [run(a[at : at + count]) for at in range(0, 23, count)]
        assert b"".join(parts) == together


@pytest.mark.parametrize(("width", "residual"), [(32, False), (40, True), (12, False)])
def test_layer_norm(wasm: WasmHost, width: int, residual: bool) -> None:
    x, more = normal(1, 5, width) * 3, normal(2, 5, width)
    gamma, beta = normal(3, width), normal(4, width)
    wanted = layer_norm(x + more if residual else x, gamma, beta, 1e-5)
    arrays = {"x": x, "residual": more, "gamma": gamma, "beta": beta}
    parameters = {"width": width, "eps": 1e-5, "residual": residual}
    check(wasm, "layer_norm", parameters, arrays, {"rows": 5}, {"y": wanted}, 4e-6)


def test_rms_norm_and_normalize(wasm: WasmHost) -> None:
    x, gamma = normal(1, 3, 48), normal(2, 48)
    x[1] = 0
    wanted = x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-5) * gamma
    arrays = {"x": x, "gamma": gamma}
    check(wasm, "rms_norm", {"width": 48}, arrays, {"rows": 3}, {"y": wanted}, 2e-6)
    wanted = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    check(wasm, "normalize", {"width": 48}, {"x": x}, {"rows": 3}, {"y": wanted}, 2e-6)


@pytest.mark.parametrize("dtype", ["f32", "f16", "i8"])
@pytest.mark.parametrize("normed", [False, True])
def test_embed(wasm: WasmHost, dtype: str, normed: bool) -> None:
    """Hostile ids among them: they take the first or last row of their table."""
    batch, seq, vocab, positions, width = 2, 3, 5, 2, 16
    ids = np.array([0, 4, 5, -1, 2**31 - 1, -(2**31)], np.int32)
    kinds = np.array([0, 1, 2, -7, 1, 0], np.int32)
    word, scale = normal(1, vocab, width), np.abs(normal(2, vocab))
    if dtype == "f16":
        word = word.astype(np.float16)
    if dtype == "i8":
        word = (word * 40).astype(np.int8)
    table = word.astype(np.float32) * (scale[:, None] if dtype == "i8" else 1)
    position, types = normal(3, positions, width), normal(4, 2, width)
    gamma, beta = normal(5, width), normal(6, width)
    total = table[np.clip(ids, 0, vocab - 1)] + types[np.clip(kinds, 0, 1)]
    total = total + position[np.minimum(np.arange(6) % seq, positions - 1)]
    arrays = {
        "ids": ids,
        "types": kinds,
        "word": word,
        "scale_of_word": scale,
        "position": position,
    }
    arrays |= {"type_row": types, "gamma": gamma, "beta": beta}
    check(
        wasm,
        "embed",
        {"width": width, "types": 2, "type_ids": True, "dtype": dtype, "layer_norm": normed},
        arrays,
        {"batch": batch, "seq": seq, "vocab": vocab, "positions": positions},
        {"y": layer_norm(total, gamma, beta, 1e-12) if normed else total},
        4e-6,
    )


def test_embed_without_type_ids(wasm: WasmHost) -> None:
    word, position, types = normal(1, 3, 8), normal(2, 6, 8), normal(3, 1, 8)
    ids = np.array([2, 0], np.int32)
    extents = {"batch": 1, "seq": 2, "vocab": 3, "positions": 6}
    arrays = {"ids": ids, "word": word, "position": position, "type_row": types}
    plain = word[ids] + position[2:4]
    check(wasm, "embed", {"width": 8, "position_offset": 2}, arrays, extents, {"y": plain})
    parameters = {"width": 8, "position_offset": 2, "types": 1}
    check(wasm, "embed", parameters, arrays, extents, {"y": plain + types})


@pytest.mark.parametrize(
    ("lengths", "seq", "heads", "head_dim"),
    [([1], 1, 1, 8), ([9, 4, 0], 9, 2, 8), ([66], 66, 1, 8), ([13, 99], 13, 1, 24)],
)
def test_attention(wasm: WasmHost, lengths: list[int], seq: int, heads: int, head_dim: int) -> None:
    batch, width = len(lengths), heads * head_dim
    qkv = normal(1, batch * seq, 3 * width)
    split = qkv.astype(np.float64).reshape(batch, seq, 3, heads, head_dim).transpose(2, 0, 3, 1, 4)
    scores = split[0] @ split[1].transpose(0, 1, 3, 2) / math.sqrt(head_dim)
    masked = np.arange(seq)[None, :] >= np.array(lengths)[:, None]
    scores = np.where(masked[:, None, None, :], -np.inf, scores)
    with np.errstate(invalid="ignore"):
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (weights / weights.sum(-1, keepdims=True)) @ split[2]
    out = np.nan_to_num(mixed).transpose(0, 2, 1, 3).reshape(batch * seq, width)
    # What stands behind a text's length is never looked at.
    for text, length in enumerate(lengths):
        qkv[text * seq + length : (text + 1) * seq, width:] = np.nan
    check(
        wasm,
        "attention",
        {"heads": heads, "head_dim": head_dim},
        {"qkv": qkv, "lengths": np.array(lengths, np.int32)},
        {"batch": batch, "seq": seq},
        {"out": out.astype(np.float32)},
        3e-6,
        NUMERICS if seq < 20 else NUMERICS[1:],  # the interpreter is slow
    )


def test_attention_of_a_text_does_not_depend_on_the_others(wasm: WasmHost) -> None:
    kernel = recipes.build(recipes.default("attention", {"heads": 2, "head_dim": 16}, "fused"))
    qkv = normal(1, 2 * 75, 96)

    def run(rows: Floats, lengths: list[int]) -> bytes:
        buffers = {"qkv": rows.tobytes(), "lengths": np.array(lengths, np.int32).tobytes()}
        buffers["out"] = bytes(len(rows) * 32 * 4)
        extents = {"batch": len(lengths), "seq": len(rows) // len(lengths)}
        return bytes(wasm.run(kernel, buffers, extents)["out"])

    together = run(qkv, [75, 70])
    assert run(qkv[:75], [75]) == together[: 75 * 128]
    assert run(qkv[75:145], [70]) == together[75 * 128 : 145 * 128]


def test_pools(wasm: WasmHost) -> None:
    x = normal(1, 3 * 5, 24)
    texts, lengths = x.reshape(3, 5, 24), np.array([4, 0, 9], np.int32)
    wanted = np.stack([texts[0, :4].mean(0), np.zeros(24), texts[2].mean(0)]).astype(np.float32)
    arrays, extents = {"x": x, "lengths": lengths}, {"batch": 3, "seq": 5}
    check(wasm, "mean_pool", {"width": 24}, arrays, extents, {"y": wanted})
    first = np.ascontiguousarray(texts[:, 0])
    check(wasm, "first_pool", {"width": 24}, {"x": x}, extents, {"y": first}, 0)


@pytest.mark.parametrize(
    ("kernel", "parameters", "message"),
    [
        ("matmul", {"K": 6, "N": 8}, "K = 6 is no multiple of 4"),
        ("matmul", {"K": 4, "N": 12}, "N = 12 none of 8"),
        ("matmul", {"K": 4, "N": 8, "weights": "f64"}, "'f64' are neither"),
        ("matmul", {"K": 4, "N": 8, "activation": "tan"}, "no activation 'tan'"),
        ("attention", {"heads": 1, "head_dim": 12}, "head_dim = 12"),
        ("layer_norm", {"width": 6}, "a width of 6 is not a multiple of 4"),
        ("embed", {"width": 8, "dtype": "f8"}, "'f8' is none of"),
        ("nothing", {}, "no kernel 'nothing'; there are matmul"),
    ],
)
def test_parameters_that_cannot_be_are_named(
    kernel: str, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(KernelError, match=message):
        recipes.default(kernel, parameters, "fused")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel": 3}, "no kernel 3"),
        ({"numeric": "both"}, "fused or separate, not 'both'"),
        ({"parameters": [1]}, "are an object"),
        ({"parameters": {"K": 4}}, "missing"),
        ({"steps": [["fly"]]}, "no step of a schedule"),
    ],
)
def test_a_recipe_that_is_none_says_so(change: dict[str, Any], message: str) -> None:
    recipe = recipes.default("matmul", {"K": 4, "N": 8}, "separate") | change
    with pytest.raises(KernelError, match=message):
        recipes.build(recipe)


def test_a_schedule_that_unrolls_without_measure_is_refused() -> None:
    recipe = recipes.default("matmul", {"K": 1 << 18, "N": 8}, "separate")
    steps = [["vectorise", loop] for loop in ("zero", "column", "out")]
    recipe["steps"] = [["unroll", "k"], ["bind", "panel", "grid"], *steps]
    with pytest.raises(KernelError, match="more than 16384 statements"):
        render([("k", recipes.build(recipe))], WasmTarget(relaxed=False))
