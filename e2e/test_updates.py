"""Rows inserted, changed and deleted in the browser, and what is left of them after a reload."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from client import Client
from host import Host
from sites import DIM, ROWS, VectorSite, pywasm

from pywasm.bench.browsers import Browser, PageError

Tab = Callable[[Browser, Host], Client]


def unit(axis: int) -> np.ndarray:
    """A basis vector: far from all rows of the site."""
    return np.eye(DIM, dtype=np.float32)[axis]


def test_changes_survive_a_reload(
    browser: Browser, host: Host, vector_site: VectorSite, tab: Tab
) -> None:
    client = tab(browser, host)
    client.open("/")
    near = vector_site.nearest(vector_site.queries[1], 1)[0]
    new = {
        "id": "new-1",
        "vector": unit(0),
        "text": "an extraordinary platypus",
        "title": "Platypus",
        "url": "https://example.org/platypus",
        "metadata": {"category": "red", "year": 2024},
    }
    client.insert([new, {**new, "id": "new-2", "vector": unit(1), "text": "second"}])
    client.insert([{**new, "id": "new-2", "vector": unit(2), "text": "mongoose"}], replace=True)
    assert client.call("delete", [near, "nobody"]) == 1

    for moment in ("at once", "after a reload"):
        if moment == "after a reload":
            client.load()
            client.open("/")
        assert client.ids(unit(0), k=1) == ["new-1"], moment
        assert client.ids(unit(2), k=1) == ["new-2"], moment
        assert client.ids("platypus") == ["new-1"], moment
        assert client.ids("mongoose") == ["new-2"], moment
        assert "new-2" not in client.ids("second", k=100), moment
        assert near not in client.ids(vector_site.queries[1], k=20), moment
        assert client.call("get", [near, "new-1"])[0] is None, moment
        hit = client.search("platypus", filter={"year": {"gte": 2020}})["hits"][0]
        assert hit["metadata"] == {"category": "red", "year": 2024}, moment
        assert (hit["title"], hit["url"]) == ("Platypus", new["url"]), moment
        status = client.status()
        assert status["rows"] - status["deleted"] == ROWS + 1 or status["rows"] == ROWS + 1, moment


def test_an_id_twice(chromium: Browser, host: Host, tab: Tab) -> None:
    """All or none: the row that was fine is not in either."""
    client = tab(chromium, host)
    client.open("/")
    rows = [{"id": "fresh", "vector": unit(0)}, {"id": "row-5", "vector": unit(1)}]
    with pytest.raises(PageError) as caught:
        client.insert(rows)
    assert caught.value.code == "duplicate" and "row-5" in str(caught.value), str(caught.value)
    assert client.call("get", ["fresh"]) == [None]
    with pytest.raises(PageError) as caught:
        client.insert([rows[0], rows[0]])
    assert caught.value.code == "duplicate" and "fresh" in str(caught.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "x", "vector": [1.0] * (DIM + 1)}, f"{DIM} dimensions expected"),
        ({"id": "x", "vector": [0.0] * DIM}, "zero"),
        ({"id": "", "vector": [1.0] * DIM}, "non-empty"),
        ({"id": "x", "vector": [1.0] * DIM, "metadata": {"year": "old"}}, "year"),
    ],
    ids=["dimension", "zero", "no-id", "type"],
)
def test_rows_that_cannot_be(
    chromium: Browser, host: Host, tab: Tab, row: dict[str, object], message: str
) -> None:
    client = tab(chromium, host)
    client.open("/")
    with pytest.raises(PageError) as caught:
        client.insert([{"id": "good", "vector": unit(0)}, row])
    assert caught.value.code == "argument", caught.value
    assert message in str(caught.value)
    assert client.call("get", ["good"]) == [None]


def test_an_index_of_ones_own(browser: Browser, host: Host, tab: Tab) -> None:
    """Index.create, filled, reopened by name after a reload, cleared."""
    client = tab(browser, host)
    create = {"dim": 8, "columns": {"colour": "category"}}
    client.open("mine", create=create)
    random = np.random.default_rng(0).standard_normal((500, 8)).astype(np.float32)
    rows = [
        {
            "id": f"n{i}",
            "vector": vector,
            "text": f"note number{i}",
            "metadata": {"colour": "red" if i % 5 else "blue"},
        }
        for i, vector in enumerate(random)
    ]
    client.insert(rows)
    unit_rows = random / np.linalg.norm(random, axis=1, keepdims=True)
    truth = [f"n{i}" for i in np.argsort(-(unit_rows @ unit_rows[7]))[:5]]
    for _ in range(2):
        found = client.ids(random[7], k=5)
        assert found[0] == "n7" and len(set(found) & set(truth)) >= 4
        blue = client.search(random[7], k=100, filter={"colour": "blue"})
        assert blue["passing"] == 100
        client.load()
        client.open("name:mine")
    client.call("clear")
    client.load()
    with pytest.raises(PageError) as caught:
        client.open("name:mine")
    assert caught.value.code == "argument" and "mine" in str(caught.value)


def test_compaction_keeps_every_row(
    chromium: Browser, host: Host, vector_site: VectorSite, tab: Tab
) -> None:
    """Same answers before compaction, after it, and after a reload."""
    client = tab(chromium, host)
    client.open("/")
    client.wait_filled()
    client.insert([{"id": "new", "vector": unit(0), "text": "platypus"}])
    client.call("delete", ["row-0", "row-1"])
    client.call("compact")
    for _ in range(2):
        status = client.status()
        assert (status["rows"], status["deleted"], status["delta"]) == (ROWS - 1, 0, 0)
        assert client.ids(unit(0), k=1) == ["new"]
        assert client.ids("platypus") == ["new"]
        query = vector_site.queries[2]
        passing = np.arange(ROWS) > 1
        truth = vector_site.nearest(query, 10, passing)
        assert len(set(client.ids(query, k=10)) & set(truth)) >= 9
        assert client.ids("number1", mode="keyword") == []
        client.load()
        client.open("/")


def test_export_is_a_site(
    chromium: Browser, host: Host, tab: Tab, tmp_path: Path, serve: Callable[[Path], Host]
) -> None:
    """What export() gives verifies, and opens elsewhere with the changes in it."""
    client = tab(chromium, host)
    client.open("/")
    client.insert([{"id": "new", "vector": unit(0), "text": "platypus"}])
    client.call("delete", ["row-0"])
    source = """async () => {
      const files = [];
      for (const { path, blob } of await index.export()) {
        const url = await new Promise((done) => {
          const reader = new FileReader();
          reader.onload = () => done(reader.result);
          reader.readAsDataURL(blob);
        });
        files.push([path, url.split(",")[1]]);
      }
      return files;
    }"""
    import base64

    for path, body in client.page.evaluate(source):
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(base64.b64decode(body))
    pywasm("verify", str(tmp_path), "--json")
    other = serve(tmp_path)
    (tmp_path / "pywasm").mkdir(exist_ok=True)
    for file in (host.root / "pywasm").iterdir():
        if file.is_file():
            (tmp_path / "pywasm" / file.name).write_bytes(file.read_bytes())
    elsewhere = tab(chromium, other)
    assert elsewhere.open("/") == ROWS
    assert elsewhere.ids("platypus") == ["new"]
    assert elsewhere.call("get", ["row-0"]) == [None]
