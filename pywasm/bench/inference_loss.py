"""Case minilm-int8-wordnet: what eight bits cost a search of 117 k glosses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pywasm.compile.loss import ndcg_at_10
from pywasm.compile.run import open_encoder
from pywasm.encoder import load_encoder

from . import data
from .context import Bench
from .inference_models import MODEL, Models

CASE = "minilm-int8-wordnet"
_SEED = 5
_BATCH = 100  # queries whose scores are held at a time


def loss(context: Bench) -> None:
    """nDCG@10 of queries encoded in int8 (run natively) and in f32, over the index's f32 vectors.

    A query is a gloss without its words and examples; the synset that it is of is relevant.
    """
    vectors, texts = data.wordnet(None, context.cache)
    count = 100 if context.quick else 500
    rows = np.sort(np.random.default_rng(_SEED).choice(len(texts), count, replace=False))
    queries = [texts[row].partition(": ")[2].partition(";")[0].strip() for row in rows]
    folder = Models(context).compiled("int8")
    context.step(f"{CASE}: {count} queries")
    encoders: dict[str, Callable[[list[str]], NDArray[np.float32]]] = {
        "pywasm": open_encoder(folder).embed_queries,
        "onnxruntime-f32": load_encoder(MODEL).embed_queries,
    }
    for engine, embed in encoders.items():
        made = embed(queries)
        gains = [
            ndcg_at_10(made[at : at + _BATCH], vectors.base, rows[at : at + _BATCH])
            for at in range(0, count, _BATCH)
        ]
        context.samples.add(CASE, engine, "ndcg@10", "", float(np.mean(gains)))
