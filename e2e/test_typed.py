"""Typed questions on a site that carries its encoder: found by meaning, whatever goes wrong."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from client import Client
from host import Host, flip
from sites import QUESTION_ANSWER

from pywasm.bench.browsers import Browser, Page

Serve = Callable[[Path], Host]
Tab = Callable[[Browser, Host], Client]

TYPED = "a folder which is gone when I am done with it"  # shares no word but "a" with its answer
POLICY = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'"
TYPE = """(text) => {
  const box = document.querySelector("#query");
  box.value = text;
  box.dispatchEvent(new Event("input", { bubbles: true }));
}"""
BEST = "() => [...document.querySelectorAll('#results h2')].slice(0, 5).map((h) => h.textContent)"
MEANING = "document.querySelector('#status .by.meaning') !== null"
ENCODER = "() => globalThis.__pywasm.index.encoder.state"
SAVE_DATA = """Object.defineProperty(navigator, "connection", { value: { saveData: true } });"""


def visit(browser: Browser, host: Host, path: str = "/") -> Page:
    page = browser.new_page()
    page.goto(host.url + path)
    page.wait_for("globalThis.__pywasm !== undefined")
    return page


def ask(page: Page, text: str) -> list[str]:
    """Types it, waits for what was found by meaning; the titles of the best five."""
    page.evaluate(TYPE, text)
    page.wait_for(MEANING, 60)
    best: list[str] = page.evaluate(BEST)
    return best


def test_words_at_once_then_meaning(browser: Browser, serve: Serve, docs_site: Path) -> None:
    """The first results are the words'; the encoder comes; the answer shares no word with it."""
    host = serve(docs_site)
    held = time.monotonic() + 1.5

    def slow(body: bytes) -> bytes:
        time.sleep(max(0.0, held - time.monotonic()))
        return body

    host.faults.change[r"encoder/weights-"] = slow
    page = visit(browser, host)
    assert page.evaluate(ENCODER)["state"] == "idle"
    assert host.requests("encoder/plan.json") == []
    held = time.monotonic() + 1.5
    page.evaluate(TYPE, f"{TYPED} temporary")
    page.wait_for("document.querySelector('#status .by.words') !== null")
    assert page.evaluate(f"() => {MEANING}") is False
    assert "meaning follows" in page.evaluate("() => document.querySelector('#status').textContent")
    page.wait_for(MEANING, 60)
    assert QUESTION_ANSWER in ask(page, TYPED)
    assert page.evaluate(ENCODER)["state"] == "ready"
    assert page.evaluate("() => document.querySelector('#loading-text').textContent") != ""
    page.close()


def test_the_library_loads_nothing_for_words(
    chromium: Browser, serve: Serve, docs_site: Path, tab: Tab
) -> None:
    client = tab(chromium, serve(docs_site))
    client.open("/")
    assert client.search("temporary", mode="keyword")["mode"] == "keyword"
    assert client.status()["encoder"]["state"] == "idle"
    assert client.host.requests("/encoder/") == []
    found = client.search(TYPED, mode="vector", k=5)
    assert found["mode"] == "vector" and found["stages"][0]["name"] == "encode"
    assert QUESTION_ANSWER in [hit["title"] for hit in found["hits"]]
    both = client.search(TYPED, k=5)
    assert both["mode"] == "hybrid" and "note" not in both
    assert client.status()["encoder"] | {"total": 0, "loaded": 0} == {
        "state": "ready", "loaded": 0, "total": 0, "error": None,
    }  # fmt: skip


def test_a_page_that_wants_no_encoder(
    chromium: Browser, serve: Serve, docs_site: Path, tab: Tab
) -> None:
    client = tab(chromium, serve(docs_site))
    client.open("/", encoder=False)
    assert client.search("temporary directory")["mode"] == "keyword"
    assert client.status()["encoder"] is None
    assert client.host.requests("encoder") == []


def test_offline_after_the_first_visit(tabbed: Browser, serve: Serve, docs_site: Path) -> None:
    """The service worker keeps the page, its worker the encoder: questions work without a host."""
    host = serve(docs_site)
    page = visit(tabbed, host)
    assert QUESTION_ANSWER in ask(page, TYPED)
    page.wait_for("navigator.serviceWorker.ready.then(() => true)")
    page.wait_for("__pywasm.index.status().then(({ fill }) => fill.state === 'done')", 60)
    page.goto(host.url + "/")
    page.wait_for("navigator.serviceWorker.controller !== null")
    page.wait_for("globalThis.__pywasm !== undefined")
    assert QUESTION_ANSWER in ask(page, TYPED)
    host.stop()
    page.goto(host.url + "/")
    page.wait_for("globalThis.__pywasm !== undefined")
    assert QUESTION_ANSWER in ask(page, TYPED)
    stored = page.evaluate(
        "async () => (await (await __pywasm.index.encoder.load()).status()).storage"
    )
    assert stored["stored"] == stored["files"]
    page.close()


def test_a_strict_policy(browser: Browser, serve: Serve, docs_site: Path) -> None:
    """'wasm-unsafe-eval' and nothing else: no eval, no inline script, no blob."""
    host = serve(docs_site)
    host.faults.headers["Content-Security-Policy"] = POLICY
    page = visit(browser, host)
    assert QUESTION_ANSWER in ask(page, TYPED)
    page.close()


def test_without_isolation(chromium: Browser, serve: Serve, docs_site: Path) -> None:
    """A host that sends no COOP and COEP: one thread."""
    host = serve(docs_site)
    host.faults.isolate = False
    page = visit(chromium, host)
    assert page.evaluate("() => crossOriginIsolated") is False
    assert QUESTION_ANSWER in ask(page, TYPED)
    page.close()


def test_a_visitor_who_saves_data(chromium: Browser, serve: Serve, docs_site: Path) -> None:
    """Words only, until the visitor asks for more."""
    host = serve(docs_site)
    page = chromium.new_page()
    page.add_init_script(SAVE_DATA)
    page.goto(host.url + "/")
    page.wait_for("globalThis.__pywasm !== undefined")
    page.evaluate(TYPE, TYPED)
    page.wait_for("document.querySelector('.note') !== null")
    note = page.evaluate("() => document.querySelector('.note').textContent")
    assert "save data" in note and "MB" in note
    assert page.evaluate("() => document.querySelectorAll('#results li').length") > 0
    assert host.requests("/encoder/") == []
    page.evaluate("() => document.querySelector('.note button').click()")
    page.wait_for(MEANING, 60)
    assert QUESTION_ANSWER in page.evaluate(BEST)
    assert page.evaluate("() => document.querySelector('.note')") is None
    page.close()


def test_a_damaged_encoder(browser: Browser, serve: Serve, docs_site: Path) -> None:
    """Results by words, and a note that names the file; mended, another try is enough."""
    host = serve(docs_site)
    host.faults.change[r"encoder/weights-"] = flip(12345)
    page = visit(browser, host)
    page.evaluate(TYPE, "temporary directory")
    page.wait_for("document.querySelector('.note') !== null", 60)
    note = page.evaluate("() => document.querySelector('.note').textContent")
    assert "by words only" in note and re.search(r"weights-[0-9a-f]{20}\.bin", note)
    assert QUESTION_ANSWER in page.evaluate(BEST)
    asked = len(host.requests("encoder/weights-"))
    page.evaluate(TYPE, "temporary file")
    page.wait_for("document.querySelector('#results').textContent.includes('TemporaryFile')")
    assert len(host.requests("encoder/weights-")) == asked  # not again with every key
    host.faults.change.clear()
    page.evaluate("() => document.querySelector('.note button').click()")
    page.wait_for(MEANING, 60)
    page.close()


@pytest.mark.parametrize(
    ("pattern", "change", "words"),
    [
        ("encoder/plan.json$", lambda body: body[: len(body) // 2], "plan.json"),
        (
            "encoder/plan.json$",
            lambda body: re.sub(rb'"source_sha256":"....', b'"source_sha256":"0000', body),
            "not the minilm that this index was built with",
        ),
        ("encoder/tokenizer-", lambda body: body[:-1] + b" ", "tokenizer-"),
        ("encoder/kernels-", lambda body: body[:100], "kernels-"),
    ],
)
def test_other_files_that_are_wrong(
    chromium: Browser,
    serve: Serve,
    docs_site: Path,
    tab: Tab,
    pattern: str,
    change: Callable[[bytes], bytes],
    words: str,
) -> None:
    host = serve(docs_site)
    host.faults.change[pattern] = change
    client = tab(chromium, host)
    client.open("/")
    found = client.search("temporary directory", k=5)
    assert found["mode"] == "keyword" and words in found["note"]
    assert QUESTION_ANSWER in [hit["title"] for hit in found["hits"]]


def test_the_line_breaks_while_the_encoder_comes(
    chromium: Browser, serve: Serve, docs_site: Path, tab: Tab
) -> None:
    """Words for now; some seconds later the next search tries again by itself."""
    host = serve(docs_site)
    host.faults.down = lambda path: "encoder/weights-" in path
    client = tab(chromium, host)
    client.open("/")
    found = client.search("temporary directory", k=5)
    assert found["mode"] == "keyword" and "note" in found
    host.faults.down = lambda path: False
    end = time.monotonic() + 30
    while client.search(TYPED, k=5)["mode"] != "hybrid":
        assert time.monotonic() < end
        time.sleep(0.5)


def test_closing_while_it_loads(chromium: Browser, serve: Serve, docs_site: Path, tab: Tab) -> None:
    client = tab(chromium, serve(docs_site))
    client.open("/")
    state = client.page.evaluate("""async () => {
      const searching = index.search("a question", { mode: "vector" }).catch(({ code }) => code);
      await new Promise((resolve) => setTimeout(resolve, 30));
      await index.close();
      return searching;
    }""")
    assert state == "closed"
