"""The oracle itself, against the definition."""

import numpy as np
import pytest

from pywasm.brute_force import exact_neighbours, recall
from pywasm.plan import Metric


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_agrees_with_the_definition_across_batches(metric: Metric) -> None:
    random = np.random.default_rng(6)
    vectors = random.normal(size=(157, 6)).astype(np.float32)
    queries = random.normal(size=(9, 6)).astype(np.float32)
    batches = iter([vectors[:50], vectors[50:51], vectors[51:]])
    found = exact_neighbours(queries, batches, 7, metric)
    for query, rows in zip(queries, found, strict=True):
        match metric:
            case "l2":
                distances = ((vectors - query) ** 2).sum(1)
            case "ip":
                distances = -(vectors @ query)
            case _:
                distances = -(vectors @ query) / np.linalg.norm(vectors, axis=1)
        assert rows.tolist() == np.argsort(distances)[:7].tolist()


def test_excluded_rows_and_too_few_rows() -> None:
    vectors = np.eye(3, dtype=np.float32)
    found = exact_neighbours(vectors, iter([vectors]), 4, "ip", exclude=np.arange(3))
    assert found[0].tolist() == [1, 2, -1, -1]


def test_recall_counts_what_there_is_to_find() -> None:
    truth = np.array([[1, 2], [3, -1]])
    assert recall([np.array([2, 9]), np.array([3])], truth) == pytest.approx(2 / 3)
    assert recall([np.array([0])], np.array([[-1]])) == 1.0
