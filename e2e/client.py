"""A page that uses the library, from Python: one open index a tab."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from host import Host
from numpy.typing import NDArray

from pywasm.bench.browsers import Page

OPEN = """async ({ bundle, where, options, create }) => {
  const library = (globalThis.library = await import(bundle));
  globalThis.index = create
    ? await library.Index.create(where, { ...create, ...options })
    : await library.open(where, options);
  return globalThis.index.site.rows;
}"""

SEARCH = """async ({ query, options }) => {
  const wanted = Array.isArray(query) ? new Float32Array(query) : query?.vector
    ? { ...query, vector: new Float32Array(query.vector) } : query;
  return await index.search(wanted, options);
}"""

Vector = NDArray[np.float32]


class Client:
    """A tab on `host` (its blank page unless another is given)."""

    def __init__(self, page: Page, host: Host) -> None:
        self.page = page
        self.host = host

    def load(self, path: str = "/blank.html") -> None:
        """(Re)load a page; whatever was open in it is gone."""
        self.page.goto(self.host.url + path)

    def open(self, where: str = "/", create: dict[str, Any] | None = None, **options: Any) -> int:
        """Open the site, or make an index; how many rows the builder counted."""
        argument = {
            "bundle": f"{self.host.url}/pywasm/pywasm.js",
            "where": where,
            "options": options,
            "create": create,
        }
        rows: int = self.page.evaluate(OPEN, argument)
        return rows

    def search(self, query: str | Vector | dict[str, Any], **options: Any) -> dict[str, Any]:
        """Results of one search."""
        sent = query.tolist() if isinstance(query, np.ndarray) else query
        found: dict[str, Any] = self.page.evaluate(SEARCH, {"query": sent, "options": options})
        return found

    def ids(self, query: str | Vector | dict[str, Any], **options: Any) -> list[str]:
        """Ids of the hits, best first."""
        return [hit["id"] for hit in self.search(query, **options)["hits"]]

    def call(self, method: str, *arguments: Any) -> Any:
        """Any method of Index with plain arguments."""
        source = "async ({ method, args }) => index[method](...args)"
        return self.page.evaluate(source, {"method": method, "args": arguments})

    def insert(self, rows: Sequence[dict[str, Any]], replace: bool = False) -> None:
        """index.insert; vectors as arrays or lists."""
        sent = [{**row, "vector": np.asarray(row["vector"]).tolist()} for row in rows]
        self.call("insert", sent, {"replace": replace})

    def status(self) -> dict[str, Any]:
        """index.status()."""
        found: dict[str, Any] = self.call("status")
        return found

    def wait_filled(self, timeout: float = 30.0) -> dict[str, Any]:
        """Wait until the whole index is in local storage; the status then."""
        end = time.monotonic() + timeout
        while (status := self.status())["fill"]["state"] != "done":
            assert time.monotonic() < end, f"not filled: {status['fill']}"
            time.sleep(0.05)
        return status


def recall(found: Sequence[str], truth: Sequence[str]) -> float:
    """The share of the true ids that were found."""
    return len(set(found) & set(truth)) / len(truth)
