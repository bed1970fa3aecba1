"""Tiny random language models, as GGUF files and as Hugging Face directories."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import safetensors.numpy
from gguf import GGMLQuantizationType as Type
from gguf.quants import quantize

F32 = npt.NDArray[np.float32]
MERGES = ("Ġ t", "h e", "Ġt he", "i n", "e r", "a n")
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_tokens() -> list[str]:
    """The characters that byte-level BPE has for the bytes (GPT-2's)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in shown]
    return [chr(byte) for byte in shown] + [chr(256 + number) for number in range(len(rest))]


def vocabulary() -> list[str]:
    return [*SPECIAL, *byte_tokens(), *(merge.replace(" ", "") for merge in MERGES)]


@dataclass(frozen=True)
class Tiny:
    """Weights under Hugging Face's names, random but for their sizes; shapes as a config says."""

    architecture: str = "llama"
    width: int = 64
    heads: int = 4
    kv_heads: int = 2
    ffn: int = 96
    layers: int = 2
    context: int = 160
    tied: bool = True
    bias: bool = False
    seed: int = 7
    vocab: int = field(default_factory=lambda: len(vocabulary()))

    @property
    def tokens(self) -> list[str]:
        return vocabulary()[: self.vocab]

    @property
    def merges(self) -> list[str]:
        return list(MERGES[: self.vocab - len(SPECIAL) - 256])

    @property
    def head_dim(self) -> int:
        return self.width // self.heads

    def weights(self) -> dict[str, F32]:
        rng = np.random.default_rng(self.seed)

        def matrix(n: int, k: int) -> F32:
            return (rng.standard_normal((n, k)) / np.sqrt(k)).astype(np.float32)

        def vector(n: int) -> F32:
            return (1 + 0.3 * rng.standard_normal(n)).astype(np.float32)

        made = {"model.embed_tokens.weight": matrix(self.vocab, self.width) * 8}
        for layer in range(self.layers):
            at = f"model.layers.{layer}"
            made[f"{at}.input_layernorm.weight"] = vector(self.width)
            made[f"{at}.post_attention_layernorm.weight"] = vector(self.width)
            for part, heads in (("q", self.heads), ("k", self.kv_heads), ("v", self.kv_heads)):
                name = f"{at}.self_attn.{part}_proj"
                made[f"{name}.weight"] = matrix(heads * self.head_dim, self.width)
                if self.bias:
                    made[f"{name}.bias"] = vector(heads * self.head_dim)
            made[f"{at}.self_attn.o_proj.weight"] = matrix(self.width, self.width)
            made[f"{at}.mlp.gate_proj.weight"] = matrix(self.ffn, self.width)
            made[f"{at}.mlp.up_proj.weight"] = matrix(self.ffn, self.width)
            made[f"{at}.mlp.down_proj.weight"] = matrix(self.width, self.ffn)
        made["model.norm.weight"] = vector(self.width)
        if not self.tied:
            made["lm_head.weight"] = matrix(self.vocab, self.width)
        return made


_GGUF_NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name: str) -> str:
    """What llama.cpp's converter calls a tensor."""
    whole = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    if name in whole:
        return whole[name]
    layer, _, rest = name.removeprefix("model.layers.").partition(".")
    part, _, kind = rest.rpartition(".")
    return f"blk.{layer}.{_GGUF_NAMES[part]}.{kind}"


def interleaved(rows: F32, heads: int) -> F32:
    """What llama.cpp's converter does to q and k of Llama models."""
    split = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return split.swapaxes(1, 2).reshape(rows.shape)


def write_gguf(
    file: Path,
    model: Tiny,
    type: Type = Type.F32,
    types: Mapping[str, Type] | None = None,
    metadata: Mapping[str, Any] | None = None,
    blocks: Mapping[str, tuple[Type, npt.NDArray[np.uint8]]] | None = None,
) -> Path:
    """Matrices in `type`, or as `types` says of their GGUF names; vectors in F32.

    `metadata` replaces that of the same key, None leaves it out; `blocks` are bytes of tensors
    that gguf can't quantise.
    """
    writer = gguf.GGUFWriter(file, model.architecture)
    for key, value in {**_metadata(model), **(metadata or {})}.items():
        if value is None:
            continue
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, str):
            writer.add_string(key, value)
        else:
            writer.add_array(key, value)
    for name, data in model.weights().items():
        named = gguf_name(name)
        if model.architecture == "llama" and ".q_proj." in name:
            data = interleaved(data, model.heads)
        if model.architecture == "llama" and ".k_proj." in name:
            data = interleaved(data, model.kv_heads)
        if blocks and named in blocks:
            kind, raw = blocks[named]
            writer.add_tensor(named, raw, raw_dtype=kind)
        elif data.ndim == 1:
            writer.add_tensor(named, data)
        else:
            kind = (types or {}).get(named, type)
            writer.add_tensor(named, quantize(data, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _metadata(model: Tiny) -> dict[str, Any]:
    at, tokens = model.architecture, model.tokens
    return {
        "general.license": "mit",
        f"{at}.block_count": model.layers,
        f"{at}.context_length": model.context,
        f"{at}.embedding_length": model.width,
        f"{at}.feed_forward_length": model.ffn,
        f"{at}.attention.head_count": model.heads,
        f"{at}.attention.head_count_kv": model.kv_heads,
        f"{at}.rope.freq_base": 10000.0,
        f"{at}.attention.layer_norm_rms_epsilon": 1e-5,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3] * len(SPECIAL) + [1] * (len(tokens) - len(SPECIAL)),
        "tokenizer.ggml.merges": model.merges,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.chat_template": TEMPLATE,
    }


def write_hf(directory: Path, model: Tiny, shards: int = 1, **settings: Any) -> Path:
    """A directory as `save_pretrained` makes it; `settings` replace those of config.json."""
    directory.mkdir(parents=True, exist_ok=True)
    config = {
        "model_type": model.architecture,
        "hidden_size": model.width,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads,
        "intermediate_size": model.ffn,
        "num_hidden_layers": model.layers,
        "vocab_size": model.vocab,
        "max_position_embeddings": model.context,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": model.tied,
        "eos_token_id": 2,
    }
    (directory / "config.json").write_text(json.dumps(config | settings))
    (directory / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    bytes_ = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    (directory / "tokenizer.json").write_text(
        json.dumps(
            {
                "version": "1.0",
                "added_tokens": [
                    {
                        "id": number,
                        "content": token,
                        "single_word": False,
                        "lstrip": False,
                        "rstrip": False,
                        "normalized": False,
                        "special": True,
                    }
                    for number, token in enumerate(SPECIAL)
                ],
                "pre_tokenizer": {
                    "type": "Sequence",
                    "pretokenizers": [
                        {"type": "Digits", "individual_digits": True},
                        bytes_ | {"use_regex": True},
                    ],
                },
                "decoder": bytes_,
                "model": {
                    "type": "BPE",
                    "vocab": {token: number for number, token in enumerate(model.tokens)},
                    "merges": model.merges,
                },
            }
        )
    )
    weights = model.weights()
    if shards == 1:
        safetensors.numpy.save_file(weights, directory / "model.safetensors")
        return directory
    names = sorted(weights)
    placed = {}
    for number in range(shards):
        file = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = names[number::shards]
        safetensors.numpy.save_file({name: weights[name] for name in part}, directory / file)
        placed |= dict.fromkeys(part, file)
    index = directory / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": placed}))
    return directory
