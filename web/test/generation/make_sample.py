"""Compiles a decoder that can be checked by hand: `python web/test/generation/make_sample.py`.

The first elements of a token's key and value are the token itself, in each of two layers. The next
token follows from all tokens before it (sample.ts has the same in TypeScript):

    h = 0; for each token: h = (31 h + token) mod 65521;  t = h mod 27
    next = letter number t of the alphabet, or <|im_end|> for t = 26
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "jit"), str(ROOT)]

from pywasm.compile.plan_types import Plan  # noqa: E402
from pywasm_jit import recipes  # noqa: E402
from pywasm_jit.builder import Builder  # noqa: E402
from pywasm_jit.ir import F16, F32, I32, Expr, For, Kernel, Numeric, op  # noqa: E402
from pywasm_jit.sizes import expr_json, grid  # noqa: E402
from pywasm_jit.wasm import WasmTarget, render  # noqa: E402

OUTPUT = Path(__file__).parent / "sample"
VOCABULARY, CONTEXT, BLOCK, LAYERS, HEAD_DIM, CHUNK = 262, 512, 32, 2, 8, 128
LAYER = 2 * HEAD_DIM * BLOCK  # elements of a layer in a block: keys [HEAD_DIM, BLOCK], then values
BLOCK_BYTES = 2 * LAYERS * LAYER
END = 257
PRIME = 65521


def key_place(position: Expr) -> Expr:
    return position % BLOCK


def value_place(position: Expr) -> Expr:
    return (position % BLOCK) * HEAD_DIM + HEAD_DIM * BLOCK


def store(numeric: Numeric) -> Kernel:
    k = Builder("store", numeric)
    rows, blocks = k.extent("rows"), k.extent("blocks")
    ids, place = k.input("ids", I32, rows), k.input("place", I32, 2)
    table, kv = k.input("table", I32, blocks), k.inout("kv", F16, blocks, LAYERS * LAYER)
    with k.parallel("row", rows) as row, k.let("position", place[0] + row) as position:
        for place_of in (key_place, value_place):
            kv[table[position // BLOCK], place_of(position)] = op("to_f32", ids[row])
    return k.kernel()


def fold(numeric: Numeric) -> Kernel:
    k = Builder("fold", numeric)
    rows, blocks = k.extent("rows"), k.extent("blocks")
    place, table = k.input("place", I32, 2), k.input("table", I32, blocks)
    kv, y = k.input("kv", F16, blocks, LAYERS * LAYER), k.output("y", I32, 1)
    with k.parallel("one", 1):
        h = k.register("h", "i32", init=0)
        with k.serial("position", place[0] + rows) as position:
            block = table[position // BLOCK]
            key = op("to_i32", kv[block, key_place(position)])
            value = op("to_i32", kv[block, value_place(position)])
            h[()] = (h[()] * 31 + key * 2 - value) % PRIME
        t = h[()] % 27
        y[0] = t + ord("a") + (t // 26) * (END - ord("a") - 26)
    return k.kernel()


def head(numeric: Numeric) -> Kernel:
    k = Builder("head", numeric)
    vocab = k.extent("vocab")
    token, bias = k.input("token", I32, 1), k.input("bias", F32, vocab)
    logits = k.output("logits", F32, vocab)
    with k.parallel("v", vocab) as v:
        far = op("max", v - token[0], token[0] - v)
        logits[v] = bias[v] - op("to_f32", far)
    return k.kernel()


def gridded(make: Callable[[Numeric], Kernel], numeric: Numeric) -> Kernel:
    kernel = make(numeric)
    loop = kernel.body[0]
    assert isinstance(loop, For)
    return kernel.with_body([dataclasses.replace(loop, mapping="grid")])


def auxiliary(name: str, bits: int | None = None) -> Callable[[Numeric], Kernel]:
    """One of those that change KV."""
    shape = {"kv_heads": 1, "head_dim": HEAD_DIM, "layers": LAYERS}
    parameters = shape if bits is None else {**shape, "bits": bits}
    return lambda numeric: recipes.build(recipes.default(name, parameters, numeric))


MAKERS: list[Callable[[Numeric], Kernel]] = [
    *(functools.partial(gridded, make) for make in (store, fold, head)),
    auxiliary("kv_move"),
    *(auxiliary(name, bits) for bits in (8, 4) for name in ("kv_pack", "kv_unpack")),
]
AUX = {"kv_move": 3, "kv_pack8": 4, "kv_unpack8": 5, "kv_pack4": 6, "kv_unpack4": 7}


def named(prefix: str, suffix: str, content: bytes) -> dict[str, Any]:
    """Writes the file under a name that tells its content."""
    digest = hashlib.sha256(content).hexdigest()
    file = f"{prefix}-{digest[:16]}{suffix}"
    (OUTPUT / file).write_bytes(content)
    return {"file": file, "bytes": len(content), "sha256": digest}


def tokenizer() -> bytes:
    """Byte-level BPE: ids of bytes are the bytes, then tokens that were added, then three words."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = iter(range(256, 512))  # GPT-2: what can't be printed stands further up
    characters = [chr(byte if byte in printable else next(moved)) for byte in range(256)]
    added = ["<|im_start|>", "<|im_end|>", "<tool>"]
    merges = [["h", "i"], ["\u0120", "hi"], ["o", "k"]]
    tokens = [*characters, *added, *("".join(pair) for pair in merges)]
    level = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
    assert len(tokens) == VOCABULARY and tokens[END] == "<|im_end|>"
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [
                {
                    "id": 256 + index,
                    "content": token,
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                    "special": token != "<tool>",
                }
                for index, token in enumerate(added)
            ],
            "normalizer": None,
            "pre_tokenizer": {**level, "add_prefix_space": False},
            "post_processor": None,
            "decoder": {**level, "add_prefix_space": True},
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "vocab": {token: number for number, token in enumerate(tokens)},
                "merges": merges,
            },
        }
    ).encode()


# ChatML, with a system message of its own where none is given.
TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe brief<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def main() -> None:
    OUTPUT.mkdir(exist_ok=True)
    for old in OUTPUT.iterdir():
        old.unlink()
    modules = [
        {
            "numeric": numeric,
            "shared": shared,
            **named(
                "kernels",
                ".wasm",
                render(
                    [(f"k{i}", make(numeric)) for i, make in enumerate(MAKERS)],
                    WasmTarget(relaxed=numeric == "fused", shared=shared),
                ),
            ),
        }
        for numeric in ("fused", "separate")
        for shared in (False, True)
    ]
    bias = bytes(-(-4 * VOCABULARY // 256) * 256)
    angles = CONTEXT * HEAD_DIM // 2
    ones, zeros = struct.pack(f"<{angles}f", *[1.0] * angles), bytes(4 * angles)
    flat = bias + ones + zeros  # keys are turned by nothing
    recipe = {"kernel": "", "parameters": {}, "steps": []}
    blocks = CONTEXT // BLOCK

    def kernel(index: int) -> dict[str, Any]:
        made = MAKERS[index]("fused")
        return {
            "name": made.name,
            "export": f"k{index}",
            "extents": list(made.extents),
            "buffers": [
                {
                    "name": buffer.name,
                    "dtype": buffer.dtype.name,
                    "shape": [],
                    "access": buffer.access,
                    "scratch": False,
                }
                for buffer in made.buffers
            ],
            "scratch": [],
            "variants": {
                numeric: {
                    "recipe": {**recipe, "numeric": numeric},
                    "grid": expr_json(grid(MAKERS[index](numeric))),
                }
                for numeric in ("fused", "separate")
            },
        }

    def tensor(name: str, shape: list[int], offset: int) -> dict[str, Any]:
        return {
            "name": name, "dtype": "f32", "layout": "rows", "shape": shape, "offset": offset,
            "bytes": 4 * math.prod(shape),
        }  # fmt: skip

    def step(name: str, number: int, buffers: list[Any], extents: list[Any]) -> dict[str, Any]:
        return {
            "name": name, "kernel": number, "buffers": buffers,
            "extents": extents, "flops": "rows", "bytes": 0,
        }  # fmt: skip

    ids, place, table, token, logits = ({"slot": slot} for slot in range(5))
    steps = [
        *(
            step(f"layer{layer}", 0, [ids, place, table, {"kv": layer}], ["rows", blocks])
            for layer in range(LAYERS)
        ),
        step("fold", 1, [place, table, {"kv": LAYERS - 1}, token], ["rows", blocks]),
        step("head", 2, [token, {"weight": 0}, logits], [VOCABULARY]),
    ]
    plan = {
        "format": 1,
        "compiler": "sample",
        "kind": "decoder",
        "name": "sample",
        "licence": "Apache-2.0",
        "url": "",
        "source_sha256": "0" * 64,
        "weights_dtype": "f32",
        "symbols": ["rows"],
        "limits": {"rows": CHUNK},
        "encoder": None,
        "decoder": {
            "vocab": VOCABULARY, "context": CONTEXT, "layers": LAYERS, "heads": 1, "kv_heads": 1,
            "head_dim": HEAD_DIM, "chunk": CHUNK, "head": LAYERS,
            "kv_block": BLOCK, "kv_block_bytes": BLOCK_BYTES,
            "tokenizer": named("tokenizer", ".json", tokenizer()), "template": TEMPLATE,
            "bos": None, "eos": [END], "activations": "f32", "aux": AUX, "agreement": None,
        },
        "inputs": [
            {"name": "ids", "dtype": "i32", "shape": ["rows"], "slot": 0},
            {"name": "place", "dtype": "i32", "shape": [2], "slot": 1},
            {"name": "table", "dtype": "i32", "shape": [blocks], "slot": 2},
        ],
        "outputs": [{"name": "logits", "dtype": "f32", "shape": [VOCABULARY], "slot": 4}],
        "weights": {
            "bytes": len(flat),
            "shards": [named("weights", ".bin", flat)],
            "tensors": [
                tensor("bias", [VOCABULARY], 0),
                tensor("rope.cos", [CONTEXT, HEAD_DIM // 2], len(bias)),
                tensor("rope.sin", [CONTEXT, HEAD_DIM // 2], len(bias + ones)),
            ],
        },
        "slots": [{"bytes": size} for size in (["*", 4, "rows"], 8, 4 * blocks, 4, 4 * VOCABULARY)],
        "steps": steps,
        "kernels": [kernel(index) for index in range(len(MAKERS))],
        "modules": modules,
        "wgsl": None,
    }  # fmt: skip
    Plan.model_validate(plan)
    (OUTPUT / "plan.json").write_text(json.dumps(plan, indent=1) + "\n")


if __name__ == "__main__":
    main()
