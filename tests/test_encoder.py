"""Embeddings depend on the text alone; configuration files are read as their libraries do."""

import json
from pathlib import Path

import numpy as np
import pytest

from pywasm.encoder import Encoder, load_encoder
from pywasm.encoder_config import read_config
from pywasm.errors import UserError

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "seven"]


def texts(count: int) -> list[str]:
    random = np.random.default_rng(3)
    return [" ".join(random.choice(WORDS, random.integers(1, 60))) for _ in range(count)]


def test_bits_do_not_depend_on_the_company(encoder: Encoder) -> None:
    many = texts(60)
    together = encoder.embed_documents(many)
    alone = np.concatenate([encoder.embed_documents([text]) for text in many])
    assert (together == alone).all()
    assert (encoder.embed_documents(many[::-1])[::-1] == together).all()


def test_long_texts_are_cut_and_keep_the_closing_token(encoder: Encoder) -> None:
    long = "word " * 1000
    cut = "word " * (encoder.config.max_tokens - encoder.special_tokens)
    assert (encoder.embed_documents([long]) == encoder.embed_documents([cut])).all()


def test_an_empty_text_has_a_vector_of_length_one(encoder: Encoder) -> None:
    vector = encoder.embed_documents([""])[0]
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_progress_tells_every_text(encoder: Encoder) -> None:
    done: list[int] = []
    encoder.embed_documents(texts(30), done.append)
    assert sum(done) == 30


def model_folder(folder: Path, files: dict[str, object]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def test_sentence_transformers_files_decide(tmp_path: Path) -> None:
    folder = model_folder(
        tmp_path,
        {
            "config.json": {"model_type": "bert", "max_position_embeddings": 512},
            "modules.json": [{"type": "a.Transformer"}, {"type": "a.Pooling"}],
            "1_Pooling/config.json": {
                "word_embedding_dimension": 8,
                "pooling_mode_cls_token": True,
                "pooling_mode_mean_tokens": False,
            },
            "sentence_bert_config.json": {"max_seq_length": 128},
            "config_sentence_transformers.json": {"prompts": {"query": "q: ", "passage": "p: "}},
            "README.md": "---\nlicense: mit\n---\n# Model\n",
        },
    )
    config = read_config(folder, "someone/model")
    assert (config.pooling, config.normalize, config.max_tokens) == ("cls", False, 128)
    assert (config.query_prefix, config.document_prefix, config.licence) == ("q: ", "p: ", "mit")


@pytest.mark.parametrize(
    ("name", "query", "document", "pooling"),
    [
        ("intfloat/e5-small-v2", "query: ", "passage: ", "mean"),
        ("intfloat/multilingual-e5-base", "query: ", "passage: ", "mean"),
        (
            "BAAI/bge-small-en-v1.5",
            "Represent this sentence for searching relevant passages: ",
            "",
            "cls",
        ),
        ("thenlper/gte-small", "", "", "mean"),
    ],
)
def test_known_prefixes(tmp_path: Path, name: str, query: str, document: str, pooling: str) -> None:
    config = read_config(model_folder(tmp_path, {"config.json": {"model_type": "bert"}}), name)
    assert (config.query_prefix, config.document_prefix) == (query, document)
    assert config.pooling == pooling


def test_positions_after_padding_shorten_the_limit(tmp_path: Path) -> None:
    model = {"model_type": "xlm-roberta", "max_position_embeddings": 300, "pad_token_id": 1}
    assert read_config(model_folder(tmp_path, {"config.json": model}), "x").max_tokens == 298


def test_a_layer_that_is_not_run_is_refused(tmp_path: Path) -> None:
    folder = model_folder(
        tmp_path, {"config.json": {}, "modules.json": [{"type": "sentence_transformers.Dense"}]}
    )
    with pytest.raises(UserError, match="asks for a Dense layer"):
        read_config(folder, "x")


def test_what_is_no_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or directory"):
        load_encoder("./nowhere")
    with pytest.raises(UserError, match=r"no tokenizer\.json"):
        load_encoder(str(model_folder(tmp_path, {"config.json": {"model_type": "bert"}})))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="not a readable tokenizer"):
        load_encoder(str(tmp_path))
