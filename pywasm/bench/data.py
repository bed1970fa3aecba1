"""The vectors that are searched: synthetic ones from a seed, and WordNet through MiniLM."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# Where the precomputed WordNet vectors may lie: named by the environment, or beside the checkout.
WORDNET_ENV = "PYWASM_WORDNET"
WORDNET_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data" / "wordnet"
HELD_BACK = 1000


@dataclasses.dataclass(frozen=True)
class Vectors:
    """base f32[rows][dim] and queries f32[queries][dim], unit length; truth i32[queries][10]: the
    rows of the exact ten nearest by cosine, nearest first.
    """

    base: Floats
    queries: Floats
    truth: NDArray[np.int32]


def nearest(
    base: Floats, queries: Floats, k: int = 10, passing: NDArray[np.bool_] | None = None
) -> NDArray[np.int32]:
    """The k rows of greatest inner product per query, exactly, nearest first: i32[queries][k].

    passing: bool[rows]; rows that are False are left out.
    """
    found = np.empty((len(queries), k), np.int32)
    for start in range(0, len(queries), 100):
        scores = queries[start : start + 100] @ base.T
        if passing is not None:
            scores[:, ~passing] = -np.inf
        best = np.argpartition(scores, -k, axis=1)[:, -k:]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
        found[start : start + 100] = np.take_along_axis(best, order, axis=1)
    return found


def clustered(rows: int, dim: int = 384, queries: int = 1000, seed: int = 1) -> Vectors:
    """Vectors that cluster as embeddings do: 1 + rows/200 topics of uneven sizes; within a topic
    the standard deviation falls off over directions as rank^-0.3. Queries are further draws of the
    same. As hard for HNSW as real embeddings are: at 20k rows hnswlib needs ef 28 for recall 0.95
    and 64 for 0.99; for 20k of WordNet's it is 24 and 64.
    """
    random = np.random.default_rng(seed)
    topics = 1 + rows // 200
    centres = random.standard_normal((topics, dim), np.float32) / np.sqrt(dim)
    share = random.pareto(1.5, topics) + 0.2
    topic = random.choice(topics, rows + queries, p=share / share.sum())
    spectrum = np.arange(1, dim + 1, dtype=np.float32) ** np.float32(-0.3)
    spectrum /= np.linalg.norm(spectrum)
    mix, _ = np.linalg.qr(random.standard_normal((dim, dim)).astype(np.float32))
    offsets = random.standard_normal((rows + queries, dim), np.float32) * spectrum @ mix
    everything = normalised(centres[topic] + offsets)
    base, asked = everything[:rows], everything[rows:]
    return Vectors(base, asked, nearest(base, asked))


def normalised(vectors: NDArray[np.floating]) -> Floats:
    """Rows scaled to unit length, f32, contiguous."""
    vectors = vectors.astype(np.float32)
    return np.ascontiguousarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def wordnet(directory: Path | None, cache: Path) -> tuple[Vectors, list[str]]:
    """The 117 k WordNet synsets and their texts ("words: gloss").

    directory: holds base.f16.npy, queries.f16.npy, truth100.i32.npy and texts.jsonl.gz; by default
    $PYWASM_WORDNET or the checkout's neighbour, and where there is none, the glosses of Debian's
    wordnet-base are embedded once into `cache` (half an hour on two cores).
    """
    if directory is None:
        named = os.environ.get(WORDNET_ENV)
        beside = WORDNET_BESIDE if (WORDNET_BESIDE / "base.f16.npy").exists() else None
        directory = Path(named) if named else beside
    if directory is None:
        from .wordnet import embed

        directory = embed(cache / "wordnet", HELD_BACK)
    base = normalised(np.load(directory / "base.f16.npy"))
    queries = normalised(np.load(directory / "queries.f16.npy"))
    stored = directory / "truth100.i32.npy"
    truth = np.load(stored)[:, :10] if stored.exists() else nearest(base, queries)
    with gzip.open(directory / "texts.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    return Vectors(base, queries, np.ascontiguousarray(truth, np.int32)), texts
