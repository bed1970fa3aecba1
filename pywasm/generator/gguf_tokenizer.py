"""tokenizer.json of the byte-level BPE tokenizer in a GGUF file.

GGUF names how text is cut before merging (tokenizer.ggml.pre); the cuts below are those of the
models' own tokenizer.json. Its tokens of the types control and user-defined are found in a text as
a whole, before anything else.
"""

from __future__ import annotations

import json
from typing import Any

import tokenizers

from pywasm.generator.gguf_file import GgufFile

_CONTROL, _USER_DEFINED = 3, 4
# What ends an answer beside eos_token_id: files made of chat models often name one of two.
_ENDS = ("<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>", "<|end|>")
_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_QWEN2 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST
_LLAMA3 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST


def _bytes(use_regex: bool) -> dict[str, Any]:
    """Bytes as characters; with GPT-2's cuts if `use_regex`."""
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": use_regex,
    }


def _split(pattern: str) -> dict[str, Any]:
    cut = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [cut, _bytes(False)]}


_PRE_TOKENIZERS = {
    "gpt-2": _bytes(True),
    "smollm": {
        "type": "Sequence",
        "pretokenizers": [{"type": "Digits", "individual_digits": True}, _bytes(True)],
    },
    "qwen2": _split(_QWEN2),
    "llama-bpe": _split(_LLAMA3),
}
_SAME = {
    "gpt2": "gpt-2",
    "llama3": "llama-bpe",
    "llama-v3": "llama-bpe",
    "deepseek-r1-qwen": "qwen2",
}


def tokenizer_json(file: GgufFile) -> bytes:
    """Raises UserError for tokenizers of another kind, and for what is none."""
    model, pre = file.text("tokenizer.ggml.model"), file.text("tokenizer.ggml.pre", "")
    kind = _SAME.get(pre, pre)
    if model != "gpt2" or kind not in _PRE_TOKENIZERS:
        file.fail(
            f"tokenizer of kind {model!r}, cut as {pre!r}; can be read: byte-level BPE ('gpt2') "
            f"cut as {', '.join(map(repr, sorted({*_PRE_TOKENIZERS, *_SAME})))}"
        )
    tokens = file.texts("tokenizer.ggml.tokens")
    vocab = {token: number for number, token in enumerate(tokens)}
    if len(vocab) != len(tokens):
        twice = next(token for number, token in enumerate(tokens) if vocab[token] != number)
        file.fail(f"tokenizer.ggml.tokens: {twice!r} stands there twice")
    data = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added(file, tokens),
        "normalizer": {"type": "NFC"} if kind == "qwen2" else None,
        "pre_tokenizer": _PRE_TOKENIZERS[kind],
        "post_processor": None,
        "decoder": _bytes(True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": kind == "llama-bpe",
            "vocab": vocab,
            "merges": _merges(file, vocab),
        },
    }
    made = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    try:
        tokenizers.Tokenizer.from_buffer(made)
    except Exception as error:  # tokenizers raises plain Exception
        file.fail(f"its tokenizer can't be: {error}")
    return made


def _added(file: GgufFile, tokens: list[str]) -> list[dict[str, Any]]:
    types = file.metadata.get("tokenizer.ggml.token_type")
    if not isinstance(types, list) or len(types) != len(tokens):
        file.fail(f"tokenizer.ggml.token_type: expected a number for each of {len(tokens)} tokens")
    return [
        {
            "id": number,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": kind == _CONTROL,
        }
        for number, (token, kind) in enumerate(zip(tokens, types, strict=True))
        if kind in (_CONTROL, _USER_DEFINED) and token
    ]


def _merges(file: GgufFile, vocab: dict[str, int]) -> list[str]:
    merges = file.texts("tokenizer.ggml.merges")
    for number, merge in enumerate(merges):
        first, _, second = merge.partition(" ")
        if first not in vocab or second not in vocab or first + second not in vocab:
            file.fail(
                f"tokenizer.ggml.merges: merge {number} is {merge!r:.60}, which are no tokens"
            )
    return merges


def ends(file: GgufFile, vocab: int) -> list[int]:
    """Tokens that end an answer, the file's own first."""
    found = [
        file.whole(key)
        for key in ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id")
        if key in file.metadata
    ]
    tokens, types = file.texts("tokenizer.ggml.tokens"), file.metadata["tokenizer.ggml.token_type"]
    found += [
        number
        for number, token in enumerate(tokens)
        if token in _ENDS and types[number] == _CONTROL
    ]
    if not found or max(found) >= vocab:
        file.fail(f"tokens that end an answer: {found}; expected some of {vocab:,}")
    return list(dict.fromkeys(found))


def begin(file: GgufFile, vocab: int) -> int | None:
    """The token that goes in front of a text."""
    if not file.flag("tokenizer.ggml.add_bos_token", False):
        return None
    token = file.whole("tokenizer.ggml.bos_token_id")
    if token >= vocab:
        file.fail(f"tokenizer.ggml.bos_token_id is {token}; there are {vocab:,} tokens")
    return token
