"""The page that every built site carries."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from host import Host
from sites import QUESTION, QUESTION_ANSWER, pywasm

from pywasm.bench.browsers import Browser, Page
from pywasm.manifest import FileInfo, manifest_bytes, read_manifest

POLICY = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'"
TITLES = "[...document.querySelectorAll('.title')].map((title) => title.textContent)"
SETTLED = "document.querySelector('#status').textContent.includes('ms')"

Serve = Callable[[Path], Host]


@pytest.fixture
def page_of() -> Iterator[Callable[[Browser], Page]]:
    """Tabs, closed at the end of the test."""
    pages: list[Page] = []

    def new_page(browser: Browser) -> Page:
        pages.append(browser.new_page())
        return pages[-1]

    yield new_page
    for page in pages:
        page.close()


PageOf = Callable[[Browser], Page]


def test_a_suggested_question(
    browser: Browser, serve: Serve, docs_site: Path, page_of: PageOf
) -> None:
    """From the address alone, in every browser: results, their marks, title and language."""
    host = serve(docs_site)
    page = page_of(browser)
    page.goto(f"{host.url}/?suggest=0")
    page.wait_for("performance.getEntriesByName('pywasm:first-vector-result').length")
    page.wait_for(SETTLED)
    assert QUESTION_ANSWER in page.evaluate(f"() => {TITLES}")[:3]
    assert page.evaluate("() => document.querySelector('#query').value") == QUESTION
    assert page.evaluate("() => document.querySelector('.result mark').textContent").strip()
    heading = page.evaluate("() => document.querySelector('h1').textContent.trim()")
    assert heading == page.evaluate("() => document.title") == read_manifest(docs_site).title


def test_by_keyboard(chromium: Browser, serve: Serve, docs_site: Path, page_of: PageOf) -> None:
    """`/`, typing, arrows, Escape; filter and "more like this" in the address; back."""
    host = serve(docs_site)
    page: Any = page_of(chromium)
    page.goto(f"{host.url}/")
    page.wait_for("window.__pywasm !== undefined")
    keyboard = page.tab.keyboard
    focus = "() => document.activeElement.id || document.activeElement.textContent"
    keyboard.press("/")
    assert page.evaluate(focus) == "query"
    keyboard.type("temporary directory", delay=15)
    page.wait_for(f"{TITLES}.length > 3 && location.search === '?q=temporary+directory'")
    titles = page.evaluate(f"() => {TITLES}")
    keyboard.press("ArrowDown")
    keyboard.press("ArrowDown")
    assert page.evaluate(focus) == titles[1]
    keyboard.press("ArrowUp")
    keyboard.press("ArrowUp")
    assert page.evaluate(focus) == "query"

    page.tab.click("button.tag:has-text('tempfile') >> nth=0")
    page.wait_for("location.search.includes('f=module%3Atempfile')")
    page.wait_for(
        f"{TITLES}.length > 0 && {TITLES}.every((title) => title.startsWith('tempfile.'))"
    )
    page.tab.click("button:has-text('More like this'):visible >> nth=0")
    page.wait_for("location.search.startsWith('?like=tempfile.')")
    page.wait_for("document.querySelector('#status').textContent.startsWith('More like')")
    page.tab.go_back()
    page.wait_for("document.querySelector('#query').value === 'temporary directory'")
    keyboard.press("/")
    keyboard.press("Escape")
    page.wait_for("location.search === '?f=module%3Atempfile'")
    assert page.evaluate(f"() => {TITLES}") == []


def test_strict_policy(chromium: Browser, serve: Serve, docs_site: Path, page_of: PageOf) -> None:
    """Nothing inline, nothing from elsewhere: the inspector's drawings included."""
    host = serve(docs_site)
    host.faults.headers = {"Content-Security-Policy": POLICY}
    page: Any = page_of(chromium)
    page.add_init_script(
        "window.violations = [];"
        "addEventListener('securitypolicyviolation', (event) => violations.push(event.blockedURI));"
    )
    page.goto(f"{host.url}/?suggest=0")
    page.wait_for(SETTLED)
    page.tab.keyboard.press("i")
    page.wait_for("document.querySelectorAll('.waterfall li').length > 2")
    bar = "getComputedStyle(document.querySelector('.waterfall .span')).width"
    assert page.evaluate(f"() => parseFloat({bar})") > 0
    assert page.evaluate("() => violations") == []


def test_documents_are_text(
    chromium: Browser, serve: Serve, tmp_path: Path, page_of: PageOf
) -> None:
    """Markup in a document is shown, not run; an address that is not for the web is no link."""
    attack = "<img src=x onerror='window.attacked = 1'>"
    rows = [
        {
            "id": f"{attack}{number}",
            "title": f"needle {attack}",
            "text": f"a needle {attack} {url}",
            "url": url,
            "kind": attack + str(number),
        }
        for number, url in enumerate(["javascript:window.attacked=2", "https://example.org/a"])
    ]
    table = tmp_path / "documents.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    pywasm("build", str(table), "-o", str(tmp_path / "site"))
    host = serve(tmp_path / "site")
    page: Any = page_of(chromium)
    page.goto(f"{host.url}/?q=needle")
    page.wait_for(f"{TITLES}.length === 2")
    assert all(attack in title for title in page.evaluate(f"() => {TITLES}"))
    links = "[...document.querySelectorAll('.result a')].map((link) => link.href)"
    assert page.evaluate(f"() => {links}") == ["https://example.org/a"]
    assert page.evaluate("() => document.querySelectorAll('main img').length") == 0
    page.tab.click("button:has-text('More like this'):visible >> nth=0")
    page.wait_for("document.querySelector('#status').textContent.startsWith('More like')")
    assert page.evaluate("() => window.attacked ?? null") is None


def test_new_page_at_the_next_visit(
    chromium: Browser,
    serve: Serve,
    docs_site: Path,
    copy_of: Callable[[Path], Path],
    page_of: PageOf,
) -> None:
    """With the service worker in between, the visit after a deployment gets its script."""
    site = copy_of(docs_site)
    host = serve(site)
    page = page_of(chromium)
    page.goto(f"{host.url}/")
    page.wait_for(
        "navigator.serviceWorker.ready.then(() => caches.keys()).then((all) => all.length)"
    )
    page.goto(f"{host.url}/")
    page.wait_for("navigator.serviceWorker.controller !== null && window.__pywasm !== undefined")

    script = site / "pywasm/demo/demo.js"
    script.write_bytes(script.read_bytes() + b";window.deployed = 2;")
    manifest = read_manifest(site)
    changed = FileInfo(
        file="pywasm/demo/demo.js",
        bytes=script.stat().st_size,
        sha256=hashlib.sha256(script.read_bytes()).hexdigest(),
    )
    assets = [changed if asset.file == changed.file else asset for asset in manifest.assets]
    (site / "manifest.json").write_bytes(
        manifest_bytes(manifest.model_copy(update={"assets": assets}))
    )
    time.sleep(2.1)  # the worker looks at the manifest every two seconds at most
    page.goto(f"{host.url}/")
    page.wait_for("window.__pywasm !== undefined")
    assert page.evaluate("() => window.deployed") == 2

    page.evaluate("() => __pywasm.index.clear()")
    left = "Promise.all([caches.keys(), navigator.serviceWorker.getRegistrations()])"
    assert page.evaluate(f"() => {left}.then((both) => both.map((all) => all.length))") == [0, 0]
