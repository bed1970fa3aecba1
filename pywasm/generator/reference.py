"""A decoder in numpy, its weights widened to f32: what plans are held to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pywasm.compile.fused import F32
from pywasm.compile.operators import softmax
from pywasm.generator.decoder import Config, Decoder
from pywasm.generator.matrix import values


def forward(decoder: Decoder, texts: Sequence[Sequence[int]]) -> list[F32]:
    """Logits f32[tokens, vocab] of each text of token ids.

    All texts go through a layer together, so that its matrices are widened once.
    """
    config = decoder.config
    ids = np.concatenate([np.asarray(text, np.intp) for text in texts])
    ends = np.cumsum([len(text) for text in texts])[:-1]
    embedding = values(decoder.embedding)
    x = embedding[ids]
    for layer in decoder.layers:
        y = _rms_norm(x, layer.attention_norm, config.epsilon) @ values(layer.qkv).T
        y = y if layer.qkv_bias is None else y + layer.qkv_bias
        mixed = [_attention(config, part) for part in np.split(y, ends)]
        x = x + np.concatenate(mixed) @ values(layer.out).T
        y = _rms_norm(x, layer.ffn_norm, config.epsilon) @ values(layer.gate_up).T
        gate, up = np.split(y, 2, axis=1)
        x = x + (gate / (1 + np.exp(-gate)) * up) @ values(layer.down).T
    head = embedding if decoder.head is None else values(decoder.head)
    logits: F32 = _rms_norm(x, decoder.norm, config.epsilon) @ head.T
    return np.split(logits, ends)


def log_probabilities(logits: F32) -> F32:
    """Of each row, in f32."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    made: F32 = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return made


def _rms_norm(x: F32, gamma: F32, epsilon: float) -> F32:
    squares = np.mean(x * x, axis=-1, keepdims=True)
    made: F32 = x / np.sqrt(squares + np.float32(epsilon)) * gamma
    return made


def _attention(config: Config, qkv: F32) -> F32:
    """f32[tokens, heads * head_dim] of one text, causal."""
    tokens, heads, keys = len(qkv), config.heads, config.kv_heads
    split = qkv.reshape(tokens, heads + 2 * keys, config.head_dim).transpose(1, 0, 2)
    turned = _turned(config, split[: heads + keys])
    k = np.repeat(turned[heads:], heads // keys, axis=0)
    v = np.repeat(split[heads + keys :], heads // keys, axis=0)
    scores = turned[:heads] @ k.transpose(0, 2, 1) / np.float32(np.sqrt(config.head_dim))
    seen = np.tril(np.ones((tokens, tokens), bool))
    mixed = softmax(np.where(seen, scores, np.float32(-np.inf))) @ v
    return np.asarray(mixed.transpose(1, 0, 2).reshape(tokens, -1), np.float32)


def _turned(config: Config, x: F32) -> F32:
    """RoPE: x [heads, tokens, head_dim]."""
    angles = np.outer(np.arange(x.shape[1]), config.rope)
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    first, second = np.split(x, 2, axis=2)
    return np.concatenate([first * cos - second * sin, first * sin + second * cos], axis=2)
