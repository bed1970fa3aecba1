"""The stage that gives every row of a corpus its vector, from the cache where it is known."""

from pathlib import Path

import numpy as np

from pywasm.cache_dir import cache_dir
from pywasm.corpus import Corpus
from pywasm.embed_cache import EmbedCache
from pywasm.encoder import Encoder
from pywasm.progress import Reporter, Stage

_WINDOW = 4096  # rows whose texts are held at a time
_SAVED = 256  # rows after which a build that is stopped has lost nothing


def embed_corpus(
    corpus: Corpus, encoder: Encoder, work: Path, reporter: Reporter
) -> tuple[int, int]:
    """Sets `corpus.vectors`; (rows embedded, rows reused)."""
    shape = (len(corpus.spool), encoder.dim)
    corpus.vectors = np.memmap(work / "vectors", np.float32, "w+", shape=shape)
    embedded = 0
    folder = cache_dir() / "embeddings" / encoder.key
    with (
        EmbedCache(folder, encoder.dim) as cache,
        reporter.stage("embedding passages", len(corpus.keep)) as stage,
    ):
        for first in range(0, len(corpus.keep), _WINDOW):
            embedded += _embed_window(corpus, first, encoder, cache, stage)
    return embedded, len(corpus.keep) - embedded


def _embed_window(
    corpus: Corpus, first: int, encoder: Encoder, cache: EmbedCache, stage: Stage
) -> int:
    rows = corpus.keep[first : first + _WINDOW]
    texts = [corpus.spool[int(row)].embedded_text() for row in rows]
    keys = [encoder.config.document_prefix + text for text in texts]
    vectors, known = cache.find(keys)
    stage.advance(int(known.sum()))
    assert corpus.vectors is not None
    missing = sorted(np.flatnonzero(~known).tolist(), key=lambda row: len(texts[row]))
    for start in range(0, len(missing), _SAVED):  # alike in length, they share batches
        part = missing[start : start + _SAVED]
        made = encoder.embed_documents([texts[row] for row in part], stage.advance)
        vectors[part] = made
        cache.add([keys[row] for row in part], made)
        cache.flush()
    corpus.vectors[rows] = vectors
    return len(missing)
