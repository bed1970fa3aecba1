"""From files of language models to plans that agree with numpy; what is refused on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as Type

from pywasm.compile.compile import Compiled
from pywasm.compile.plan_check import problem
from pywasm.compile.plan_types import Numeric
from pywasm.errors import UserError
from pywasm.generator.compile import assemble, compile_generator, gguf_of, read_decoder
from pywasm.generator.decoder import Decoder, rope_frequencies
from pywasm.generator.gguf_model import read_gguf
from pywasm.generator.hf_model import read_hf
from pywasm.generator.lower import in_dtype
from pywasm.generator.reference import forward
from pywasm.generator.run import generator_of
from tests.generator_models import F32, SPECIAL, Tiny, write_gguf, write_hf

LLAMA = Tiny()
QWEN2 = Tiny("qwen2", bias=True, tied=False, kv_heads=1)
EVEN = Tiny(vocab=264, kv_heads=4, tied=False)  # a multiple of 8, which that of the others is not
TEXTS = [[5, 9, 40, 77, 200, 33, 8], [1, 2, 3], list(range(10, 75))]


def by_definition(model: Tiny, ids: list[int]) -> F32:
    """Logits f64[tokens, vocab], written down token by token from the papers' formulas."""
    weights = {name: data.astype(np.float64) for name, data in model.weights().items()}
    head_dim, group = model.head_dim, model.heads // model.kv_heads

    def norm(x: Any, gamma: Any) -> Any:
        return x / np.sqrt(np.mean(x * x) + 1e-5) * gamma

    def turned(x: Any, position: int) -> Any:
        out = np.empty_like(x)
        for i in range(head_dim // 2):
            angle = position * 10000.0 ** (-2 * i / head_dim)
            a, b = x[i], x[i + head_dim // 2]
            out[i] = a * np.cos(angle) - b * np.sin(angle)
            out[i + head_dim // 2] = a * np.sin(angle) + b * np.cos(angle)
        return out

    xs = [weights["model.embed_tokens.weight"][token] for token in ids]
    for layer in range(model.layers):
        at = f"model.layers.{layer}"

        def linear(name: str, x: Any, at: str = at) -> Any:
            bias = weights.get(f"{at}.{name}.bias", 0)
            return weights[f"{at}.{name}.weight"] @ x + bias

        keys: list[Any] = []
        for position, x in enumerate(xs):
            y = norm(x, weights[f"{at}.input_layernorm.weight"])
            q, k, v = (linear(f"self_attn.{part}_proj", y).reshape(-1, head_dim) for part in "qkv")
            keys.append(([turned(row, position) for row in k], v))
            mixed = []
            for head in range(model.heads):
                query = turned(q[head], position)
                scores = np.array([key[head // group] @ query for key, _ in keys])
                scores = np.exp((scores - scores.max()) / np.sqrt(head_dim))
                parts = [value[head // group] for _, value in keys]
                mixed.append(scores / scores.sum() @ np.array(parts))
            xs[position] = x = x + linear("self_attn.o_proj", np.concatenate(mixed))
        for position, x in enumerate(xs):
            y = norm(x, weights[f"{at}.post_attention_layernorm.weight"])
            gate = linear("mlp.gate_proj", y)
            y = gate / (1 + np.exp(-gate)) * linear("mlp.up_proj", y)
            xs[position] = x + linear("mlp.down_proj", y)
    head_name = "model.embed_tokens.weight" if model.tied else "lm_head.weight"
    final = [weights[head_name] @ norm(x, weights["model.norm.weight"]) for x in xs]
    return np.array(final, np.float32)


def read(folder: Path, model: Tiny, **options: Any) -> Decoder:
    return read_gguf(write_gguf(folder / "m.gguf", model, **options), "tiny")


def logits(compiled: Compiled, ids: list[int], numeric: Numeric = "fused") -> F32:
    generator = generator_of(compiled.plan, compiled.files, numeric)
    generator.reserve(4)
    return generator.logits(ids, 0, [2, 0, 1])


@pytest.mark.parametrize("model", [LLAMA, QWEN2, EVEN], ids=["llama", "qwen2", "even"])
def test_the_reference_and_both_importers_are_the_definition(tmp_path: Path, model: Tiny) -> None:
    from_gguf = read(tmp_path, model)
    from_hf = read_hf(write_hf(tmp_path / "hf", model, shards=3), "tiny")
    for made in (from_gguf, from_hf):
        for found, ids in zip(forward(made, TEXTS[:2]), TEXTS[:2], strict=True):
            np.testing.assert_allclose(found, by_definition(model, ids), rtol=2e-4, atol=2e-4)
    assert from_gguf.licence == "mit" and from_gguf.text.eos == [2, 0]
    assert from_gguf.text.template == from_hf.text.template != ""


@pytest.mark.parametrize(
    ("model", "weights"), [(LLAMA, "int4"), (LLAMA, "f16"), (QWEN2, "int8"), (EVEN, "f32")]
)
def test_plans_agree_with_numpy(tmp_path: Path, model: Tiny, weights: Any) -> None:
    """With the weights that are stored: what is left is KV of 16 bits, and rounding."""
    decoder = read(tmp_path, model)
    compiled = assemble(decoder, weights, "int16")
    assert problem(compiled.plan) is None
    assert compiled.plan.weights_dtype == weights
    stored = in_dtype(decoder, weights)
    numerics: tuple[Numeric, ...] = ("fused", "separate")
    for numeric in numerics:
        for ids, wanted in zip(TEXTS, forward(stored, TEXTS), strict=True):
            found = logits(compiled, ids, numeric)
            assert found.shape == (model.vocab,)
            limit = 0.05 if weights == "f16" else 0.02
            assert np.abs(found - wanted[-1]).max() < limit * np.abs(wanted[-1]).max()
            assert found.argmax() == wanted[-1].argmax()


def test_weights_in_few_bits_stay_as_the_file_has_them(tmp_path: Path) -> None:
    model = Tiny(tied=False)
    types = {"token_embd.weight": Type.Q8_0, "output.weight": Type.F16}
    decoder = read(tmp_path, model, type=Type.Q4_1, types=types)
    exact = assemble(decoder, "auto", "f32")
    assert exact.plan.language_model().activations == "f32"
    wanted = forward(in_dtype(decoder, "auto"), TEXTS)
    for ids, row in zip(TEXTS, wanted, strict=True):
        np.testing.assert_allclose(logits(exact, ids), row[-1], atol=0.02)
    kernels = {kernel.name for kernel in exact.plan.kernels}
    assert any(name.startswith("embed_block K=64 bits=8") for name in kernels)
    assert any("matmul_dequant" in name and "bits=4" in name for name in kernels)
    shared = {tensor.name for tensor in exact.plan.weights.tensors}
    assert {"embedding", "logits.weight", "rope.cos", "0.qkv.weight.offset"} <= shared


def test_a_file_of_k_formats_in_their_usual_mixture(tmp_path: Path) -> None:
    """Q4_K with v and down in Q6_K: q, k, v together take 8 bits, scales of Q4_K stay f32."""
    model = Tiny(width=256, heads=4, kv_heads=2, ffn=256, layers=1)
    rng = np.random.default_rng(2)

    def blocks(kind: Type, rows: int) -> tuple[Type, Any]:
        size = GGML_QUANT_SIZES[kind][1]
        made = rng.integers(0, 256, (rows, 1, size), np.uint8)
        for at in (208,) if kind is Type.Q6_K else (0, 2):
            made[:, :, at : at + 2] = np.array([3e-4], "<f2").view(np.uint8)
        return kind, made.reshape(rows, size)

    shapes = {"attn_q": 256, "attn_k": 128, "attn_output": 256, "ffn_gate": 256, "ffn_up": 256}
    raw = {f"blk.0.{name}.weight": blocks(Type.Q4_K, rows) for name, rows in shapes.items()}
    raw |= {
        f"blk.0.{name}.weight": blocks(Type.Q6_K, rows)
        for name, rows in (("attn_v", 128), ("ffn_down", 256))
    }
    decoder = read(tmp_path, model, type=Type.Q8_0, blocks=raw)
    compiled = assemble(decoder, "auto", "int16")
    kinds = {kernel.name for kernel in compiled.plan.kernels}
    for name in ("N=512 bits=8 scales=f16", "N=512 bits=4 scales=f32", "N=256 bits=8 scales=f16"):
        assert any(kind.startswith(f"matmul_q K=256 {name}") for kind in kinds), (name, kinds)
    for ids, wanted in zip(TEXTS, forward(decoder, TEXTS), strict=True):
        found = logits(compiled, ids)
        assert np.abs(found - wanted[-1]).max() < 0.02 * np.abs(wanted[-1]).max()


def test_a_tied_embedding_is_stored_once(tmp_path: Path) -> None:
    compiled = assemble(read(tmp_path, LLAMA, type=Type.Q8_0), "auto", "int16")
    tables = [t for t in compiled.plan.weights.tensors if t.shape[0] * 8 >= LLAMA.vocab]
    assert [t.name for t in tables if t.layout == "panels8x4"] == ["embedding"]


def test_compiling_measures_its_agreement(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "Tiny-Model.gguf", LLAMA, Type.Q8_0)
    stages: list[str] = []
    plan = compile_generator(str(file), on_stage=stages.append).plan
    info = plan.language_model()
    assert plan.name == "Tiny-Model" and plan.kind == "decoder" and len(stages) == 4
    assert info.agreement is not None and info.agreement.positions == 30
    assert info.agreement.same_top > 0.9 and info.agreement.mean_kl < 0.01
    assert info.context == 160 and info.kv_block_bytes == 2 * 2 * 2 * 2 * 16 * 32
    assert plan.steps[info.head].name == "last_row"


def test_a_context_of_whole_blocks_that_a_browser_has_room_for(tmp_path: Path) -> None:
    at = "llama.context_length"
    assert read(tmp_path, LLAMA, metadata={at: 100}).config.context == 96
    assert read(tmp_path, LLAMA, metadata={at: 131072}).config.context == 32768
    with pytest.raises(UserError, match="a context of 0; expected 32 or more"):
        read(tmp_path, LLAMA, metadata={at: 20})


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"general.architecture": "gemma3"}, "architecture 'gemma3'; can be read: llama, qwen2"),
        ({"llama.expert_count": 8}, "mixture of experts"),
        ({"llama.block_count": 3}, r"has no tensor blk\.2\.attn_norm\.weight"),
        ({"llama.block_count": 1 << 31}, r"llama\.block_count is 2147483648"),
        ({"llama.embedding_length": 65}, "4 heads can't share a width of 65"),
        ({"llama.embedding_length": 128}, r"tensor token_embd.weight has shape .*expected"),
        ({"llama.embedding_length": 1 << 30}, "heads of 268435456; expected 8 to 1024"),
        ({"llama.attention.head_count_kv": 3}, "4 heads of 16 over 3 key heads"),
        ({"llama.rope.dimension_count": 8}, "heads of 16 of which 8 turn"),
        ({"llama.rope.scaling.type": "yarn"}, "RoPE scaled by 'yarn'"),
        ({"llama.rope.freq_base": 0.0}, "RoPE with base 0.0"),
        ({"llama.context_length": None}, "llama.context_length is missing; expected a whole"),
        ({"tokenizer.ggml.model": "llama"}, "tokenizer of kind 'llama'"),
        ({"tokenizer.ggml.pre": "tekken"}, "cut as 'tekken'; can be read"),
        ({"tokenizer.ggml.eos_token_id": 70000}, r"tokens that end an answer: \[70000"),
        ({"tokenizer.ggml.merges": ["q q"]}, r"merge 0 is 'q q'"),
        ({"tokenizer.ggml.token_type": [1]}, "token_type: expected a number for each of"),
        ({"tokenizer.ggml.tokens": ["a"] * 265}, "tokens: 'a' stands there twice"),
    ],
)
def test_what_a_gguf_file_is_refused_for(
    tmp_path: Path, metadata: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path, LLAMA, metadata=metadata)
    assert "m.gguf" in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model_type": "gpt_neox"}, "model_type 'gpt_neox'; can be read: llama, qwen2"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'; expected 'silu'"),
        ({"use_sliding_window": True}, "use_sliding_window is set"),
        ({"num_hidden_layers": 3}, r"tensor model\.layers\.2\.\S+ is missing"),
        ({"num_hidden_layers": "2"}, "num_hidden_layers is '2'; expected a whole number"),
        ({"intermediate_size": 128}, r"mlp\.gate_proj\.weight is of shape \[96, 64\]"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "RoPE scaled by 'yarn'; can be read"),
        ({"rope_scaling": {"type": "linear"}}, "RoPE's factor is None"),
        ({"rms_norm_eps": 0}, "rms_norm_eps is 0; expected a positive number"),
        ({"eos_token_id": None}, "expected tokens that end an answer"),
    ],
)
def test_what_a_directory_is_refused_for(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read_hf(write_hf(tmp_path / "hf", LLAMA, **settings), "tiny")


def test_tensors_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    folder = write_hf(tmp_path / "hf", LLAMA)
    file = folder / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-4:] = np.array([np.nan], np.float32).tobytes()
    file.write_bytes(data)
    with pytest.raises(UserError, match=r"tensor model\.\S+ holds NaN or infinity"):
        read_hf(folder, "tiny")


def test_a_model_that_computes_more_is_refused(tmp_path: Path) -> None:
    """What has biases where none are read would otherwise be compiled without them."""
    with pytest.raises(UserError, match=r"tensor blk\.1\.\S+ belongs to no model of this kind"):
        read(tmp_path, LLAMA, metadata={"llama.block_count": 1})
    with pytest.raises(UserError, match=r"tensor model\.layers\.1\.\S+ belongs to no model"):
        read_hf(write_hf(tmp_path / "hf", LLAMA, num_hidden_layers=1), "tiny")


def test_rope_scalings(tmp_path: Path) -> None:
    plain = rope_frequencies(16, 10000.0)
    linear = {"rope_scaling": {"type": "linear", "factor": 4.0}}
    found = read_hf(write_hf(tmp_path / "linear", LLAMA, **linear), "t").config.rope
    np.testing.assert_allclose(found, plain / 4)
    llama3 = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 1024,
    }
    found = read_hf(write_hf(tmp_path / "l3", LLAMA, rope_scaling=llama3), "t").config.rope
    turns = 1024 * plain / (2 * np.pi)
    np.testing.assert_allclose(found[turns > 4], plain[turns > 4])
    np.testing.assert_allclose(found[turns < 1], plain[turns < 1] / 8)
    between = (turns < 4) & (turns > 1)
    assert between.any() and (found[between] < plain[between]).all()
    from_gguf = read(
        tmp_path,
        LLAMA,
        metadata={"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0},
    )
    np.testing.assert_allclose(from_gguf.config.rope, plain / 4)


def test_which_file_of_a_directory(tmp_path: Path) -> None:
    assert gguf_of(tmp_path) is None
    first = write_gguf(tmp_path / "a.gguf", LLAMA)
    assert gguf_of(tmp_path) == first == gguf_of(first)
    assert read_decoder(tmp_path, str(tmp_path)).name == tmp_path.name
    write_gguf(tmp_path / "b.gguf", LLAMA)
    with pytest.raises(UserError, match=r"holds a\.gguf, b\.gguf; give the path of one"):
        gguf_of(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no \.gguf file and no config\.json"):
        read_decoder(tmp_path / "empty", "x")


def test_a_beginning_of_texts_and_ends_of_generation_config(tmp_path: Path) -> None:
    folder = write_hf(tmp_path / "hf", LLAMA)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, 1]}))
    data = json.loads((folder / "tokenizer.json").read_text())
    data["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": SPECIAL[0], "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [],
        "special_tokens": {SPECIAL[0]: {"id": SPECIAL[0], "ids": [0], "tokens": [SPECIAL[0]]}},
    }
    (folder / "tokenizer.json").write_text(json.dumps(data))
    (folder / "chat_template.jinja").write_text("{{ bos_token }}{{ messages[0].content }}")
    text = read_hf(folder, "t").text
    assert (text.bos, text.eos) == (0, [0, 1, 2]) and text.template.startswith("{{ bos_token }}")
    gguf = {"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.bos_token_id": 1}
    assert read(tmp_path, LLAMA, metadata=gguf).text.bos == 1
