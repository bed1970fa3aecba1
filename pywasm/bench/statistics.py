"""Medians, high percentiles and how sure one can be of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

RESAMPLES = 1000


def median_interval(values: ArrayLike, seed: int = 0) -> tuple[float, float, float]:
    """(median, low, high): the median and its 95 % bootstrap interval (Efron 1979, percentile
    method). Samples that follow one another on a busy machine are not independent, so the interval
    is narrower than the truth: compare engines of one interleaved run only.
    """
    data = np.asarray(values, dtype=np.float64)
    if data.size == 0:
        raise ValueError("no samples: a median needs at least one")
    middle = float(np.median(data))
    if data.size == 1:
        return middle, middle, middle
    generator = np.random.default_rng(seed)
    # Past some thousand samples the interval is narrow: draw from what keeps this quick.
    drawn = generator.choice(data, size=(RESAMPLES, min(data.size, 4000)), replace=True)
    scale = np.sqrt(min(data.size, 4000) / data.size)
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
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
