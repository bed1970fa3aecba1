"""A Hugging Face directory of the Llama and Qwen2 families as a Decoder."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import tokenizers

from pywasm.compile.fused import F32
from pywasm.errors import UserError
from pywasm.generator.decoder import (
    Config,
    Decoder,
    Layer,
    Text,
    check_head,
    rope_frequencies,
    usable_context,
)
from pywasm.generator.matrix import Dense
from pywasm.safetensors_dir import read_weights, weight_files

TYPES = ("llama", "qwen2")  # of config.json's model_type
_MOST_LAYERS = 1024


def is_decoder(directory: Path) -> bool:
    """Whether its config.json is that of a language model that `read_hf` knows."""
    file = directory / "config.json"
    try:
        return json.loads(file.read_text("utf-8")).get("model_type") in TYPES
    except (OSError, ValueError, AttributeError):
        return False


def read_hf(directory: Path, name: str, licence: str = "", url: str = "") -> Decoder:
    """Raises UserError, which names the file and what in it is not as expected."""
    file = directory / "config.json"
    if not file.is_file():
        raise UserError(f"{directory}: no .gguf file and no config.json; expected a language model")
    settings = _Settings(file)
    config = _config(settings)
    layers = settings.whole("num_hidden_layers")
    if layers > _MOST_LAYERS:
        settings.fail(f"num_hidden_layers is {layers}")
    reader = _Reader(directory, config)
    tied = settings.get("tie_word_embeddings", False) or "lm_head.weight" not in reader.weights
    shape = config.vocab, config.width
    embedding = Dense(reader.take("model.embed_tokens.weight", shape))
    head = None if tied else Dense(reader.take("lm_head.weight", shape))
    norm = reader.take("model.norm.weight", (config.width,))
    read = [reader.layer(f"model.layers.{number}") for number in range(layers)]
    reader.check_all_taken()
    files = [file, directory / "tokenizer.json", *weight_files(directory)]
    return Decoder(
        name=name,
        licence=licence,
        url=url,
        sha256=_sha256(files),
        config=config,
        text=_text(directory, settings, config.vocab),
        embedding=embedding,
        layers=read,
        norm=norm,
        head=head,
    )


class _Settings:
    """A JSON object in a file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            self._data = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{file}: not readable as JSON ({error})") from error
        if not isinstance(self._data, dict):
            self.fail("expected a JSON object")

    def fail(self, problem: str) -> NoReturn:
        raise UserError(f"{self.file}: {problem}")

    def get(self, key: str, default: Any = None) -> Any:
        return self._data.get(key, default)

    def whole(self, key: str, default: int | None = None) -> int:
        value = self._data.get(key)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            self.fail(f"{key} is {value!r:.60}; expected a whole number")
        return value

    def real(self, key: str, default: float) -> float:
        value = self._data.get(key, default)
        known = isinstance(value, int | float) and not isinstance(value, bool)
        if not known or not math.isfinite(value) or value <= 0:
            self.fail(f"{key} is {value!r:.60}; expected a positive number")
        return float(value)


def _config(settings: _Settings) -> Config:
    kind = settings.get("model_type")
    if kind not in TYPES:
        settings.fail(f"model_type {kind!r:.60}; can be read: {', '.join(TYPES)}")
    if (activation := settings.get("hidden_act", "silu")) != "silu":
        settings.fail(f"hidden_act {activation!r:.60}; expected 'silu'")
    if settings.get("use_sliding_window", False):
        settings.fail("use_sliding_window is set, which is not supported")
    width, heads = settings.whole("hidden_size"), settings.whole("num_attention_heads")
    head_dim = settings.whole("head_dim", width // heads)
    check_head(str(settings.file), head_dim)
    config = Config(
        vocab=settings.whole("vocab_size"),
        context=usable_context(settings.whole("max_position_embeddings")),
        width=width,
        heads=heads,
        kv_heads=settings.whole("num_key_value_heads", heads),
        head_dim=head_dim,
        ffn=settings.whole("intermediate_size"),
        epsilon=settings.real("rms_norm_eps", 1e-6),
        rope=_rope(settings, head_dim),
    )
    config.check(str(settings.file))
    return config


def _rope(settings: _Settings, head_dim: int) -> npt.NDArray[np.float64]:
    """Radians a position for each pair; newer configurations have it all in rope_parameters."""
    found = settings.get("rope_parameters") or settings.get("rope_scaling") or {}
    if not isinstance(found, dict):
        settings.fail(f"rope_scaling is {found!r:.60}; expected an object")
    base = found.get("rope_theta", settings.get("rope_theta", 10000.0))
    kind = found.get("rope_type", found.get("type", "default"))
    if kind not in _ROPE:
        settings.fail(f"RoPE scaled by {kind!r:.60}; can be read: {', '.join(_ROPE)}")
    keys = _ROPE[kind]
    numbers = [base, *(found.get(key) for key in keys)]
    for key, value in zip(("rope_theta", *keys), numbers, strict=True):
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            settings.fail(f"RoPE's {key} is {value!r:.60}; expected a positive number")
    plain = rope_frequencies(head_dim, float(base))
    if kind == "linear":
        return plain / float(found["factor"])
    return _llama3(plain, *(float(found[key]) for key in _LLAMA3)) if kind == "llama3" else plain


_LLAMA3 = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
_ROPE: dict[Any, tuple[str, ...]] = {"default": (), "linear": ("factor",), "llama3": _LLAMA3}


def _llama3(
    plain: npt.NDArray[np.float64], factor: float, low: float, high: float, context: float
) -> npt.NDArray[np.float64]:
    """Waves longer than the context the model knew at first are slowed, short ones are not, and
    in between there is a ramp (Llama 3.1; Grattafiori et al. 2024)."""
    turns = context * plain / (2 * math.pi)
    ramp = np.clip((turns - low) / (high - low), 0, 1)
    return plain * (ramp + (1 - ramp) / factor)


class _Reader:
    def __init__(self, directory: Path, config: Config) -> None:
        self.weights = read_weights(directory)
        self._directory = directory
        self._config = config
        self._taken = {"lm_head.weight"}  # stored beside what it is tied to, by some

    def check_all_taken(self) -> None:
        """Raises UserError for a tensor that is not used: the model computes more."""
        left = sorted(self.weights.keys() - self._taken)
        left = [name for name in left if not name.endswith(".rotary_emb.inv_freq")]
        if left:
            raise UserError(
                f"{self._directory}: tensor {left[0]} belongs to no model of this kind that can be "
                "read"
            )

    def take(self, name: str, shape: tuple[int, ...]) -> F32:
        self._taken.add(name)
        found = self.weights.get(name)
        if found is None or found.shape != shape:
            has = "missing" if found is None else f"of shape {list(found.shape)}"
            raise UserError(f"{self._directory}: tensor {name} is {has}; expected {list(shape)}")
        if not np.isfinite(found).all():
            raise UserError(f"{self._directory}: tensor {name} holds NaN or infinity")
        return found

    def layer(self, at: str) -> Layer:
        config = self._config
        width, rows = config.width, config.heads * config.head_dim
        gate_up = [
            self.take(f"{at}.mlp.{part}_proj.weight", (config.ffn, width))
            for part in ("gate", "up")
        ]
        heads = {"q": config.heads, "k": config.kv_heads, "v": config.kv_heads}
        qkv = [
            self.take(f"{at}.self_attn.{part}_proj.weight", (count * config.head_dim, width))
            for part, count in heads.items()
        ]
        bias = None
        if f"{at}.self_attn.q_proj.bias" in self.weights:
            parts = [
                self.take(f"{at}.self_attn.{part}_proj.bias", (count * config.head_dim,))
                for part, count in heads.items()
            ]
            bias = np.concatenate(parts)
        return Layer(
            attention_norm=self.take(f"{at}.input_layernorm.weight", (width,)),
            qkv=Dense(np.concatenate(qkv)),
            qkv_bias=bias,
            out=Dense(self.take(f"{at}.self_attn.o_proj.weight", (width, rows))),
            ffn_norm=self.take(f"{at}.post_attention_layernorm.weight", (width,)),
            gate_up=Dense(np.concatenate(gate_up)),
            down=Dense(self.take(f"{at}.mlp.down_proj.weight", (width, config.ffn))),
        )


def _text(directory: Path, settings: _Settings, vocab: int) -> Text:
    file = directory / "tokenizer.json"
    try:
        data = file.read_bytes()
        tokenizer = tokenizers.Tokenizer.from_buffer(data)
    except Exception as error:  # tokenizers raises plain Exception
        raise UserError(f"{file}: not a readable tokenizer ({error})") from error
    if tokenizer.get_vocab_size() > vocab:
        raise UserError(
            f"{file}: {tokenizer.get_vocab_size():,} tokens, config.json says {vocab:,}"
        )
    front = tokenizer.encode("", add_special_tokens=True).ids
    return Text(data, _template(directory), front[0] if front else None, _ends(directory, settings))


def _template(directory: Path) -> str:
    alone = directory / "chat_template.jinja"
    if alone.is_file():
        return alone.read_text("utf-8")
    file = directory / "tokenizer_config.json"
    template = _Settings(file).get("chat_template", "") if file.is_file() else ""
    if isinstance(template, list):  # several, by name
        named = {part.get("name"): part.get("template") for part in template}
        template = named.get("default", "")
    return template if isinstance(template, str) else ""


def _ends(directory: Path, settings: _Settings) -> list[int]:
    """Tokens that end an answer: of generation_config.json, which chat models have, and config."""
    file = directory / "generation_config.json"
    found: list[Any] = []
    for source in (_Settings(file) if file.is_file() else None, settings):
        ids = source.get("eos_token_id") if source else None
        found += ids if isinstance(ids, list) else [ids]
    ends = [token for token in found if isinstance(token, int) and not isinstance(token, bool)]
    if not ends or not all(0 <= token < settings.whole("vocab_size") for token in ends):
        settings.fail(f"eos_token_id is {found!r:.60}; expected tokens that end an answer")
    return list(dict.fromkeys(ends))


def _sha256(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
