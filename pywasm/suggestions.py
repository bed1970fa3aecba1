"""Questions that a page offers to its visitors, with their vectors made at build time."""

import base64
from pathlib import Path

import numpy as np

from pywasm.corpus import Corpus
from pywasm.documents import F32
from pywasm.encoder import Encoder
from pywasm.errors import UserError
from pywasm.manifest import Suggestion

_COUNT = 6
_SAMPLE = 512
_LONGEST = 60  # characters of a title that still reads as something to search for


def given_suggestions(values: list[str]) -> list[str]:
    """Each value is a text, or a file with one a line."""
    texts: list[str] = []
    for value in values:
        file = Path(value)
        if len(value) < 200 and file.is_file():
            try:
                lines = file.read_text("utf-8").splitlines()
            except UnicodeDecodeError as error:
                raise UserError(f"{file}: not UTF-8 (byte {error.start:,})") from error
            texts += [line.strip() for line in lines if line.strip()]
        else:
            texts.append(value)
    return texts


def titles_to_suggest(corpus: Corpus) -> list[str]:
    """Titles of a few rows that are far from one another (farthest-point selection)."""
    if corpus.vectors is None or not len(corpus.keep):
        return []
    step = max(1, len(corpus.keep) // _SAMPLE)
    rows = corpus.keep[::step][:_SAMPLE]
    titles = [corpus.spool[int(row)].title.strip() for row in rows]
    good = [i for i, title in enumerate(titles) if 3 < len(title) <= _LONGEST]
    vectors = np.asarray(corpus.vectors[rows], np.float32)
    chosen: list[int] = []
    nearest = np.full(len(rows), -2.0, np.float32)  # cosine to the nearest chosen one
    while len(chosen) < _COUNT:
        left = [i for i in good if titles[i] not in {titles[j] for j in chosen}]
        if not left:
            break
        row = min(left, key=lambda i: (float(nearest[i]), i))
        chosen.append(row)
        nearest = np.maximum(nearest, vectors @ vectors[row])
    return [titles[row] for row in chosen]


def with_vectors(texts: list[str], encoder: Encoder) -> list[Suggestion]:
    """For the manifest."""
    vectors: F32 = encoder.embed_queries(texts)
    return [
        Suggestion(text=text, vector=base64.b64encode(vector.astype("<f2").tobytes()).decode())
        for text, vector in zip(texts, vectors, strict=True)
    ]
