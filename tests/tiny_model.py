"""A Hugging Face directory of a Llama so small that compiling it takes a moment."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import tokenizers

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
F32 = npt.NDArray[np.float32]


def byte_tokenizer() -> tokenizers.Tokenizer:
    """A token is a byte; 256 and 257 are markup."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocab = {character: number for number, character in enumerate(alphabet)}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, []))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    return made


def write_model(
    folder: Path,
    tokenizer: tokenizers.Tokenizer,
    config: Mapping[str, int | float],
    weights: Mapping[str, F32],
) -> Path:
    """`config` and `weights` as Hugging Face names them; tied embeddings, no biases."""
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    everything = {
        "model_type": "llama",
        "tie_word_embeddings": True,
        "eos_token_id": tokenizer.token_to_id("<|im_end|>"),
        **config,
    }
    (folder / "config.json").write_text(json.dumps(everything))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": CHATML}))
    contiguous = {name: np.ascontiguousarray(weight) for name, weight in weights.items()}
    safetensors.numpy.save_file(contiguous, folder / "model.safetensors")
    return folder


def random_model(folder: Path, layers: int = 2) -> Path:
    """Of random weights: what it says means nothing, and it says it reliably."""
    random = np.random.default_rng(11)
    width, ffn, vocab, kv = 64, 128, 264, 32

    def matrix(rows: int, columns: int, size: float = 1.0) -> F32:
        return random.normal(0, size * columns**-0.5, (rows, columns)).astype(np.float32)

    weights = {
        "model.embed_tokens.weight": matrix(vocab, width, 2.0),
        "model.norm.weight": np.ones(width, np.float32),
    }
    for number in range(layers):
        at = f"model.layers.{number}"
        weights |= {
            f"{at}.input_layernorm.weight": np.ones(width, np.float32),
            f"{at}.post_attention_layernorm.weight": np.ones(width, np.float32),
            f"{at}.self_attn.q_proj.weight": matrix(width, width, 2.0),
            f"{at}.self_attn.k_proj.weight": matrix(kv, width, 2.0),
            f"{at}.self_attn.v_proj.weight": matrix(kv, width, 2.0),
            f"{at}.self_attn.o_proj.weight": matrix(width, width, 2.0),
            f"{at}.mlp.gate_proj.weight": matrix(ffn, width),
            f"{at}.mlp.up_proj.weight": matrix(ffn, width),
            f"{at}.mlp.down_proj.weight": matrix(width, ffn),
        }
    config = {
        "vocab_size": vocab,
        "hidden_size": width,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
    }
    return write_model(folder, byte_tokenizer(), config, weights)
