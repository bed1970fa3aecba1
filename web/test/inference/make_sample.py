"""Writes sample/, the compiled model that the runtime's unit tests run: a tiny sentence encoder.

python web/test/inference/make_sample.py

Word vectors are looked up, put through a matrix (which uses a scratch buffer), and averaged over
each text. Eight words, eight dimensions, weights in two shards. The tests work out what is right.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "jit"), str(ROOT)]

from pywasm.compile.plan_types import Plan  # noqa: E402
from pywasm_jit.builder import Builder  # noqa: E402
from pywasm_jit.ir import F32, I32, For, Kernel, Numeric, op  # noqa: E402
from pywasm_jit.wasm import WasmTarget, render  # noqa: E402

OUTPUT = Path(__file__).parent / "sample"
WIDTH, VOCABULARY, TOKENS = 8, 12, 16
WORDS = ["red", "green", "blue", "one", "two", "three", "tree", "##s"]


def embed(numeric: Numeric) -> Kernel:
    k = Builder("embed", numeric)
    rows, vocab = k.extent("rows"), k.extent("vocab")
    ids, word = k.input("ids", I32, rows), k.input("word", F32, vocab, WIDTH)
    y = k.output("y", F32, rows, WIDTH)
    with k.parallel("row", rows) as row:
        known = k.register("id", "i32", init=op("max", 0, op("min", ids[row], vocab - 1)))
        with k.parallel("c", WIDTH) as c:
            y[row, c] = word[known[()], c]
    return k.kernel()


def dense(numeric: Numeric) -> Kernel:
    k = Builder("dense", numeric)
    rows = k.extent("rows")
    x, w = k.input("x", F32, rows, WIDTH), k.input("w", F32, WIDTH, WIDTH)
    y, row_copy = k.output("y", F32, rows, WIDTH), k.scratch("copy", F32, WIDTH)
    with k.parallel("row", rows) as row:
        with k.parallel("i", WIDTH) as i:
            row_copy[i] = x[row, i]
        with k.parallel("c", WIDTH) as c:
            total = k.register("total", "f32", init=0.0)
            with k.serial("j", WIDTH) as j:
                total[()] = k.mac(row_copy[j], w[j, c], total[()])
            y[row, c] = total[()]
    return k.kernel()


def mean(numeric: Numeric) -> Kernel:
    k = Builder("mean", numeric)
    batch, seq = k.extent("batch"), k.extent("seq")
    x, lengths = k.input("x", F32, batch, seq, WIDTH), k.input("lengths", I32, batch)
    y = k.output("y", F32, batch, WIDTH)
    with k.parallel("text", batch) as text, k.parallel("c", WIDTH) as c:
        total = k.register("total", "f32", init=0.0)
        with k.serial("t", lengths[text]) as t:
            total[()] = total[()] + x[text, t, c]
        y[text, c] = total[()] / op("to_f32", lengths[text])
    return k.kernel()


def trap(numeric: Numeric) -> Kernel:
    """Reads far outside of any memory: what a wrong kernel may do."""
    k = Builder("trap", numeric)
    rows = k.extent("rows")
    x, w = k.input("x", F32, rows, WIDTH), k.input("w", F32, WIDTH, WIDTH)
    y = k.output("y", F32, rows, WIDTH)
    copy = k.scratch("copy", F32, WIDTH)
    with k.parallel("row", rows) as row:
        copy[0] = x[row, 0] + w[0, 0]
        y[row, 0] = x[row + 0x07000000, 0]
    return k.kernel()


def gridded(kernel: Kernel) -> Kernel:
    loop = kernel.body[0]
    assert isinstance(loop, For)
    return kernel.with_body([dataclasses.replace(loop, mapping="grid")])


def named(prefix: str, suffix: str, content: bytes) -> dict[str, Any]:
    """Writes the file under a name that tells its content."""
    digest = hashlib.sha256(content).hexdigest()
    file = f"{prefix}-{digest[:16]}{suffix}"
    (OUTPUT / file).write_bytes(content)
    return {"file": file, "bytes": len(content), "sha256": digest}


def tokenizer() -> bytes:
    """BERT's, with the words above."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    added = [
        {
            "id": i,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for i, token in enumerate(special)
    ]
    template = [{"SpecialToken": {"id": token, "type_id": 0}} for token in ("[CLS]", "[SEP]")]
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added,
            "normalizer": {
                "type": "BertNormalizer",
                "clean_text": True,
                "handle_chinese_chars": True,
                "strip_accents": None,
                "lowercase": True,
            },
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [template[0], {"Sequence": {"id": "A", "type_id": 0}}, template[1]],
                "pair": [],
                "special_tokens": {
                    token: {"id": token, "ids": [special.index(token)], "tokens": [token]}
                    for token in ("[CLS]", "[SEP]")
                },
            },
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
            "model": {
                "type": "WordPiece",
                "unk_token": "[UNK]",
                "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100,
                "vocab": {token: i for i, token in enumerate(special + WORDS)},
            },
        }
    ).encode()


def floats(count: int, seed: int) -> bytes:
    """Numbers of 1/16 between -1 and 1, so that sums of their products are exact."""
    return struct.pack(f"<{count}f", *(((i * 37 + seed * 11) % 33 - 16) / 16 for i in range(count)))


def main() -> None:
    OUTPUT.mkdir(exist_ok=True)
    for old in OUTPUT.iterdir():
        old.unlink()
    makers = [embed, dense, mean]
    modules = [
        {
            "numeric": numeric,
            "shared": shared,
            **named(
                "kernels",
                ".wasm",
                render(
                    [(f"k{i}", gridded(make(numeric))) for i, make in enumerate(makers)],
                    WasmTarget(relaxed=numeric == "fused", shared=shared),
                ),
            ),
        }
        for numeric in ("fused", "separate")
        for shared in (False, True)
    ]
    for shared in (False, True):
        wrong = render([("k1", gridded(trap("separate")))], WasmTarget(False, shared))
        (OUTPUT / f"trap{'-shared' if shared else ''}.wasm").write_bytes(wrong)
    word, w = floats(VOCABULARY * WIDTH, 1), floats(WIDTH * WIDTH, 2)
    flat = word + w  # 384 bytes + 256: both multiples of 64
    shards = [named("weights", ".bin", flat[:400]), named("weights", ".bin", flat[400:])]
    rows = ["*", "batch", "seq"]
    recipe = {"kernel": "", "parameters": {}, "steps": []}

    def kernel(index: int, grid: str) -> dict[str, Any]:
        made = makers[index]("fused")
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
                    "scratch": buffer.space == "scratch",
                }
                for buffer in made.buffers
            ],
            "scratch": [WIDTH * 4 for buffer in made.buffers if buffer.space == "scratch"],
            "variants": {
                numeric: {"recipe": {**recipe, "numeric": numeric}, "grid": grid}
                for numeric in ("fused", "separate")
            },
        }

    def tensor(name: str, shape: list[int], offset: int) -> dict[str, Any]:
        size = shape[0] * shape[1] * 4
        return {
            "name": name, "dtype": "f32", "layout": "rows", "shape": shape, "offset": offset,
            "bytes": size,
        }  # fmt: skip

    def step(number: int, buffers: list[dict[str, int]], extents: list[Any]) -> dict[str, Any]:
        return {
            "name": makers[number].__name__, "kernel": number, "buffers": buffers,
            "extents": extents, "flops": ["*", 16, *rows[1:]], "bytes": 0,
        }  # fmt: skip

    plan = {
        "format": 1,
        "compiler": "sample",
        "kind": "encoder",
        "name": "sample",
        "licence": "Apache-2.0",
        "url": "",
        "source_sha256": "",
        "weights_dtype": "f32",
        "symbols": ["batch", "seq"],
        "limits": {"seq": TOKENS},
        "encoder": {
            "dim": WIDTH, "max_tokens": TOKENS, "query_prefix": "red ", "document_prefix": "",
            "pooling": "mean", "normalize": False, "loss": None,
            "tokenizer": named("tokenizer", ".json", tokenizer()),
        },
        "inputs": [
            {"name": "ids", "dtype": "i32", "shape": ["batch", "seq"], "slot": 0},
            {"name": "lengths", "dtype": "i32", "shape": ["batch"], "slot": 1},
        ],
        "outputs": [{"name": "vectors", "dtype": "f32", "shape": ["batch", WIDTH], "slot": 4}],
        "weights": {
            "bytes": len(flat),
            "shards": shards,
            "tensors": [
                tensor("word", [VOCABULARY, WIDTH], 0), tensor("w", [WIDTH, WIDTH], len(word)),
            ],
        },
        "slots": [
            {"bytes": size}
            for size in (
                ["*", 4, rows], ["*", 4, "batch"], ["*", 4 * WIDTH, rows], ["*", 4 * WIDTH, rows],
                ["*", 4 * WIDTH, "batch"],
            )
        ],
        "steps": [
            step(0, [{"slot": 0}, {"weight": 0}, {"slot": 2}], [rows, VOCABULARY]),
            step(1, [{"slot": 2}, {"weight": 1}, {"slot": 3}, {"scratch": 0}], [rows]),
            step(2, [{"slot": 3}, {"slot": 1}, {"slot": 4}], ["batch", "seq"]),
        ],
        "kernels": [kernel(0, "rows"), kernel(1, "rows"), kernel(2, "batch")],
        "modules": modules,
        "wgsl": None,
    }  # fmt: skip
    Plan.model_validate(plan)
    (OUTPUT / "plan.json").write_text(json.dumps(plan, indent=1) + "\n")


if __name__ == "__main__":
    main()
