"""Bytes that are not what was built: every one is noticed, named, and never searched."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from client import Client
from host import Host, flip
from sites import VectorSite

from pywasm.bench.browsers import Browser, PageError

Tab = Callable[[Browser, Host], Client]
SHARD = r"\.bin$"


def damaged(client: Client, code: str) -> str:
    """Opens and searches; the message of the error that must come."""
    with pytest.raises(PageError) as caught:
        client.open("/", storage="memory", fill=False)
        for query in ("number42", "number4000"):
            client.search(query, k=10)
        client.search([0.1] * 64, k=50)
    assert caught.value.code == code, caught.value
    return str(caught.value)


@pytest.mark.parametrize("at", [0.001, 0.2, 0.5, 0.8, 0.999])
def test_a_byte_of_a_shard(
    chromium: Browser, host: Host, tab: Tab, vector_site: VectorSite, at: float
) -> None:
    """Every page that search reads is checked. Damage lies in each page's worth of bytes around a
    place, so that reading anything there meets it; `verify` finds it without a browser.
    """
    size = next((vector_site.path / "data").glob("*.bin")).stat().st_size
    start = int(size * at)

    def change(body: bytes) -> bytes:
        changed = bytearray(body)
        for place in range(start % 16384, len(changed), 16384):
            changed[place] ^= 0x10
        return bytes(changed)

    host.faults.change[SHARD] = change
    message = damaged(tab(chromium, host), "corrupt")
    assert re.search(r"data/\S+\.bin", message), message
    assert "checksum" in message


def test_a_damaged_page_is_fetched_again(
    chromium: Browser, host: Host, tab: Tab, vector_site: VectorSite
) -> None:
    """Damage on the way, once: the second fetch brings the right bytes."""
    seen: list[int] = []

    def change(body: bytes) -> bytes:
        seen.append(1)
        return flip(100)(body) if len(seen) == 1 else body

    host.faults.change[SHARD] = change
    client = tab(chromium, host)
    client.open("/", storage="memory", fill=False)
    query = vector_site.queries[6]
    assert set(client.ids(query, k=5)) <= set(vector_site.nearest(query, 12))


def test_damage_in_local_storage(
    chromium: Browser, host: Host, tab: Tab, vector_site: VectorSite
) -> None:
    """A page spoiled on this device is taken from the site instead, and answers stay right."""
    client = tab(chromium, host)
    client.open("/")
    client.wait_filled()
    client.load()
    spoil = """async () => {
      const walk = async (directory) => {
        let count = 0;
        for await (const handle of directory.values()) {
          if (handle.kind === "directory") { count += await walk(handle); continue; }
          const file = await handle.getFile();
          if (file.size < 100000) continue;
          const writable = await handle.createWritable({ keepExistingData: true });
          for (let at = 5000; at < file.size; at += 16384)
            await writable.write({ type: "write", position: at, data: new Uint8Array([1, 2, 3]) });
          await writable.close();
          count++;
        }
        return count;
      };
      return walk(await navigator.storage.getDirectory());
    }"""
    assert client.page.evaluate(spoil) >= 1
    client.open("/")
    query = vector_site.queries[6]
    assert set(client.ids(query, k=5)) <= set(vector_site.nearest(query, 12))
    assert client.ids("number42", k=1) == ["row-42"]
    assert client.status()["corrupt"] > 0


def test_a_shard_cut_short(chromium: Browser, host: Host, tab: Tab) -> None:
    host.faults.change[SHARD] = lambda body: body[: len(body) // 3]
    message = damaged(tab(chromium, host), "corrupt")
    assert ".bin" in message and "shorter" in message


def test_a_shard_that_is_a_page_of_html(chromium: Browser, host: Host, tab: Tab) -> None:
    """Hosts answer with their own 404 page, and 200."""
    host.faults.change[SHARD] = lambda body: b"<!doctype html><p>Sorry" + b" " * 20000
    message = damaged(tab(chromium, host), "corrupt")
    assert ".bin" in message


@pytest.mark.parametrize("at", [70, 400, -400, -3])
def test_a_byte_of_the_manifest(browser: Browser, host: Host, tab: Tab, at: int) -> None:
    """Anywhere: names, checksums and, in base64, the index head."""
    host.faults.change["manifest.json$"] = flip(at)
    message = damaged(tab(browser, host), "corrupt")
    assert "manifest.json" in message


def test_the_head_of_another_build(chromium: Browser, host: Host, tab: Tab) -> None:
    """A manifest that is whole in itself, with a head that is not: named as such."""
    import base64

    import xxhash

    def change(line: bytes) -> bytes:
        body = json.loads(line)["manifest"]
        head = bytearray(base64.b64decode(body["head"]))
        head[60] ^= 1
        body["head"] = base64.b64encode(head).decode()
        text = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
        frame = b'{"pywasm":1,"xxh64":"%s","manifest":%s}\n'
        return frame % (xxhash.xxh64(text).hexdigest().encode(), text)

    host.faults.change["manifest.json$"] = change
    message = damaged(tab(chromium, host), "corrupt")
    assert "head" in message


def test_a_manifest_cut_short(chromium: Browser, host: Host, tab: Tab) -> None:
    host.faults.change["manifest.json$"] = lambda body: body[: len(body) // 2]
    assert "manifest.json" in damaged(tab(chromium, host), "corrupt")


def test_a_newer_version(browser: Browser, host: Host, tab: Tab) -> None:
    """Not "corrupt": the visitor's library is old."""
    host.faults.change["manifest.json$"] = lambda body: body.replace(
        b'{"pywasm":1,', b'{"pywasm":99,', 1
    )
    message = damaged(tab(browser, host), "version")
    assert "99" in message and "newer" in message


def test_no_site_there(chromium: Browser, host: Host, tab: Tab) -> None:
    client = tab(chromium, host)
    with pytest.raises(PageError) as caught:
        client.open("/nothing/here/", storage="memory")
    assert caught.value.code == "network" and "404" in str(caught.value)
    assert "/nothing/here/manifest.json" in str(caught.value)
