"""WordNet's glosses through the encoder, where the precomputed vectors are not at hand."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pywasm.encoder import load_encoder

SOURCE = Path("/usr/share/wordnet")  # Debian's wordnet-base
PARTS = ("noun", "verb", "adj", "adv")
BATCH = 4096


class WordnetMissing(RuntimeError):
    """Neither vectors nor glosses are on this machine."""


def synsets(directory: Path = SOURCE) -> Iterator[tuple[str, str]]:
    """(id, "words: gloss") of every synset, in the order of the database's files.

    The format is wndb(5WN): offset, lexicographer file, type, the number of words in hexadecimal,
    (word, sense) pairs, pointers, and after "|" the gloss.
    """
    for part in PARTS:
        path = directory / f"data.{part}"
        if not path.exists():
            raise WordnetMissing(
                f"{path} is missing: install the Debian package wordnet-base, or name a folder "
                "with its vectors by --wordnet or $PYWASM_WORDNET"
            )
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("  "):
                    continue  # the licence
                data, _, gloss = line.partition(" | ")
                fields = data.split()
                count = int(fields[3], 16)
                words = [word.replace("_", " ").split("(")[0] for word in fields[4::2][:count]]
                yield f"{part[0]}{fields[0]}", f"{', '.join(words)}: {gloss.strip()}"


def embed(target: Path, held_back: int) -> Path:
    """Embed all synsets once; writes base.f16.npy, queries.f16.npy and texts.jsonl.gz to `target`.

    `held_back` of them, drawn with a fixed seed, become the queries.
    """
    if (target / "texts.jsonl.gz").exists():
        return target
    everything = list(synsets())
    asked = np.zeros(len(everything), bool)
    asked[np.random.default_rng(0).choice(len(everything), held_back, replace=False)] = True
    encoder = load_encoder()
    texts = [text for _, text in everything]
    parts = [
        encoder.embed_documents(texts[start : start + BATCH])
        for start in range(0, len(texts), BATCH)
    ]
    vectors = np.concatenate(parts).astype(np.float16)
    target.mkdir(parents=True, exist_ok=True)
    np.save(target / "base.f16.npy", vectors[~asked])
    np.save(target / "queries.f16.npy", vectors[asked])
    # Written last: its presence says that the others are whole.
    partial = target / "texts.partial"
    with gzip.open(partial, "wt", encoding="utf-8") as file:
        for (identity, text), held in zip(everything, asked, strict=True):
            if not held:
                file.write(json.dumps({"id": identity, "text": text}) + "\n")
    partial.rename(target / "texts.jsonl.gz")
    return target
