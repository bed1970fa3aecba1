"""Medians, high percentiles and how sure one can be of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

RESAMPLES = 1000


def interval(values: ArrayLike, mean: bool = False, seed: int = 0) -> tuple[float, float, float]:
    """(median, low, high): the median, or the mean, and its 95 % bootstrap interval (Efron 1979,
    percentile method). Samples that follow one another on a busy machine are not independent, so
    the interval is narrower than the truth: compare engines of one interleaved run only.
    """
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        raise ValueError("no samples: a median needs at least one")
    statistic = np.mean if mean else np.median
    middle = float(statistic(data))
    if data.size == 1:
        return middle, middle, middle
    # Past some thousand samples draw fewer, which keeps this quick, and narrow the interval by
    # what the spread of a median shrinks with.
    size = min(data.size, 4000)
    drawn = np.random.default_rng(seed).choice(data, size=(RESAMPLES, size), replace=True)
    low, high = np.percentile(statistic(drawn, axis=1), [2.5, 97.5])
    scale = float(np.sqrt(size / data.size))
    return middle, middle + (float(low) - middle) * scale, middle + (float(high) - middle) * scale


def p99(values: ArrayLike) -> float:
    """The 99th percentile by rank (no interpolation: a value that was measured)."""
    return float(np.percentile(np.asarray(values, dtype=np.float64), 99, method="higher"))


def recall(found: list[list[int]], truth: np.ndarray) -> list[float]:
    """recall@k of each query: the share of the k true neighbours that were found.

    found: ids per query, any order; truth: i32[queries][k].
    """
    k = truth.shape[1]
    pairs = zip(found, truth, strict=True)
    return [len(set(ids[:k]) & set(row.tolist())) / k for ids, row in pairs]
