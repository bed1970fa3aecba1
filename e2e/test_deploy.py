"""A new deployment while visitors hold the one before."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from client import Client
from host import Host
from sites import VectorSite, build_vectors

from pywasm.bench.browsers import Browser

Tab = Callable[[Browser, Host], Client]


@pytest.fixture(scope="module")
def generations(
    vector_site: VectorSite, tmp_path_factory: pytest.TempPathFactory
) -> tuple[VectorSite, VectorSite]:
    """The same folder built from other vectors, over a copy of the first: (before, after)."""
    folder = tmp_path_factory.mktemp("deploy")
    shutil.copytree(vector_site.path, folder / "site")
    after = build_vectors(folder, seed=4, word="second")
    return vector_site, after


def reopen_until_new(client: Client, held: str, **options: object) -> None:
    """A visit opens what is stored at once and learns of the new one meanwhile; the next visit
    uses it.
    """
    client.load()
    client.open("/", **options)
    client.page.wait_for(
        "index.status().then(({ generation, available }) =>"
        f" available !== null || generation !== {held!r})",
        10,
    )
    client.load()
    client.open("/", **options)
    assert client.status()["generation"] != held


def test_a_visitor_holds_the_old_one(
    browser: Browser,
    host: Host,
    tab: Tab,
    serve: Callable[[Path], Host],
    generations: tuple[VectorSite, VectorSite],
) -> None:
    """Nothing fetched yet but the manifest, then the new site is put in its place: the open page
    keeps answering from the generation it holds, pages opened afterwards come to the new one.
    """
    before, after = generations
    client = tab(browser, host)
    client.open("/", fill=False)
    held = client.status()["generation"]
    host.root = after.path
    query = before.queries[0]
    assert set(client.ids(query, k=5)) <= set(before.nearest(query, 12))
    assert client.ids("first number42", k=1) == ["row-42"]
    assert client.status()["generation"] == held

    reopen_until_new(client, held, fill=False)
    query = after.queries[0]
    assert set(client.ids(query, k=5)) <= set(after.nearest(query, 12))
    assert client.ids("first", mode="keyword") == []


def test_stored_pages_of_the_old_one(
    chromium: Browser, host: Host, tab: Tab, generations: tuple[VectorSite, VectorSite]
) -> None:
    """A visitor with the old index in storage gets the new one, whole, and keeps local changes."""
    _before, after = generations
    client = tab(chromium, host)
    client.open("/")
    client.wait_filled()
    client.insert([{"id": "mine", "vector": [1.0] + [0.0] * 63, "text": "platypus"}])
    old = client.status()["generation"]
    host.root = after.path
    reopen_until_new(client, old)
    assert client.ids("platypus") == ["mine"]
    client.wait_filled()
    host.stop()
    query = after.queries[1]
    assert set(client.ids(query, k=5)) <= set(after.nearest(query, 12))
    assert client.ids("second number42", k=1) == ["row-42"]


def test_half_deployed(
    chromium: Browser, host: Host, tab: Tab, generations: tuple[VectorSite, VectorSite]
) -> None:
    """The new manifest is there, its shards are not: an error that names the file; the old visit
    goes on.
    """
    before, after = generations
    client = tab(chromium, host)
    client.open("/")
    client.wait_filled()
    manifest = (after.path / "manifest.json").read_bytes()
    host.faults.change["manifest.json$"] = lambda body: manifest
    second = tab(chromium, host)
    try:
        second.open("/", storage="memory", fill=False)
        outcome = "answered" if second.ids([0.1] * 64, k=5) else "empty"  # type: ignore[arg-type]
    except Exception as error:
        outcome = f"{getattr(error, 'code', '')} {error}"
    assert outcome.startswith("network") and ".bin" in outcome, outcome
    query = before.queries[2]
    assert set(client.ids(query, k=5)) <= set(before.nearest(query, 12))
