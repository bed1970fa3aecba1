"""Plans: run under wasmtime in both numeric classes, against transformers and onnxruntime."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import save_file

from pywasm.compile.compile import Compiled, assemble, compile_model, plan_bytes, read_encoder
from pywasm.compile.loss import row_cosines
from pywasm.compile.lower import WeightsDType
from pywasm.compile.plan_types import Numeric, SlotRef, evaluate
from pywasm.compile.run import open_encoder, read_plan
from pywasm.encoder import Encoder, EncoderFiles, find_encoder, load_encoder
from pywasm.errors import UserError

F32 = npt.NDArray[np.float32]
BOTH: tuple[Numeric, ...] = ("fused", "separate")


@pytest.fixture(scope="session")
def minilm(session_cache: Path) -> EncoderFiles:
    return find_encoder("minilm")


@pytest.fixture(scope="session")
def compiled(minilm: EncoderFiles) -> Compiled:
    """MiniLM in f32."""
    return compile_model(minilm, "f32")


def golden() -> list[dict[str, Any]]:
    rows = json.loads((Path(__file__).parent / "data" / "minilm.json").read_text("utf-8"))["rows"]
    return list(rows)


@pytest.mark.parametrize("numeric", BOTH)
def test_minilm_agrees_with_transformers(compiled: Compiled, numeric: Numeric) -> None:
    encoder = compiled.encoder(numeric)
    rows = golden()
    found = encoder.embed_documents([row["text"] for row in rows], batch=4)
    wanted = np.array([row["embedding"] for row in rows])
    assert np.abs(found - wanted).max() < 1e-4 / 100


def test_a_row_does_not_depend_on_its_batch_nor_on_slices(compiled: Compiled) -> None:
    run = compiled.run("fused")
    rows = [row["input_ids"] for row in golden() if len(row["input_ids"]) < 20]
    longest = max(map(len, rows))
    symbols = {"batch": len(rows), "seq": longest}
    ids = [[*row, *[0] * (longest - len(row))] for row in rows]
    inputs = {"ids": ids, "lengths": [len(row) for row in rows]}
    together = run.run(inputs, symbols)["embedding"]
    sliced = run.run(inputs, symbols, threads=3)["embedding"]
    assert np.array_equal(together, sliced)
    for row, embedding in zip(rows, together, strict=True):
        one = {"batch": 1, "seq": len(row)}
        alone = run.run({"ids": [row], "lengths": [len(row)]}, one)["embedding"]
        assert np.array_equal(alone[0], embedding)


def test_ids_outside_of_the_vocabulary_and_odd_lengths_read_nothing_outside(
    compiled: Compiled,
) -> None:
    run = compiled.run("separate")
    symbols = {"batch": 2, "seq": 3}
    ids = [[-5, 1 << 30, 101], [101, 7, 102]]
    for lengths in ([3, 2], [0, 3], [1 << 30, -7]):
        made = run.run({"ids": ids, "lengths": lengths}, symbols)["embedding"]
        assert np.isfinite(made).all()


def test_the_plan_of_minilm(compiled: Compiled) -> None:
    plan = compiled.plan
    assert plan.encoder.dim == 384 and plan.limits == {"seq": 256}
    assert plan.encoder.loss is not None and plan.encoder.loss.min_cosine > 0.999999
    # embed, 6 x (qkv, attention, out, norm, up, down, norm), pool, normalize
    assert len(plan.steps) == 1 + 6 * 7 + 2 and len(plan.kernels) == 9
    assert sum(shard.bytes for shard in plan.weights.shards) == plan.weights.bytes
    assert all(tensor.offset % 64 == 0 for tensor in plan.weights.tensors)
    matrices = 22_713_216 - (512 - 256) * 384 - 2 * 384 - 384 * 384 - 384  # no pooler, no types
    assert plan.weights.bytes == 4 * matrices
    symbols = {"batch": 8, "seq": 128}
    arena = sum(evaluate(slot.bytes, symbols) for slot in plan.slots)
    # Two hidden states, one wide value (q, k, v or the feed-forward's) and the lengths.
    assert arena == 4 * 1024 * (384 + 384 + 1536) + 4 * 8
    flops = sum(evaluate(step.flops, symbols) for step in plan.steps)
    assert 1024 * 2 * 10.6e6 < flops < 1024 * 2 * 11.3e6


def test_no_step_reads_and_writes_one_slot(compiled: Compiled) -> None:
    plan = compiled.plan
    for step in plan.steps:
        slots = [buffer.slot for buffer in step.buffers if isinstance(buffer, SlotRef)]
        assert len(slots) == len(set(slots)), step.name


def test_the_same_model_gives_the_same_bytes(minilm: EncoderFiles, compiled: Compiled) -> None:
    again = assemble(minilm, read_encoder(minilm), "f32").with_loss(compiled.plan.encoder.loss)
    assert plan_bytes(again.plan) == plan_bytes(compiled.plan)
    assert again.files == compiled.files


def test_a_compiled_folder(compiled: Compiled, tmp_path: Path) -> None:
    compiled.write(tmp_path)
    plan = read_plan(tmp_path)
    assert plan == compiled.plan
    for info in (*plan.weights.shards, *plan.modules, plan.encoder.tokenizer):
        data = (tmp_path / info.file).read_bytes()
        assert len(data) == info.bytes and hashlib.sha256(data).hexdigest() == info.sha256
        assert info.sha256[:20] in info.file
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {*compiled.files, "plan.json"}
    # Another plan there: its files stay for visitors who hold it, those of older ones go.
    before, older = "weights-" + "b" * 20 + ".bin", "weights-" + "c" * 20 + ".bin"
    (tmp_path / "plan.json").write_text(f'"{before}"')
    for name in (before, older, "mine.bin"):
        (tmp_path / name).write_bytes(b"x")
    compiled.write(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {*names, before, "mine.bin"}


def test_a_damaged_folder_is_refused(compiled: Compiled, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no plan\.json here"):
        open_encoder(tmp_path)
    compiled.write(tmp_path)
    shard = tmp_path / compiled.plan.weights.shards[-1].file
    data = shard.read_bytes()
    shard.write_bytes(data[:-1])
    with pytest.raises(UserError, match=f"{shard.name}: .* bytes, expected {len(data):,}"):
        open_encoder(tmp_path)
    shard.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(UserError, match=f"{shard.name}: damaged"):
        open_encoder(tmp_path)
    plan = json.loads((tmp_path / "plan.json").read_text())
    (tmp_path / "plan.json").write_text(json.dumps({**plan, "format": 2}))
    with pytest.raises(UserError, match=r"plan\.json: format: .* expected a plan of format 1"):
        open_encoder(tmp_path)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("weights", "bytes"), 1, "their shards have another sum"),
        (("weights", "tensors", 0, "shape"), [1 << 40, 384], "does not fit"),
        (("weights", "tensors", 1, "offset"), -256, "does not fit"),
        (("weights", "tensors", 1, "offset"), 1 << 31, "does not fit"),
        (("slots", 1, "bytes"), 64, r"step \S+: \S+ needs .* bytes, it is given 64"),
        (("slots", 0, "bytes"), ["*", -1, "batch"], "a size is negative"),
        (("slots", 0, "bytes"), ["*", 4, "bytes"], "can't be worked out"),
        (("steps", 3, "kernel"), 99, "there is no kernel 99"),
        (("steps", 3, "extents"), [], "other buffers or extents"),
        (("steps", 3, "extents"), [["*", 1 << 20, "seq"]], r"needs .* bytes, it is given"),
        (("steps", 3, "buffers", 0), {"weight": 3}, r"needs .* bytes, it is given"),
        (("steps", 3, "buffers", 0), {"slot": 77}, "it is given 0"),
        (("outputs", 0, "slot"), -1, "embedding: does not fit slot -1"),
        (("outputs", 0, "shape"), ["batch", 1 << 30], "embedding: does not fit"),
        (("steps", 0, "flops"), ["%", 1, 2], "is no expression"),
    ],
)
def test_a_plan_whose_numbers_do_not_fit_is_refused(
    path: tuple[str | int, ...], value: Any, message: str, compiled: Compiled, tmp_path: Path
) -> None:
    plan: Any = json.loads(plan_bytes(compiled.plan))
    inner = plan
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(UserError, match=message):
        read_plan(tmp_path)


def test_a_plan_that_would_write_its_weights_is_refused(compiled: Compiled, tmp_path: Path) -> None:
    plan: Any = json.loads(plan_bytes(compiled.plan))
    output = [buffer["access"] for buffer in plan["kernels"][0]["buffers"]].index("write")
    plan["steps"][0]["buffers"][output] = {"weight": 0}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(UserError, match="would write weights"):
        read_plan(tmp_path)


# -- other models ---------------------------------------------------------------------------------


def write_bert(folder: Path, tokenizer: Path, **config: Any) -> Path:
    """A BERT of random weights as a Hugging Face directory, with the vocabulary of MiniLM."""
    sizes = {
        "model_type": "bert",
        "hidden_size": 48,
        "num_attention_heads": 3,
        "num_hidden_layers": 2,
        "intermediate_size": 80,
        "vocab_size": 30522,
        "max_position_embeddings": 64,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
    } | config
    random = np.random.default_rng(4)
    hidden, inner = int(sizes["hidden_size"]), int(sizes["intermediate_size"])

    def tensor(*shape: int) -> F32:
        return random.normal(0, 0.4, shape).astype(np.float32)

    weights = {
        "embeddings.word_embeddings.weight": tensor(int(sizes["vocab_size"]), hidden),
        "embeddings.position_embeddings.weight": tensor(64, hidden),
        "embeddings.token_type_embeddings.weight": tensor(2, hidden),
        "embeddings.LayerNorm.weight": tensor(hidden),
        "embeddings.LayerNorm.bias": tensor(hidden),
    }
    for layer in range(int(sizes["num_hidden_layers"])):
        at = f"encoder.layer.{layer}."
        shapes = {
            "attention.self.query": (hidden, hidden),
            "attention.self.key": (hidden, hidden),
            "attention.self.value": (hidden, hidden),
            "attention.output.dense": (hidden, hidden),
            "intermediate.dense": (inner, hidden),
            "output.dense": (hidden, inner),
        }
        for name, shape in shapes.items():
            weights[f"{at}{name}.weight"] = tensor(*shape)
            weights[f"{at}{name}.bias"] = tensor(shape[0])
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            weights[f"{at}{name}.weight"] = tensor(hidden)
            weights[f"{at}{name}.bias"] = tensor(hidden)
    folder.mkdir()
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(sizes))
    (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    return folder


TEXTS = ["a", "How do I parse a date?", "word " * 100, ""]


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
def test_a_bert_of_other_sizes(activation: str, tmp_path: Path, minilm: EncoderFiles) -> None:
    folder = write_bert(tmp_path / "bert", minilm.tokenizer, hidden_act=activation)
    files = find_encoder(str(folder))
    wanted = load_encoder(str(folder)).embed_documents(TEXTS)
    made = assemble(files, read_encoder(files), "f32")
    for numeric in BOTH:
        assert np.abs(made.encoder(numeric).embed_documents(TEXTS) - wanted).max() < 2e-5


def test_pooling_prefixes_and_normalisation_follow_the_configuration(
    tmp_path: Path, minilm: EncoderFiles
) -> None:
    folder = write_bert(tmp_path / "bert", minilm.tokenizer)
    files = find_encoder(str(folder))
    config = replace(
        files.config, pooling="cls", normalize=False, query_prefix="query: ", licence="MIT"
    )
    files = replace(files, config=config)
    made = assemble(files, read_encoder(files), "f32")
    assert made.plan.encoder.pooling == "cls" and made.plan.licence == "MIT"
    native = load_encoder(str(folder))
    native.config = config
    wanted = native.embed_queries(TEXTS)
    assert np.abs(np.linalg.norm(wanted, axis=1) - 1).min() > 0.1
    assert np.abs(made.encoder("fused").embed_queries(TEXTS) - wanted).max() < 1e-4
    with pytest.raises(UserError, match="pooling by maximum is not supported"):
        read_encoder(replace(files, config=replace(config, pooling="max")))


def test_sizes_that_no_kernel_takes_are_named(tmp_path: Path, minilm: EncoderFiles) -> None:
    folder = write_bert(tmp_path / "bert", minilm.tokenizer, num_attention_heads=4)
    files = find_encoder(str(folder))
    with pytest.raises(UserError, match="attention with heads=4 head_dim=12"):
        assemble(files, read_encoder(files), "f32")


@pytest.mark.parametrize(("dtype", "least"), [("f16", 0.99999), ("int8", 0.99), ("int4", 0.9)])
def test_minilm_in_fewer_bits(
    dtype: WeightsDType, least: float, minilm: EncoderFiles, encoder: Encoder
) -> None:
    made = assemble(minilm, read_encoder(minilm), dtype)
    assert made.plan.weights_dtype == dtype
    texts = [row["text"] for row in golden() if len(row["input_ids"]) < 64]
    found = [made.encoder(numeric).embed_documents(texts) for numeric in BOTH]
    wanted = encoder.embed_documents(texts)
    for vectors in found:
        assert row_cosines(vectors, wanted).min() > least
    # Sums in f32 differ in their last bits, and now and then one is rounded to the next step.
    assert row_cosines(*found).min() > 0.995
