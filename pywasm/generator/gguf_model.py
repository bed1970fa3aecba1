"""A GGUF file of the Llama and Qwen2 families as a Decoder."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pywasm.compile.fused import F32
from pywasm.generator.decoder import (
    Config,
    Decoder,
    Layer,
    Text,
    check_head,
    rope_frequencies,
    usable_context,
)
from pywasm.generator.ggml import read_matrix, read_vector
from pywasm.generator.gguf_file import GgufFile
from pywasm.generator.gguf_tokenizer import begin, ends, tokenizer_json
from pywasm.generator.matrix import Matrix, stacked, taken

# Of each architecture whether the rows of q and k are interleaved: llama.cpp's converter puts a
# pair that RoPE turns side by side in one, and leaves Hugging Face's order in the other.
_INTERLEAVED = {"llama": True, "qwen2": False}
_MOST_LAYERS = 1024


def read_gguf(path: Path, name: str, licence: str = "", url: str = "") -> Decoder:
    """Raises UserError, which names the file and what in it is not as expected."""
    file = GgufFile(path)
    architecture = file.text("general.architecture")
    if architecture not in _INTERLEAVED:
        file.fail(f"architecture {architecture!r}; can be read: {', '.join(_INTERLEAVED)}")
    if file.whole(f"{architecture}.expert_count", 0):
        file.fail("a mixture of experts, which is not supported")
    tokens = file.texts("tokenizer.ggml.tokens")
    config = _config(file, architecture, len(tokens))
    reader = _Reader(file, config, _INTERLEAVED[architecture])
    layers = file.whole(f"{architecture}.block_count")
    if not 1 <= layers <= _MOST_LAYERS:
        file.fail(f"metadata {architecture}.block_count is {layers}")
    shape = config.vocab, config.width
    made = Decoder(
        name=name,
        licence=licence or file.text("general.license", ""),
        url=url or file.text("general.source.url", file.text("general.url", "")),
        sha256=_sha256(path),
        config=config,
        text=Text(
            tokenizer_json(file),
            file.text("tokenizer.chat_template", ""),
            begin(file, config.vocab),
            ends(file, config.vocab),
        ),
        embedding=read_matrix(file, "token_embd.weight", shape),
        layers=[reader.layer(f"blk.{number}") for number in range(layers)],
        norm=read_vector(file, "output_norm.weight", config.width),
        head=read_matrix(file, "output.weight", shape) if "output.weight" in file.tensors else None,
    )
    file.check_all_asked()
    return made


def _config(file: GgufFile, architecture: str, vocab: int) -> Config:
    def whole(key: str, default: int | None = None) -> int:
        return file.whole(f"{architecture}.{key}", default)

    width, heads = whole("embedding_length"), whole("attention.head_count")
    if not heads or width % heads:
        file.fail(f"{heads} heads can't share a width of {width}")
    head_dim = whole("attention.key_length", width // heads)
    check_head(str(file.path), head_dim)
    turned = whole("rope.dimension_count", head_dim)
    if turned != head_dim or whole("attention.value_length", head_dim) != head_dim:
        file.fail(
            f"heads of {head_dim} of which {turned} turn; expected all to turn, as values are"
        )
    scaling = file.text(f"{architecture}.rope.scaling.type", "none")
    if scaling not in ("none", "linear"):
        file.fail(f"RoPE scaled by {scaling!r}; can be read: linear, and llama3's factors")
    factor = file.real(f"{architecture}.rope.scaling.factor", 1.0) if scaling == "linear" else 1.0
    base = file.real(f"{architecture}.rope.freq_base", 10000.0)
    if base <= 0 or factor <= 0:
        file.fail(f"RoPE with base {base} and factor {factor}; expected positive numbers")
    config = Config(
        vocab=vocab,
        context=usable_context(whole("context_length")),
        width=width,
        heads=heads,
        kv_heads=whole("attention.head_count_kv", heads) or heads,
        head_dim=head_dim,
        ffn=whole("feed_forward_length"),
        epsilon=file.real(f"{architecture}.attention.layer_norm_rms_epsilon"),
        rope=rope_frequencies(head_dim, base, _factors(file, head_dim)) / factor,
    )
    config.check(str(file.path))
    return config


def _factors(file: GgufFile, head_dim: int) -> F32 | None:
    """What frequencies are divided by: Llama 3.1 and later."""
    if "rope_freqs.weight" not in file.tensors:
        return None
    factors = read_vector(file, "rope_freqs.weight", head_dim // 2)
    if (factors <= 0).any():
        file.fail("tensor rope_freqs.weight: expected positive factors")
    return factors


@dataclass(frozen=True)
class _Reader:
    file: GgufFile
    config: Config
    interleaved: bool

    def layer(self, at: str) -> Layer:
        config, file = self.config, self.file
        width = config.width
        rows = config.heads * config.head_dim
        return Layer(
            attention_norm=read_vector(file, f"{at}.attn_norm.weight", width),
            qkv=self._qkv(at),
            qkv_bias=self._qkv_bias(at),
            out=read_matrix(file, f"{at}.attn_output.weight", (width, rows)),
            ffn_norm=read_vector(file, f"{at}.ffn_norm.weight", width),
            gate_up=stacked(
                [
                    read_matrix(file, f"{at}.{part}.weight", (config.ffn, width))
                    for part in ("ffn_gate", "ffn_up")
                ]
            ),
            down=read_matrix(file, f"{at}.ffn_down.weight", (width, config.ffn)),
        )

    def _qkv(self, at: str) -> Matrix:
        parts = []
        for part, heads in self._heads():
            shape = heads * self.config.head_dim, self.config.width
            matrix = read_matrix(self.file, f"{at}.{part}.weight", shape)
            parts.append(taken(matrix, self._order(heads)) if self._turns(part) else matrix)
        return stacked(parts)

    def _qkv_bias(self, at: str) -> F32 | None:
        if not any(f"{at}.{part}.bias" in self.file.tensors for part, _ in self._heads()):
            return None
        parts = []
        for part, heads in self._heads():
            vector = read_vector(self.file, f"{at}.{part}.bias", heads * self.config.head_dim)
            parts.append(vector[self._order(heads)] if self._turns(part) else vector)
        return np.concatenate(parts)

    def _heads(self) -> list[tuple[str, int]]:
        keys = self.config.kv_heads
        return [("attn_q", self.config.heads), ("attn_k", keys), ("attn_v", keys)]

    def _turns(self, part: str) -> bool:
        return self.interleaved and part != "attn_v"

    def _order(self, heads: int) -> npt.NDArray[np.intp]:
        """Which interleaved row each row in NEOX order is: 0, 2, 4, ..., 1, 3, 5, ... of a head."""
        head_dim = self.config.head_dim
        numbers = np.arange(heads * head_dim).reshape(heads, head_dim // 2, 2)
        return numbers.transpose(0, 2, 1).reshape(-1)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
