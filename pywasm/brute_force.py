"""The oracle: exact nearest neighbours, by comparing with every vector."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from pywasm.documents import F32
from pywasm.plan import Metric


def exact_neighbours(
    queries: F32,
    batches: Iterator[F32],
    k: int,
    metric: Metric,
    exclude: npt.NDArray[np.int64] | None = None,
    on_rows: Callable[[int], None] | None = None,
) -> npt.NDArray[np.int64]:
    """i64[queries, k]: rows in the order of `batches`, nearest first; equal ones by row.

    `exclude[i]` is a row that is no neighbour of query i. Fewer than k rows: the rest is -1.
    """
    count = len(queries)
    best = np.full((count, k), -np.inf)
    found = np.full((count, k), -1, np.int64)
    queries = _normalised(queries) if metric == "cosine" else queries
    first = 0
    for vectors in batches:
        scores = _scores(queries, vectors, metric)
        if exclude is not None:
            inside = np.flatnonzero((exclude >= first) & (exclude < first + len(vectors)))
            scores[inside, exclude[inside] - first] = -np.inf
        rows = np.broadcast_to(np.arange(first, first + len(vectors)), scores.shape)
        if k < scores.shape[1]:  # only the k best of a batch can be among the k best of all
            kept = np.sort(np.argpartition(-scores, k - 1, axis=1)[:, :k], axis=1)
            scores = np.take_along_axis(scores, kept, axis=1)
            rows = np.take_along_axis(rows, kept, axis=1)
        both = np.concatenate([best, scores], axis=1)
        both_rows = np.concatenate([found, rows], axis=1)
        order = np.argsort(-both, axis=1, kind="stable")[:, :k]
        best = np.take_along_axis(both, order, axis=1)
        found = np.take_along_axis(both_rows, order, axis=1)
        first += len(vectors)
        if on_rows:
            on_rows(len(vectors))
    found[np.isneginf(best)] = -1
    return found


def recall(found: list[npt.NDArray[np.int64]], truth: npt.NDArray[np.int64]) -> float:
    """The share of the true neighbours (-1: none) that were found."""
    wanted = hits = 0
    for rows, right in zip(found, truth, strict=True):
        right = right[right >= 0]
        wanted += len(right)
        hits += int(np.isin(right, rows).sum())
    return hits / wanted if wanted else 1.0


def _scores(queries: F32, vectors: F32, metric: Metric) -> npt.NDArray[np.float64]:
    if metric == "cosine":
        vectors = _normalised(vectors)
    scores = (queries @ vectors.T).astype(np.float64)
    if metric == "l2":
        squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
        scores = 2 * scores - squares
    return scores


def _normalised(vectors: F32) -> F32:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-30), np.float32)
