"""Where pages are kept: OPFS, IndexedDB, memory; what happens when one is denied or full."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from client import Client
from host import Host, prelude
from sites import VectorSite
from test_updates import unit

from pywasm.bench.browsers import Browser, PageError
from pywasm.bench.browsers.chromium import ChromiumPage

Tab = Callable[[Browser, Host], Client]

# In the worker and, for pages, by an init script: what a private window or a policy does.
NO_OPFS = """navigator.storage.getDirectory = () =>
  Promise.reject(new DOMException("denied by the test", "SecurityError"));"""
NO_IDB = """IDBFactory.prototype.open = () => {
  throw new DOMException("denied by the test", "SecurityError"); };"""
WORKER = r"pywasm/worker\.js$"


def test_fills_local_storage(
    browser: Browser, host: Host, vector_site: VectorSite, tab: Tab
) -> None:
    """OPFS where there is one; once filled, a new page asks the network for no page."""
    client = tab(browser, host)
    client.open("/")
    status = client.wait_filled()
    expected = "indexeddb" if browser.name == "webkit" else "opfs"
    assert status["storage"]["tier"] == expected
    assert status["storage"]["pages"] == status["storage"]["total"] > 0
    client.load()
    host.log.clear()
    client.open("/")
    query = vector_site.queries[3]
    assert set(client.ids(query, k=5)) <= set(vector_site.nearest(query, 12))
    assert client.ids("number42", k=1) == ["row-42"]
    assert host.requests(r"\.bin$") == []


@pytest.mark.parametrize(
    ("denied", "tier"),
    [(NO_OPFS, "indexeddb"), (NO_OPFS + NO_IDB, "memory"), (NO_IDB, "opfs")],
    ids=["no-opfs", "neither", "no-indexeddb"],
)
def test_denied(tabbed: Browser, host: Host, tab: Tab, denied: str, tier: str) -> None:
    """The next tier is used; search works with any."""
    host.faults.change[WORKER] = prelude(denied)
    client = tab(tabbed, host)
    client.open("/")
    assert client.ids("number42", k=1) == ["row-42"]
    status = client.status()
    assert status["storage"]["tier"] == tier
    if tier != "memory":
        client.wait_filled()


def test_changes_without_a_place(chromium: Browser, host: Host, tab: Tab) -> None:
    """Where nothing can be kept, changes hold for the page, and status() says that is all."""
    host.faults.change[WORKER] = prelude(NO_OPFS + NO_IDB)
    client = tab(chromium, host)
    client.open("/")
    client.insert([{"id": "new", "vector": unit(0), "text": "platypus"}])
    assert client.ids("platypus") == ["new"]
    storage = client.status()["storage"]
    assert (storage["tier"], storage["persisted"]) == ("memory", False)
    client.load()
    client.open("/")
    assert client.call("get", ["new"]) == [None]


@pytest.mark.parametrize("tier", ["opfs", "indexeddb"])
def test_quota(chromium: Browser, host: Host, tab: Tab, vector_site: VectorSite, tier: str) -> None:
    """A full disk stops the fill, not the search; an insert that does not fit changes nothing."""
    client = tab(chromium, host)
    assert isinstance(client.page, ChromiumPage)
    cdp = client.page.cdp()
    cdp.send("Storage.overrideQuotaForOrigin", {"origin": host.url, "quotaSize": 400_000})
    client.open("/", storage=[tier])
    query = vector_site.queries[4]
    assert set(client.ids(query, k=5)) <= set(vector_site.nearest(query, 12))
    client.page.wait_for(
        "index.status().then(({ fill }) => ['quota', 'failed', 'paused'].includes(fill.state))"
    )
    assert client.status()["fill"]["state"] == "quota"
    assert client.ids("number42", k=1) == ["row-42"]
    random = np.random.default_rng(1).standard_normal((1500, 64))
    rows = [
        {"id": f"big-{i}", "vector": vector, "text": "long " * 400}
        for i, vector in enumerate(random)
    ]
    with pytest.raises(PageError) as caught:
        client.insert(rows)
    assert caught.value.code == "quota", caught.value
    assert client.call("get", ["big-0", "big-1499"]) == [None, None]
    # Room again: the same insert is fine.
    cdp.send("Storage.overrideQuotaForOrigin", {"origin": host.url})
    client.insert(rows)
    assert client.call("get", ["big-1499"])[0]["id"] == "big-1499"


def test_memory_only(chromium: Browser, host: Host, tab: Tab) -> None:
    """storage: "memory" leaves nothing behind."""
    client = tab(chromium, host)
    client.open("/", storage="memory")
    client.ids("number42", k=1)
    stored = """async () => {
      const files = [];
      for await (const name of (await navigator.storage.getDirectory()).keys()) files.push(name);
      return { files, databases: (await indexedDB.databases()).map(({ name }) => name) };
    }"""
    assert client.page.evaluate(stored) == {"files": [], "databases": []}


def test_a_tenth_in_memory(tabbed: Browser, host: Host, tab: Tab, vector_site: VectorSite) -> None:
    """With a small budget answers stay right: pages come and go."""
    client = tab(tabbed, host)
    client.open("/")
    client.wait_filled()
    client.load()
    budget = client.open("/", memory="auto") and client.status()["memory"]["resident"] + 200_000
    client.load()
    client.open("/", memory=budget, fill=False)
    for query in vector_site.queries[5:25]:
        assert set(client.ids(query, k=5)) <= set(vector_site.nearest(query, 12))
    status = client.status()
    assert status["memory"]["resident"] + status["memory"]["cache"] <= budget
    assert sum(status["fetches"].values()) > 0
