"""Searching a built site in every browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from client import Client, recall
from host import Host
from sites import DIM, QUESTION, QUESTION_ANSWER, ROWS, VectorSite

from pywasm.bench.browsers import Browser, PageError

Tab = Callable[[Browser, Host], Client]
Serve = Callable[[Path], Host]


def test_words_and_meaning(browser: Browser, serve: Serve, docs_site: Path, tab: Tab) -> None:
    """Keyword search, the suggested question by its vector, both fused, and "more like this"."""
    client = tab(browser, serve(docs_site))
    client.open("/", storage="memory")

    words = client.search("temporary directory", mode="keyword", k=5)
    assert words["mode"] == "keyword"
    assert any(hit["id"].startswith("tempfile.") for hit in words["hits"])
    hit = next(hit for hit in words["hits"] if hit["highlights"])
    marked = {hit["text"][start:end].lower() for start, end in hit["highlights"]}
    assert marked & {"temporary", "directory", "directories"}
    assert hit["metadata"]["module"] == hit["id"].rsplit(".", 1)[0]
    assert hit["url"].startswith("https://docs.python.org/")

    site = client.page.evaluate("() => index.site.suggestions.map(({ text }) => text)")
    assert site == [QUESTION]
    assert QUESTION_ANSWER in [hit["id"] for hit in client.call("suggest", 0, {"k": 3})["hits"]]
    vector = client.page.evaluate("() => [...index.site.suggestions[0].vector]")
    fused = client.search({"text": QUESTION, "vector": vector}, k=5)
    assert fused["mode"] == "hybrid"
    best = fused["hits"][0]
    assert best["id"] == QUESTION_ANSWER and best["ranks"].keys() == {"keyword", "vector"}

    like = client.call("similar", QUESTION_ANSWER, {"k": 5})["hits"]
    assert QUESTION_ANSWER not in [hit["id"] for hit in like]
    assert any(hit["id"].startswith("tempfile.") for hit in like)


def test_nearest_by_vector(browser: Browser, host: Host, vector_site: VectorSite, tab: Tab) -> None:
    """Recall against brute force, scores against numpy."""
    client = tab(browser, host)
    assert client.open("/", storage="memory") == ROWS
    found = []
    for query in vector_site.queries[:20]:
        results = client.search(query, k=10)
        ids = [hit["id"] for hit in results["hits"]]
        found.append(recall(ids, vector_site.nearest(query, 10)))
        rows = [int(one.removeprefix("row-")) for one in ids]
        expected = vector_site.vectors[rows] @ query
        assert np.allclose([hit["score"] for hit in results["hits"]], expected, atol=0.02)
        assert all(hit["exact"] for hit in results["hits"])
    assert np.mean(found) >= 0.93, found


def test_filters(browser: Browser, host: Host, vector_site: VectorSite, tab: Tab) -> None:
    """Equality, sets, ranges and their combinations, down to a handful of rows that pass."""
    client = tab(browser, host)
    client.open("/", storage="memory")
    query = vector_site.queries[0]
    category, year = np.array(vector_site.category), vector_site.year
    filters: list[tuple[dict[str, Any], Any]] = [
        ({"category": "red"}, category == "red"),
        ({"category": {"in": ["red", "blue"]}}, np.isin(category, ["red", "blue"])),
        ({"year": {"gte": 1990, "lt": 1992}}, (year >= 1990) & (year < 1992)),
        ({"category": "grey", "year": {"gt": 2000}}, (category == "grey") & (year > 2000)),
        ({"not": {"category": "red"}}, category != "red"),
        ({"or": [{"year": 1900}, {"year": 1901}]}, year <= 1901),
        ({"and": [{"year": 1903}, {"category": "grey"}]}, (year == 1903) & (category == "grey")),
    ]
    for filter_, passing in filters:
        results = client.search(query, k=10, filter=filter_)
        ids = [hit["id"] for hit in results["hits"]]
        assert results["passing"] == passing.sum(), filter_
        assert all(passing[int(one.removeprefix("row-"))] for one in ids), filter_
        assert recall(ids, vector_site.nearest(query, 10, passing)) >= 0.9, filter_
    assert client.search(query, filter={"category": "purple"})["hits"] == []
    words = client.search("shared8", mode="keyword", k=200, filter={"category": "blue"})
    assert words["hits"] and {hit["metadata"]["category"] for hit in words["hits"]} == {"blue"}


@pytest.mark.parametrize(
    ("query", "options", "message"),
    [
        ("colour", {"k": 0}, "k: a whole number from 1"),
        ("colour", {"k": -3}, "not -3"),
        ("colour", {"k": 1.5}, "not 1.5"),
        ("colour", {"filter": {"colour": "red"}}, 'no column "colour"'),
        ("colour", {"filter": {"category": {"gte": 3}}}, "range needs a number column"),
        ("colour", {"mode": "vector"}, "needs a query vector"),
        ([0.0] * (DIM - 1), {}, str(DIM)),
        ([None] * DIM, {}, ""),
        ([0.0] * DIM, {"filter": {"year": {"gte": "old"}}}, "year"),
    ],
    ids=["k=0", "k<0", "k=1.5", "column", "range", "no-vector", "dimension", "nan", "bound"],
)
def test_what_cannot_be_asked(
    chromium: Browser, host: Host, tab: Tab, query: Any, options: dict[str, Any], message: str
) -> None:
    """An error of code "argument" that says what is wrong; the index works on."""
    client = tab(chromium, host)
    client.open("/", storage="memory")
    if query == [None] * DIM:  # NaN does not travel by JSON
        source = f"() => index.search(new Float32Array({DIM}).fill(NaN))"
        with pytest.raises(PageError) as caught:
            client.page.evaluate(source)
    else:
        with pytest.raises(PageError) as caught:
            client.search(query, **options)
    assert caught.value.code == "argument", caught.value
    assert message in str(caught.value)
    assert client.ids("number17", k=1) == ["row-17"]


def test_unknown_column_names_the_known(chromium: Browser, host: Host, tab: Tab) -> None:
    client = tab(chromium, host)
    client.open("/", storage="memory")
    with pytest.raises(PageError) as caught:
        client.search("colour", filter={"colour": "red"})
    assert "category" in str(caught.value) and "year" in str(caught.value)


def test_more_than_there_is(chromium: Browser, host: Host, tab: Tab) -> None:
    """k > n gives all n, each once."""
    client = tab(chromium, host)
    client.open("few", create={"dim": 4, "columns": {}}, storage="memory")
    rows = [{"id": f"r{i}", "vector": np.eye(4)[i], "text": f"word{i}"} for i in range(4)]
    client.insert(rows)
    ids = client.ids(np.array([1, 0.5, 0.2, 0.1]), k=50)
    assert ids == ["r0", "r1", "r2", "r3"]


def test_abort(chromium: Browser, host: Host, tab: Tab) -> None:
    """An aborted search and an aborted open end as such; the next search is not disturbed."""
    client = tab(chromium, host)
    client.open("/", storage="memory")
    source = """async () => {
      const stop = new AbortController();
      const search = index.search(new Float32Array(%d).fill(0.1), { signal: stop.signal });
      stop.abort();
      return await search.then(() => "answered", (error) => `${error.name} ${error.code}`);
    }"""
    assert client.page.evaluate(source % DIM) == "AbortError aborted"
    opening = """async () => library.open("/", { signal: AbortSignal.abort() }).then(
      () => "opened", (error) => error.code)"""
    assert client.page.evaluate(opening) == "aborted"
    assert client.ids("number17", k=1) == ["row-17"]
