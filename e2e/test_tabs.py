"""Two tabs on one site: one owns the files, both search, what one writes the other finds."""

from __future__ import annotations

from collections.abc import Callable

from client import Client
from host import Host, prelude
from sites import VectorSite
from test_updates import unit

from pywasm.bench.browsers import Browser

Tab = Callable[[Browser, Host], Client]


def test_one_writes_both_read(
    tabbed: Browser, host: Host, tab: Tab, vector_site: VectorSite
) -> None:
    first, second = tab(tabbed, host), tab(tabbed, host)
    first.open("/")
    first.wait_filled()
    second.open("/")
    assert [first.status()["leader"], second.status()["leader"]] == [True, False]
    query = vector_site.queries[10]
    truth = vector_site.nearest(query, 12)
    assert set(first.ids(query, k=5)) <= set(truth)
    assert set(second.ids(query, k=5)) <= set(truth)

    second.insert([{"id": "from-2", "vector": unit(0), "text": "platypus"}])
    first.insert([{"id": "from-1", "vector": unit(1), "text": "mongoose"}])
    second.call("delete", ["row-0"])
    for client in (first, second):
        client.page.wait_for("index.search('platypus').then(({ hits }) => hits.length === 1)", 10)
        client.page.wait_for("index.search('mongoose').then(({ hits }) => hits.length === 1)", 10)
        client.page.wait_for("index.get(['row-0']).then(([row]) => row === null)", 10)
        assert client.ids(unit(0), k=1) == ["from-2"]
        assert client.ids(unit(1), k=1) == ["from-1"]


def test_both_write_at_once(chromium: Browser, host: Host, tab: Tab) -> None:
    """Every row of both is there once, after a reload too."""
    tabs = [tab(chromium, host), tab(chromium, host)]
    for client in tabs:
        client.open("/")
    begin = """({ name, dim }) => {
      globalThis.writing = (async () => {
        for (let i = 0; i < 30; i++) {
          const vector = new Float32Array(dim).map(() => Math.random() - 0.5);
          await index.insert([{ id: `${name}-${i}`, vector, text: `written ${name}` }]);
        }
        return true;
      })();
    }"""
    for number, client in enumerate(tabs):
        client.page.evaluate(begin, {"name": f"tab{number}", "dim": 64})
    for client in tabs:
        assert client.page.evaluate("() => writing") is True
    expected = {f"tab{number}-{i}" for number in range(2) for i in range(30)}
    for client in tabs:
        client.load()
    tabs[0].open("/")
    found = tabs[0].ids("written", k=200, mode="keyword")
    assert sorted(found) == sorted(expected)


def test_leadership_moves(tabbed: Browser, host: Host, tab: Tab, vector_site: VectorSite) -> None:
    """The tab that owned the files closes; the other goes on, and owns them."""
    leader = Client(tabbed.new_page(), host)
    leader.load()
    leader.open("/")
    leader.wait_filled()
    follower = tab(tabbed, host)
    follower.open("/", fill=False)
    follower.insert([{"id": "new", "vector": unit(0), "text": "platypus"}])
    assert leader.status()["leader"] and not follower.status()["leader"]
    leader.page.close()
    follower.page.wait_for("index.status().then(({ leader }) => leader)", 10)
    host.stop()  # its answers now come from the files alone
    for query in vector_site.queries[11:16]:
        assert set(follower.ids(query, k=5)) <= set(vector_site.nearest(query, 12))
    assert follower.ids("platypus") == ["new"]
    assert follower.status()["storage"]["tier"] == "opfs"


# What is called twice at once in one tab: open and search.
BOTH = """async ({ bundle, vector }) => {
  const library = await import(bundle);
  const ids = async () => {
    const index = await library.open("/");
    return (await index.search(new Float32Array(vector), { k: 5 })).hits.map(({ id }) => id);
  };
  return await Promise.all([ids(), ids()]);
}"""
SLOW_FILES = """const { createSyncAccessHandle } = FileSystemFileHandle.prototype;
FileSystemFileHandle.prototype.createSyncAccessHandle = async function (...options) {
  await new Promise((resolve) => setTimeout(resolve, 600));
  return createSyncAccessHandle.apply(this, options);
};"""


def test_two_indexes_of_one_tab_without_a_site(
    chromium: Browser, host: Host, tab: Tab, vector_site: VectorSite
) -> None:
    """One owns the files and takes its time to open them; the other, which can't fetch what it
    does not find there, waits for it.
    """
    client = tab(chromium, host)
    client.open("/")
    client.wait_filled()
    host.faults.down = lambda path: path.endswith((".bin", "manifest.json"))
    host.faults.change[r"worker\.js$"] = prelude(SLOW_FILES)
    client.load()
    query = vector_site.queries[17]
    bundle = f"{host.url}/pywasm/pywasm.js"
    for found in client.page.evaluate(BOTH, {"bundle": bundle, "vector": query.tolist()}):
        assert set(found) <= set(vector_site.nearest(query, 12))
