"""Hosts and lines as they are: no ranges, connections cut, slow, gone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from client import Client
from host import Host
from sites import VectorSite

from pywasm.bench.browsers import Browser, PageError

Tab = Callable[[Browser, Host], Client]


def test_a_host_without_ranges(
    browser: Browser, host: Host, tab: Tab, vector_site: VectorSite
) -> None:
    """Whole shards are taken instead, each once."""
    host.faults.ranges = False
    client = tab(browser, host)
    client.open("/")
    query = vector_site.queries[7]
    assert set(client.ids(query, k=5)) <= set(vector_site.nearest(query, 12))
    assert client.ids("number42", k=1) == ["row-42"]
    client.wait_filled()
    shards = len(list((vector_site.path / "data").glob("*.bin")))
    # The first answer may have come for the range that was tried.
    assert len(host.requests(r"\.bin$")) <= shards + 2


def test_searches_before_the_download(chromium: Browser, host: Host, tab: Tab) -> None:
    """Without filling, a first search asks for parts of the index, not for all of it."""
    client = tab(chromium, host)
    client.open("/", storage="memory", fill=False)
    assert client.ids("number42", k=1) == ["row-42"]
    total = sum(file.stat().st_size for file in (host.root / "data").iterdir())
    assert client.status()["bytes"] < total / 2
    assert all(wanted for _, wanted in host.requests(r"\.bin$"))


def test_gone_in_the_middle(
    browser: Browser, host: Host, tab: Tab, vector_site: VectorSite
) -> None:
    """An error of code "network" naming the file; when the line is back the same search works."""
    client = tab(browser, host)
    client.open("/", storage="memory", fill=False)
    client.ids("number42", k=1)
    host.stop()
    with pytest.raises(PageError) as caught:
        for word in range(100, 3000, 100):
            client.search(f"number{word}", k=10)
    assert caught.value.code == "network", caught.value
    assert ".bin" in str(caught.value)
    host.start()
    assert client.ids("number2900", k=1) == ["row-2900"]
    query = vector_site.queries[8]
    assert set(client.ids(query, k=5)) <= set(vector_site.nearest(query, 12))


def test_one_answer_lost(chromium: Browser, host: Host, tab: Tab, vector_site: VectorSite) -> None:
    """A single cut connection is tried again without anybody noticing."""
    lost: list[str] = []

    def down(path: str) -> bool:
        if path.endswith(".bin") and not lost:
            lost.append(path)
            return True
        return False

    host.faults.down = down
    client = tab(chromium, host)
    client.open("/", storage="memory", fill=False)
    query = vector_site.queries[9]
    assert set(client.ids(query, k=5)) <= set(vector_site.nearest(query, 12))
    assert lost


def test_the_fill_goes_on_where_it_was(chromium: Browser, host: Host, tab: Tab) -> None:
    """Closed in the middle of filling, the next visit asks only for what is missing."""
    client = tab(chromium, host)
    client.open("/")
    assert client.wait_filled()["fill"]["state"] == "done"
    total = client.status()["storage"]["total"]
    client.call("clear")

    # Two answers come (the codes, the first chunk), no more.
    answered: list[str] = []

    def down(path: str) -> bool:
        if not path.endswith(".bin"):
            return False
        answered.append(path)
        return len(answered) > 2

    host.faults.down = down
    client.load()
    client.open("/")
    end = time.monotonic() + 20
    while len(answered) <= 2 and time.monotonic() < end:
        time.sleep(0.05)
    stored = client.status()["storage"]["pages"]
    assert 0 < stored < total
    client.call("close")
    client.load()
    host.faults.down = lambda path: False
    host.log.clear()
    client.open("/")
    client.wait_filled()
    asked = [wanted for _, wanted in host.requests(r"\.bin$") if wanted]
    pages = sum(
        (int(one.split("-")[1]) - int(one.split("=")[1].split("-")[0]) + 1) // 16384
        for one in asked
    )
    assert pages <= total - stored


def test_offline_after_the_first_visit(
    tabbed: Browser, serve: Callable[[Path], Host], docs_site: Path, tab: Tab
) -> None:
    """The service worker keeps the page, local storage the index: reload with the host gone."""
    host = serve(docs_site)
    client = tab(tabbed, host)
    client.open("/", offline=True)
    client.page.wait_for("navigator.serviceWorker.ready.then(() => true)")
    client.wait_filled()
    # The page that registered it is not yet its client; a visit is.
    client.load("/index.html")
    client.page.wait_for("navigator.serviceWorker.controller !== null")
    host.stop()
    client.load("/index.html")
    # The demo page itself searches, as typed.
    client.page.wait_for("document.querySelector('#query') !== null")
    typed = """() => {
      const box = document.querySelector("#query");
      box.value = "temporary directory";
      box.dispatchEvent(new Event("input", { bubbles: true }));
    }"""
    client.page.evaluate(typed)
    client.page.wait_for("document.querySelector('#results')?.textContent.includes('tempfile')")
