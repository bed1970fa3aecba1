"""Things that die: the browser in the middle of an insert or of filling, and the worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from client import Client
from host import Host, prelude
from sites import VectorSite
from test_updates import unit

from pywasm.bench.browsers import Browser, launch

Tab = Callable[[Browser, Host], Client]

INSERTING = """({ dim }) => {
  globalThis.done = 0;
  globalThis.inserting = (async () => {
    for (let batch = 0; batch < 400; batch++) {
      const rows = [];
      for (let i = 0; i < 50; i++) {
        const vector = new Float32Array(dim).map((_, axis) => Math.sin(batch * 50 + i + axis * 7));
        rows.push({ id: `b${batch}-${i}`, vector, text: `batch${batch} crashed` });
      }
      await index.insert(rows);
      globalThis.done = batch + 1;
    }
  })();
}"""


@pytest.mark.parametrize("name", ["chromium", "firefox"])
def test_killed_while_inserting(
    host: Host, vector_site: VectorSite, tmp_path: Path, name: str
) -> None:
    """SIGKILL to the whole browser. Afterwards every batch is there whole or not at all, and of
    those that were confirmed none is missing.
    """
    with launch(name, tmp_path / "profile") as browser:
        client = Client(browser.new_page(), host)
        client.load()
        client.open("/")
        client.wait_filled()
        client.page.evaluate(INSERTING, {"dim": 64})
        client.page.wait_for("done >= 5", 20)
        confirmed = client.page.evaluate("() => done")
        browser.kill()
    with launch(name, tmp_path / "profile") as browser:
        client = Client(browser.new_page(), host)
        client.load()
        client.open("/")
        counted = """async () => {
          const counts = {};
          for await (const { id } of index.rows())
            if (id.startsWith("b")) { const [b] = id.split("-"); counts[b] = (counts[b] ?? 0) + 1; }
          return counts;
        }"""
        counts = client.page.evaluate(counted)
        assert set(counts.values()) == {50}, counts
        assert {f"b{batch}" for batch in range(confirmed)} <= counts.keys()
        assert client.ids("batch0", k=100).__len__() == 50
        query = vector_site.queries[12]
        assert set(client.ids(query, k=5, filter={"year": {"gt": 0}})) <= set(
            vector_site.nearest(query, 12)
        )
        client.insert([{"id": "after", "vector": unit(0), "text": "afterwards"}])
        assert client.ids("afterwards") == ["after"]


def test_killed_while_filling(host: Host, vector_site: VectorSite, tmp_path: Path) -> None:
    """What was half written is not believed; the next visit finishes it."""
    host.faults.delay = 0.1
    with launch("chromium", tmp_path / "profile") as browser:
        client = Client(browser.new_page(), host)
        client.load()
        client.open("/")
        end = time.monotonic() + 20
        while client.status()["storage"]["pages"] == 0 and time.monotonic() < end:
            time.sleep(0.02)
        browser.kill()
    host.faults.delay = 0.0
    with launch("chromium", tmp_path / "profile") as browser:
        client = Client(browser.new_page(), host)
        client.load()
        client.open("/")
        client.wait_filled()
        host.stop()
        for query in vector_site.queries[13:18]:
            assert set(client.ids(query, k=5)) <= set(vector_site.nearest(query, 12))


# A way to end the worker from outside: what the browser does to one that runs out of memory.
MORTAL = """new BroadcastChannel("test-kill").onmessage = () => { self.close(); };"""


def test_the_worker_dies(tabbed: Browser, host: Host, tab: Tab) -> None:
    """A search that was waiting ends with code "worker"; the next one starts a new worker. What
    was inserted is still there.
    """
    host.faults.change[r"pywasm/worker\.js$"] = prelude(MORTAL)
    client = tab(tabbed, host)
    client.open("/")
    client.insert([{"id": "new", "vector": unit(0), "text": "platypus"}])
    kill = """async () => {
      new BroadcastChannel("test-kill").postMessage("now");
      await new Promise((resolve) => setTimeout(resolve, 100));
      const outcome = index.search("number42", { k: 1 });
      return outcome.then(({ hits }) => hits[0].id, ({ code }) => code);
    }"""
    assert client.page.evaluate(kill, timeout=20) in ("worker", "row-42")
    assert client.ids("number42", k=1) == ["row-42"]
    assert client.ids("platypus") == ["new"]


def test_closing_while_searching(chromium: Browser, host: Host, tab: Tab) -> None:
    """close() in the middle: the search ends with an error, and the page can open again."""
    host.faults.delay = 0.2
    client = tab(chromium, host)
    client.open("/", storage="memory", fill=False)
    source = """async () => {
      const search = index.search("number4321").then(() => "answered", ({ code }) => code);
      await index.close();
      return Promise.race([search, new Promise((done) => setTimeout(done, 5000, "hangs"))]);
    }"""
    assert client.page.evaluate(source) in ("closed", "aborted", "answered", "worker")
    client.open("/", storage="memory", fill=False)
    assert client.ids("number42", k=1) == ["row-42"]


def test_no_thread_left(chromium: Browser, host: Host, tab: Tab) -> None:
    """The last close() ends the worker: opened and closed again and again, none is left."""
    client = tab(chromium, host)
    before = threading.active_count()
    for _ in range(5):
        client.open("/", storage="memory", fill=False)
        client.call("close")
    workers = client.page.tab.workers  # type: ignore[attr-defined]
    end = time.monotonic() + 5
    while workers and time.monotonic() < end:
        client.page.evaluate("() => new Promise((done) => setTimeout(done, 50))")
        workers = client.page.tab.workers  # type: ignore[attr-defined]
    assert workers == []
    assert threading.active_count() <= before + 8
