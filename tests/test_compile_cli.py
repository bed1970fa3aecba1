"""`pywasm compile` and `pywasm profile` as a person meets them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from pywasm.compile.run import open_encoder
from pywasm.encoder import find_encoder, load_encoder
from tests.encoder_graphs import Spelling, build


def run(*arguments: str | Path, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pywasm.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "100", "TERM": "dumb", "PYTHONHASHSEED": hash_seed},
    )


@pytest.fixture
def model(tmp_path: Path, session_cache: Path) -> Path:
    """A small encoder of another producer, its tokenizer beside it."""
    folder = tmp_path / "model"
    folder.mkdir()
    # 60 words of the vocabulary are all that the model has: special tokens, signs and digits.
    tokenizer = json.loads(find_encoder("minilm").tokenizer.read_text("utf-8"))
    vocabulary = list(tokenizer["model"]["vocab"])
    kept = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *vocabulary[999:1054]]
    tokenizer["model"]["vocab"] = {word: number for number, word in enumerate(kept)}
    tokenizer["added_tokens"] = [
        {**token, "id": kept.index(token["content"])} for token in tokenizer["added_tokens"]
    ]
    for name, token in tokenizer["post_processor"].get("special_tokens", {}).items():
        token["ids"] = [kept.index(name)]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 32}')
    onnx.save(build(Spelling(norm="pow", linear="gemm", mask="where")), folder / "model.onnx")
    return folder


def test_compile_and_profile_speak_json(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "plan"
    arguments = ("compile", model / "model.onnx", "--weights", "int8", "--json", "-o")
    made = run(*arguments, output)
    assert made.returncode == 0, made.stderr
    result = json.loads(made.stdout)
    assert result["weights"] == "int8" and result["loss"]["mean_cosine"] > 0.99
    assert result["shards"] == 1 and result["dim"] == 32 and result["max_tokens"] == 32
    texts = ["a ! b", "1 2 3", ""]
    wanted = load_encoder(str(model / "model.onnx")).embed_documents(texts)
    found = open_encoder(output).embed_documents(texts)
    assert ((found * wanted).sum(axis=1) > 0.98).all()
    again = run(
        "compile", model / "model.onnx", "-o", tmp_path / "b", "--weights", "int8", hash_seed="7"
    )
    assert again.returncode == 0, again.stderr
    for file in output.iterdir():
        assert (tmp_path / "b" / file.name).read_bytes() == file.read_bytes(), file.name
    profiled = json.loads(run("profile", output, "--seq", "16", "--json").stdout)
    assert profiled["machine"]["flops"] > 1e8
    kernels = profiled["kernels"]
    assert len(kernels) == result["kernels"] and sum(k["calls"] for k in kernels) == result["steps"]
    assert all(kernel["seconds"] > 0 for kernel in kernels)


def test_compile_and_profile_speak_to_people(model: Path, tmp_path: Path) -> None:
    made = run("compile", model, "-o", tmp_path / "plan")
    assert made.returncode == 0, made.stderr
    assert "weights in f32" in made.stdout and "cosine 1.000000 on average" in made.stdout
    found = open_encoder(tmp_path / "plan", "separate").embed_documents(["a b c"])
    wanted = load_encoder(str(model)).embed_documents(["a b c"])
    assert np.abs(found - wanted).max() < 1e-5
    profiled = run("profile", model, "--batch", "2", "--seq", "8", "--no-relaxed")
    assert profiled.returncode == 0, profiled.stderr
    assert "GFLOP/s" in profiled.stdout and "matmul K=32 N=96" in profiled.stdout
    too_long = run("profile", tmp_path / "plan", "--seq", "33")
    assert too_long.returncode == 2 and "takes at most 32 tokens" in too_long.stderr


def test_nothing_is_written_for_a_model_that_can_not_be_compiled(
    model: Path, tmp_path: Path
) -> None:
    file = model / "model.onnx"
    output = tmp_path / "plan"
    onnx.save(build(Spelling(extra=["Selu"])), file)
    refused = run("compile", file, "-o", output)
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert "operator Selu, opset 17) is not supported" in refused.stderr
    file.write_bytes(file.read_bytes()[:5000])
    cut = run("compile", file, "-o", output)
    assert cut.returncode == 2 and "model.onnx: not an ONNX model, or cut off" in cut.stderr
    missing = run("compile", tmp_path / "nothing.onnx", "-o", output)
    assert missing.returncode == 2 and "no such file or directory" in missing.stderr
    assert not output.exists()
    output.write_text("mine")
    taken = run("compile", "minilm", "-o", output)
    assert taken.returncode == 2 and "is a file; expected a folder" in taken.stderr
