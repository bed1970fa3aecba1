"""What a plan loses against the model it was made from, run by onnxruntime in single precision."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pywasm.compile.plan_types import Loss
from pywasm.compile.run import TextEncoder
from pywasm.encoder import Encoder

F32 = npt.NDArray[np.float32]

# Queries, sentences, code and a paragraph, of 3 to 90 tokens; some with rare words.
SAMPLE_TEXTS = (
    "How do I parse a date from a string?",
    "heapq",
    "capital of Mongolia",
    "The quick brown fox jumps over the lazy dog.",
    "read a CSV file row by row without loading it into memory",
    "def fibonacci(n): return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)",
    "Photosynthesis converts light energy into chemical energy stored in glucose.",
    "restore a deleted branch",
    "WARNING: connection reset by peer (errno 104) after 30000 ms, retrying in 5 s",
    "Der Zug nach Hamburg hat heute dreißig Minuten Verspätung.",
    "symptoms of vitamin B12 deficiency in adults",
    "She sold sea shells by the sea shore, and the shells she sold were surely sea shells.",
    "https://example.org/a/very/long/path?with=query&and=more#fragment",
    "The mitral valve lies between the left atrium and the left ventricle of the heart.",
    "1, 2, 3, 5, 7, 11, 13, 17, 19, 23",
    "Return a new sorted list from the items in iterable. The key parameter names a function of "
    "one argument that is called on each element before comparisons are made, and the reverse "
    "flag turns the order around; the sort is stable, so that elements that compare equal keep "
    "the order in which they were given, and several sorts may follow one another.",
)


def measure(plan: TextEncoder, native: Encoder, texts: tuple[str, ...] = SAMPLE_TEXTS) -> Loss:
    """Cosines between what both make of `texts`."""
    found, wanted = plan.embed_documents(texts), native.embed_documents(texts)
    cosines = row_cosines(found, wanted)
    return Loss(
        texts=len(texts),
        mean_cosine=round(float(cosines.mean()), 6),
        min_cosine=round(float(cosines.min()), 6),
    )


def row_cosines(a: F32, b: F32) -> npt.NDArray[np.float64]:
    """Of each row of `a` with the same of `b`."""
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(wide_a, axis=1) * np.linalg.norm(wide_b, axis=1)
    cosines: npt.NDArray[np.float64] = (wide_a * wide_b).sum(axis=1) / lengths
    return cosines


def ndcg_at_10(queries: F32, documents: F32, relevant: npt.NDArray[np.integer]) -> float:
    """Mean over queries, each with one relevant document: 1 / log2(1 + its rank) in the first ten.

    Normalised discounted cumulative gain (Järvelin and Kekäläinen, 2002). Vectors are normalised;
    relevant i[len(queries)] are row numbers of `documents`.
    """
    scores = queries @ documents.T
    own = scores[np.arange(len(queries)), relevant]
    ranks = 1 + (scores > own[:, None]).sum(axis=1)
    gains = np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0.0)
    return float(gains.mean())
